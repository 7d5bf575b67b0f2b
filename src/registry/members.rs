//! Sharing: whom an image is shared with, and what they think of it. Each change is made inside the catalogue's writer.
//!
//! Members are accounts by name. Nobody is asked whether there is such an account: a name may be known elsewhere first.
//! None of this is a change of the image, so its `updated_at` stays.

use std::collections::BTreeMap;

use super::{Caller, Registry, Shown};
use crate::error::{Error, Kind, Result};
use crate::image::query::{Cursor, Filter, Page, Query, Sort};
use crate::image::{Attr, Image, ImageId, Member, MemberStatus, Visibility};

impl Registry {
    /// The members of an image, by account: all for who may change it, and a member's own entry for the member.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when the image is not a shared one.
    pub async fn members(&self, who: &Caller, id: ImageId) -> Result<BTreeMap<String, Member>> {
        let image = self.get(who, id).await?;
        check_shared(&image)?;
        let all = who.changes(&image);
        Ok(image.members.into_iter().filter(|(account, _)| all || who.account() == Some(account)).collect())
    }

    /// Shares an image with an account, which has not said yet what it thinks of that.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when the image is not a shared one, or for who may neither change nor share it;
    /// `AlreadyExists`; `Invalid` name; `TooMany` members.
    pub async fn add_member(&self, who: &Caller, id: ImageId, account: &str, can_share: bool) -> Result<Member> {
        let (name, now) = (account.to_owned(), self.now());
        let made = Member { status: MemberStatus::Pending, can_share, created_at: now, updated_at: now };
        let add = move |who: &Caller, image: &mut Image| {
            check_shared(image)?;
            if !who.shares(image) {
                return Err(Error::new(Kind::Forbidden, "Only who may change or share this image may add members."));
            }
            if image.members.insert(name.clone(), made).is_some() {
                let text = format!("'{name}' is a member of image '{id}' already.");
                return Err(Error::new(Kind::AlreadyExists, text));
            }
            Ok(())
        };
        self.amend(who, id, add).await.map(|_| made)
    }

    /// Says what a member thinks of an image.
    ///
    /// # Errors
    /// `NotFound` image or member; `Forbidden` when the image is not a shared one, and for everybody but the member itself
    /// and administrators.
    pub async fn set_member_status(
        &self,
        who: &Caller,
        id: ImageId,
        account: &str,
        status: MemberStatus,
    ) -> Result<Member> {
        let (name, now) = (account.to_owned(), self.now());
        let set = move |who: &Caller, image: &mut Image| {
            let itself = who.account() == Some(&name);
            check_shared(image)?;
            if !itself && !who.changes(image) {
                // A member does not know of the others.
                return Err(no_member(id, &name));
            }
            let member = image.members.get_mut(&name).ok_or_else(|| no_member(id, &name))?;
            if !itself && !who.is_admin() {
                return Err(Error::new(Kind::Forbidden, "Only the member itself may accept or reject an image."));
            }
            *member = Member { status, updated_at: now, ..*member };
            Ok(())
        };
        let image = self.amend(who, id, set).await?;
        image.members.get(account).copied().ok_or_else(|| no_member(id, account))
    }

    /// Says whether a member may share an image with others.
    ///
    /// # Errors
    /// `NotFound` image or member; `Forbidden` when the image is not a shared one, and for who may not change it.
    pub async fn set_member_can_share(
        &self,
        who: &Caller,
        id: ImageId,
        account: &str,
        can_share: bool,
    ) -> Result<Member> {
        let (name, now) = (account.to_owned(), self.now());
        let set = move |who: &Caller, image: &mut Image| {
            who.may_change(image)?;
            check_shared(image)?;
            let member = image.members.get_mut(&name).ok_or_else(|| no_member(id, &name))?;
            *member = Member { can_share, updated_at: now, ..*member };
            Ok(())
        };
        let image = self.amend(who, id, set).await?;
        image.members.get(account).copied().ok_or_else(|| no_member(id, account))
    }

    /// Shares an image with exactly these accounts, which may share it with others or not. Who was a member and stays
    /// one keeps its status.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when the image is not a shared one, and for who may not change it; `Invalid` name;
    /// `TooMany` members.
    pub async fn replace_members(&self, who: &Caller, id: ImageId, members: BTreeMap<String, bool>) -> Result<Image> {
        let now = self.now();
        let replace = move |who: &Caller, image: &mut Image| {
            who.may_change(image)?;
            check_shared(image)?;
            let kept = |account: &str, can_share: bool| match image.members.get(account) {
                Some(member) if member.can_share == can_share => *member,
                Some(member) => Member { can_share, updated_at: now, ..*member },
                None => Member { status: MemberStatus::Pending, can_share, created_at: now, updated_at: now },
            };
            image.members = members.iter().map(|(name, can_share)| (name.clone(), kept(name, *can_share))).collect();
            Ok(())
        };
        self.amend(who, id, replace).await
    }

    /// Ends the sharing of an image with an account.
    ///
    /// # Errors
    /// `NotFound` image or member; `Forbidden` when the image is not a shared one, and for who may not change it, the
    /// member among them.
    pub async fn remove_member(&self, who: &Caller, id: ImageId, account: &str) -> Result<()> {
        let name = account.to_owned();
        let remove = move |who: &Caller, image: &mut Image| {
            who.may_change(image)?;
            check_shared(image)?;
            image.members.remove(&name).map(drop).ok_or_else(|| no_member(id, &name))
        };
        self.amend(who, id, remove).await.map(drop)
    }

    /// A page of the images that are shared with an account, whatever it thinks of them: all for the account itself and
    /// administrators, their own for others. Ordered by id.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn shared_with(&self, who: &Caller, account: &str, limit: usize, after: Option<Cursor>) -> Result<Page> {
        let member = Filter::Member { account: account.to_owned(), status: None };
        let mut filter = member.and(Filter::spelled(Attr::Visibility, Visibility::Shared.name()));
        if who.account() != Some(account) {
            filter = filter.and(who.own());
        }
        let shown = Shown { member_status: None, ..Shown::default() };
        self.list(who, shown, Query { filter, sort: Sort::default(), limit, after }).await
    }
}

fn check_shared(image: &Image) -> Result<()> {
    match image.visibility {
        Visibility::Shared => Ok(()),
        Visibility::Public | Visibility::Private | Visibility::Community => {
            Err(Error::new(Kind::Forbidden, "Only shared images have members."))
        }
    }
}

fn no_member(id: ImageId, account: &str) -> Error {
    Error::new(Kind::NotFound, format!("Image '{id}' has no member '{}'.", account.escape_default()))
}
