//! The policy: permissions in one table (`table.rs`), which the core itself asks here. Knows callers and images, and no protocol.
//!
//! The rules of *seeing* an image, and of lists, are in `registry/access.rs`.

mod table;

pub use self::table::{Action, ROWS, Right, Who};
use super::access::Caller;
use crate::error::{Error, Reason, Result};
use crate::image::{Image, Visibility};
use crate::jobs::Job;

/// Object of an action.
#[derive(Debug, Clone, Copy)]
pub enum On<'a> {
    /// The server.
    Server,
    /// An image.
    Image(&'a Image),
    /// A thing that belongs to an account; to none when it was made without accounts.
    HeldBy(Option<&'a str>),
}

impl<'a> From<&'a Image> for On<'a> {
    fn from(image: &'a Image) -> Self {
        On::Image(image)
    }
}

impl Caller {
    /// True if the caller may know of a job.
    pub fn sees_job(&self, job: &Job) -> bool {
        self.can(Action::SeeJob, On::HeldBy(job.owner.as_deref()))
    }

    /// Tells if an action is open to the caller: [`Caller::may`] without its refusal.
    pub fn can<'a>(&self, action: Action, on: impl Into<On<'a>>) -> bool {
        let on = on.into();
        let is_known = !matches!(on, On::Image(image) if !self.sees(image));
        is_known && !self.is_barred(action) && self.is_among(action.row().who, on)
    }

    /// Checks an action against the table. An account that may only read is refused every action that changes anything.
    ///
    /// # Errors
    /// `NotFound` for an image that the caller may not know of; `Unauthenticated` without an account; `Forbidden`.
    pub fn may<'a>(&self, action: Action, on: impl Into<On<'a>>) -> Result<()> {
        let on = on.into();
        if let On::Image(image) = on
            && !self.sees(image)
        {
            return Err(crate::catalog::not_found(image.id));
        }
        if self.is_barred(action) {
            return Err(Reason::ReadOnlyAccount.about(action.row().words));
        }
        if self.is_among(action.row().who, on) {
            return Ok(());
        }
        self.known()?;
        Err(refused(action))
    }

    /// Tells if the caller may only read, and the action changes something.
    fn is_barred(&self, action: Action) -> bool {
        self.is_read_only() && !action.only_reads()
    }

    /// Checks that the caller may change an image.
    ///
    /// # Errors
    /// As [`Caller::may`].
    pub fn may_change(&self, image: &Image) -> Result<()> {
        self.may(Action::ChangeImage, image)
    }

    /// Tells if an action is open to the caller. Rules beyond the table leave it to administrators: publishing, which
    /// is [`Publish::check`]'s, and proof in another way.
    fn is_among(&self, who: Who, on: On<'_>) -> bool {
        let open = match (who, on) {
            (Who::Everybody | Who::Readers, _) => true,
            (Who::Accounts, _) => self.account().is_some(),
            (Who::Viewers, On::Image(image)) => self.sees(image),
            (Who::Sharers, On::Image(image)) => self.shares(image),
            // An account that may only read is stopped before it, where an action changes something.
            (Who::Owner, On::Image(image)) => self.governs(image),
            (Who::Holder | Who::Member, On::HeldBy(account)) => account.is_some() && self.account() == account,
            _ => false,
        };
        who != Who::Closed && (open || self.is_admin())
    }
}

/// Error for a caller that may not do something.
fn refused(action: Action) -> Error {
    let Right { who, words, .. } = action.row();
    let only = match who {
        Who::Owner | Who::Viewers => "its owner",
        Who::Sharers => "its owner, or a member that may share it,",
        Who::Member => "the member itself",
        Who::Holder => "the account that it belongs to",
        Who::Publisher | Who::Admins => "an administrator",
        Who::Everybody | Who::Readers | Who::Accounts | Who::Proof => "an account",
        Who::Closed => return Reason::Forbidden.saying(format!("No request may {words}.")),
    };
    let reason = match who {
        Who::Owner | Who::Viewers => Reason::NotOwner,
        Who::Sharers => Reason::MayNotShare,
        Who::Member => Reason::MembersChoice,
        Who::Publisher => Reason::MayNotPublish,
        Who::Admins => Reason::AdminOnly,
        Who::Holder | Who::Everybody | Who::Readers | Who::Accounts | Who::Proof | Who::Closed => Reason::Forbidden,
    };
    reason.saying(format!("Only {only} may {words}."))
}

/// The accounts that may make images public: the setting `auth.publish`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Publish {
    /// The owner of an image.
    #[default]
    Owner,
    /// Administrators.
    Admin,
}

impl Publish {
    /// Tells if a caller may make images of its own public.
    pub fn allows(self, who: &Caller) -> bool {
        who.is_admin() || (self == Self::Owner && who.account().is_some() && !who.is_read_only())
    }

    /// Checks a change against [`Action::PublishImage`], given the image before it and after it. The right to change
    /// the image at all is checked elsewhere.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn check(self, who: &Caller, before: &Image, after: &Image) -> Result<()> {
        let was = before.visibility == Visibility::Public;
        let follows = after.auto_update && !before.auto_update;
        match after.visibility == Visibility::Public && (!was || follows) && !self.allows(who) {
            true => Err(refused(Action::PublishImage)),
            false => Ok(()),
        }
    }
}
