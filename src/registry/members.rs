//! Sharing: the members of an image, and the status that each gave it. Every change runs inside the catalogue's writer.
//! Knows no protocol.
//!
//! Members are accounts by name. The account need not exist here: another service may know the name first.
//! None of this is a change of the image, so its `updated_at` stays, unless it makes a private image a shared one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Core;
use super::pages::Pages;
use super::policy::{Action, On};
use super::records::Records;
use super::{Caller, ListScope};
use crate::error::{Error, Reason, Result};
use crate::image::query::{Filter, Query, Sort};
use crate::image::{Attr, Image, ImageId, Member, MemberStatus, Timestamp, Visibility};

/// Service for the members of images.
pub struct Members {
    core: Arc<Core>,
    records: Arc<Records>,
}

impl Members {
    pub(in crate::registry) fn new(core: &Arc<Core>, records: &Arc<Records>) -> Arc<Self> {
        Arc::new(Self { core: Arc::clone(core), records: Arc::clone(records) })
    }

    /// Lists the members of an image, by account: all for callers that may change it, and a member's own entry for the
    /// member.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when the image is not a shared one.
    pub async fn of(&self, who: &Caller, id: ImageId) -> Result<BTreeMap<String, Member>> {
        let image = self.records.get(who, id).await?;
        check_shared(&image)?;
        let all = who.governs(&image);
        Ok(image.members.into_iter().filter(|(account, _)| all || who.account() == Some(account)).collect())
    }

    /// Shares an image with an account, whose status is *pending*.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when the image is not a shared one, or the caller may neither change nor share it;
    /// `AlreadyExists`; `Invalid` name; `TooMany` members.
    pub async fn add(&self, who: &Caller, id: ImageId, account: &str, can_share: bool) -> Result<Member> {
        let (name, now) = (account.to_owned(), self.core.now());
        let made = Member { status: MemberStatus::Pending, can_share, created_at: now, updated_at: now };
        let add = move |who: &Caller, image: &mut Image| {
            check_shared(image)?;
            who.may(Action::AddMember, &*image)?;
            if image.members.contains_key(&name) {
                // A member does not know of the others.
                if !who.governs(image) {
                    return Ok(());
                }
                return Err(Reason::MemberExists.about(name.escape_default()));
            }
            image.members.insert(name.clone(), made);
            Ok(())
        };
        self.records.amend(who, id, add).await.map(|_| made)
    }

    /// Sets the status that a member gives an image.
    ///
    /// # Errors
    /// `NotFound` image or member; `Forbidden` when the image is not a shared one, or the caller is neither the member
    /// itself nor an administrator.
    pub async fn set_status(&self, who: &Caller, id: ImageId, account: &str, status: MemberStatus) -> Result<Member> {
        let (name, now) = (account.to_owned(), self.core.now());
        let set = move |who: &Caller, image: &mut Image| {
            let itself = who.account() == Some(&name);
            check_shared(image)?;
            if !itself && !who.governs(image) {
                // A member does not know of the others.
                return Err(no_member(&name));
            }
            let member = image.members.get_mut(&name).ok_or_else(|| no_member(&name))?;
            who.may(Action::AnswerMembership, On::HeldBy(Some(&name)))?;
            *member = Member { status, updated_at: now, ..*member };
            Ok(())
        };
        let image = self.records.amend(who, id, set).await?;
        image.members.get(account).copied().ok_or_else(|| no_member(account))
    }

    /// Shares an image with an account, or changes its right to share further; without a value that right stays, and a
    /// new member gets none. A private image becomes a shared one.
    ///
    /// # Errors
    /// As [`Members::add`], but for `AlreadyExists`; only callers that may change the image change a member's right.
    pub async fn share_with(
        &self,
        who: &Caller,
        id: ImageId,
        account: &str,
        can_share: Option<bool>,
    ) -> Result<Member> {
        let (name, now) = (account.to_owned(), self.core.now());
        let share = move |who: &Caller, image: &mut Image| {
            open_to_members(image, now)?;
            let member = member_as(image, &name, can_share, now);
            let changes = image.members.get(&name).is_some_and(|old| old.can_share != member.can_share);
            who.may(if changes { Action::RemoveMember } else { Action::AddMember }, &*image)?;
            image.members.insert(name.clone(), member);
            Ok(())
        };
        let image = self.records.amend(who, id, share).await?;
        image.members.get(account).copied().ok_or_else(|| no_member(account))
    }

    /// Shares an image with exactly these accounts, each with or without the right to share further, or with its former
    /// right where none is given. Remaining members keep their status. A private image becomes a shared one.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for a public or community image, and for callers that may not change it; `Invalid` name;
    /// `TooMany` members.
    pub async fn replace(&self, who: &Caller, id: ImageId, members: BTreeMap<String, Option<bool>>) -> Result<Image> {
        let now = self.core.now();
        let replace = move |who: &Caller, image: &mut Image| {
            who.may(Action::RemoveMember, &*image)?;
            open_to_members(image, now)?;
            let kept = members.iter().map(|(name, can_share)| (name.clone(), member_as(image, name, *can_share, now)));
            image.members = kept.collect();
            Ok(())
        };
        self.records.amend(who, id, replace).await
    }

    /// Ends the sharing of an image with an account.
    ///
    /// # Errors
    /// `NotFound` image or member; `Forbidden` when the image is not a shared one, or the caller may not change it; the
    /// member itself may not.
    pub async fn remove(&self, who: &Caller, id: ImageId, account: &str) -> Result<()> {
        let name = account.to_owned();
        let remove = move |who: &Caller, image: &mut Image| {
            who.may(Action::RemoveMember, &*image)?;
            check_shared(image)?;
            image.members.remove(&name).map(drop).ok_or_else(|| no_member(&name))
        };
        self.records.amend(who, id, remove).await.map(drop)
    }

    /// Pages of the images that are shared with an account, whatever its status, each with `limit` images: all for the
    /// account itself and administrators, for other callers their own. Ordered by id.
    pub fn shared_with(&self, who: &Caller, account: &str, limit: usize) -> Pages {
        let member = Filter::Member { account: account.to_owned(), status: None };
        let mut filter = member.and(Filter::spelled(Attr::Visibility, Visibility::Shared.name()));
        if who.account() != Some(account) {
            filter = filter.and(who.own());
        }
        let shown = ListScope { member_status: None, ..ListScope::default() };
        let query = Query { filter: filter.and(who.listed(shown)), sort: Sort::default(), limit, after: None };
        Pages::new(&self.core.catalog, query, usize::MAX)
    }
}

fn check_shared(image: &Image) -> Result<()> {
    match image.visibility {
        Visibility::Shared => Ok(()),
        Visibility::Public | Visibility::Private | Visibility::Community => Err(Reason::NotShared.into()),
    }
}

/// Turns a private image into a shared one without members; entries of an earlier time are dropped.
fn open_to_members(image: &mut Image, now: Timestamp) -> Result<()> {
    if image.visibility == Visibility::Private {
        image.visibility = Visibility::Shared;
        image.members.clear();
        image.updated_at = Some(now);
    }
    check_shared(image)
}

/// Entry of a member after the change.
fn member_as(image: &Image, account: &str, can_share: Option<bool>, now: Timestamp) -> Member {
    match image.members.get(account) {
        Some(member) if can_share.is_none_or(|can_share| can_share == member.can_share) => *member,
        Some(member) => Member { can_share: !member.can_share, updated_at: now, ..*member },
        None => {
            let can_share = can_share.unwrap_or(false);
            Member { status: MemberStatus::Pending, can_share, created_at: now, updated_at: now }
        }
    }
}

fn no_member(account: &str) -> Error {
    Reason::MemberNotFound.about(account.escape_default())
}
