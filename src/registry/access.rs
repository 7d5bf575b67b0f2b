//! Callers, and the images that each sees, lists, owns and shares. Permissions are the table in `policy/`. Knows no
//! protocol.

use crate::error::{Reason, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, MemberStatus, Status, Value, Visibility};

/// The account behind a request, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A request without an account.
    Anonymous,
    /// An account that may read what an ordinary account of its name reads, and change nothing.
    Reader(String),
    /// An ordinary account.
    User(String),
    /// An administrator's account; without any accounts, every request from this machine that names no project.
    Admin(Option<String>),
    /// A request to a server without accounts, in the name of a project: an administrator's, whose images are the project's.
    Open(String),
}

impl Caller {
    /// Account name under which the caller owns images.
    pub fn account(&self) -> Option<&str> {
        match self {
            Caller::Anonymous | Caller::Admin(None) => None,
            Caller::Reader(name) | Caller::User(name) | Caller::Admin(Some(name)) | Caller::Open(name) => Some(name),
        }
    }

    /// Tells if the caller may change nothing at all, whatever it owns.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Caller::Reader(_))
    }

    /// Tells if the caller is an administrator.
    pub fn is_admin(&self) -> bool {
        matches!(self, Caller::Admin(_) | Caller::Open(_))
    }

    /// Tells if the caller may know of an image. Lists show less, see [`Caller::listed`].
    pub fn sees(&self, image: &Image) -> bool {
        let is_shown = match image.visibility {
            Visibility::Public | Visibility::Community => true,
            Visibility::Shared => self.account().is_some_and(|account| image.members.contains_key(account)),
            Visibility::Private => false,
        };
        image.status != Status::Deleting && (self.governs(image) || is_shown)
    }

    /// Tells if the caller may know of an image what its owner knows: all of it.
    pub fn governs(&self, image: &Image) -> bool {
        self.is_admin() || self.owns(image)
    }

    /// Tells if the caller may change an image that it sees.
    pub fn changes(&self, image: &Image) -> bool {
        self.governs(image) && !self.is_read_only()
    }

    /// Tells if the caller is the image's owner.
    pub(in crate::registry) fn owns(&self, image: &Image) -> bool {
        self.account().is_some() && self.account() == image.owner.as_deref()
    }

    /// Tells if the caller may add members to an image that it sees.
    pub fn shares(&self, image: &Image) -> bool {
        let member = self.account().and_then(|account| image.members.get(account));
        !self.is_read_only() && (self.governs(image) || member.is_some_and(|member| member.can_share))
    }

    /// Filter of the images in the caller's lists: its own, public ones, and those that it accepted as a member, unless
    /// `shown` says otherwise. Administrators are shown all but other accounts' community images.
    pub fn listed(&self, shown: ListScope) -> Filter {
        match self {
            // Without accounts no image is another account's.
            Caller::Admin(None) | Caller::Open(_) => there(),
            Caller::Admin(Some(_)) if shown.community => there(),
            Caller::Admin(Some(name)) => {
                there().and(Filter::Any(vec![visible_as(Visibility::Community).negated(), owned_by(name)]))
            }
            Caller::Anonymous => there().and(shown.for_everyone()),
            Caller::Reader(name) | Caller::User(name) => {
                let member = Filter::Member { account: name.clone(), status: shown.member_status };
                let shared = Filter::All(vec![member, visible_as(Visibility::Shared)]);
                there().and(Filter::Any(vec![shown.for_everyone(), owned_by(name), shared]))
            }
        }
    }

    /// Filter of all images that are the caller's: an administrator's are all of them.
    pub fn own(&self) -> Filter {
        match self {
            Caller::Admin(_) | Caller::Open(_) => there(),
            Caller::Anonymous => Filter::nothing(),
            Caller::Reader(name) | Caller::User(name) => there().and(owned_by(name)),
        }
    }

    /// Checks that the caller has an account, and so may create images.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn known(&self) -> Result<()> {
        match self {
            Caller::Anonymous => Err(Reason::Unauthenticated.into()),
            Caller::Reader(_) | Caller::User(_) | Caller::Admin(_) | Caller::Open(_) => Ok(()),
        }
    }
}

/// Images of other accounts that a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListScope {
    /// Community images are listed too.
    pub community: bool,
    /// Status of the memberships whose images are listed; any status if none.
    pub member_status: Option<MemberStatus>,
}

impl Default for ListScope {
    fn default() -> Self {
        Self { community: false, member_status: Some(MemberStatus::Accepted) }
    }
}

impl ListScope {
    fn for_everyone(self) -> Filter {
        match self.community {
            true => Filter::OneOf(Attr::Visibility, [Visibility::Public, Visibility::Community].map(word).into()),
            false => visible_as(Visibility::Public),
        }
    }
}

/// Filter of all images that are not being removed.
pub(in crate::registry) fn there() -> Filter {
    Filter::Equals(Attr::Status, Value::Text(Status::Deleting.word().into())).negated()
}

fn word(visibility: Visibility) -> Value<'static> {
    Value::Text(visibility.name().into())
}

/// Filter of the images with a visibility.
pub(in crate::registry) fn visible_as(visibility: Visibility) -> Filter {
    Filter::Equals(Attr::Visibility, word(visibility))
}

/// Filter of the images of an owner.
pub(in crate::registry) fn owned_by(name: &str) -> Filter {
    Filter::Equals(Attr::Owner, Value::Text(name.to_owned().into()))
}

#[cfg(test)]
pub(in crate::registry) mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::image::Member;
    use crate::image::change::tests::sample;

    pub(in crate::registry) fn callers() -> [Caller; 5] {
        let user = |name: &str| Caller::User(name.into());
        [Caller::Anonymous, user("me"), user("you"), Caller::Admin(Some("root".into())), Caller::Admin(None)]
    }

    /// Without accounts a project is the name of new images' owner, and hides nothing.
    #[test]
    fn a_project_on_a_server_without_accounts_sees_and_lists_all_images() {
        let (lab, open) = (Caller::Open("lab".into()), Caller::Admin(None));
        assert_eq!((lab.account(), lab.is_admin()), (Some("lab"), true));
        for visibility in [Visibility::Public, Visibility::Private, Visibility::Shared, Visibility::Community] {
            for image in [image(Some("lab"), visibility), image(Some("me"), visibility), image(None, visibility)] {
                assert!(lab.sees(&image) && lab.may_change(&image).is_ok(), "{image:?}");
                assert!(lab.listed(ListScope::default()).passes(&image), "{image:?}");
                assert_eq!(lab.own().passes(&image), open.own().passes(&image), "{image:?}");
            }
        }
    }

    pub(in crate::registry) fn image(owner: Option<&str>, visibility: Visibility) -> Image {
        Image { owner: owner.map(Into::into), visibility, ..sample("a") }
    }

    /// A private image of `me` with `you` as a member.
    pub(in crate::registry) fn shared(visibility: Visibility, status: MemberStatus) -> Image {
        let mut image = image(Some("me"), visibility);
        let now = image.created_at;
        let member = Member { status, can_share: false, created_at: now, updated_at: now };
        image.members.insert("you".into(), member);
        image
    }

    /// Rights to see, list and change: a row per image, a column per caller.
    #[test]
    fn rights_are_exactly_these() {
        use MemberStatus::{Accepted, Pending, Rejected};
        use Visibility::{Community, Private, Public, Shared};
        let (mine, nobodys) = ([false, true, false, true, true], [false, false, false, true, true]);
        let (all, members) = ([true; 5], [false, true, true, true, true]);
        let rows = [
            // image, sees by id, lists, changes
            (image(Some("me"), Public), all, all, mine),
            (image(Some("me"), Private), mine, mine, mine),
            (image(Some("me"), Shared), mine, mine, mine),
            (image(Some("me"), Community), all, [false, true, false, false, true], mine),
            (shared(Shared, Accepted), members, members, mine),
            (shared(Shared, Pending), members, mine, mine),
            (shared(Shared, Rejected), members, mine, mine),
            // Members count only while the image is shared.
            (shared(Private, Accepted), mine, mine, mine),
            (shared(Community, Accepted), all, [false, true, false, false, true], mine),
            (image(None, Public), all, all, nobodys),
            (image(None, Private), nobodys, nobodys, nobodys),
            (image(None, Shared), nobodys, nobodys, nobodys),
            (image(None, Community), all, [false, false, false, false, true], nobodys),
            (Image { status: Status::Deleting, ..image(Some("me"), Public) }, [false; 5], [false; 5], mine),
        ];
        for (image, sees, lists, changes) in rows {
            for (column, caller) in callers().iter().enumerate() {
                assert_eq!(caller.sees(&image), sees[column], "{caller:?} sees {image:?}");
                assert_eq!(
                    caller.listed(ListScope::default()).passes(&image),
                    lists[column],
                    "{caller:?} lists {image:?}"
                );
                assert_eq!(caller.changes(&image), changes[column], "{caller:?} changes {image:?}");
                let both = sees[column] && changes[column];
                assert_eq!(caller.may_change(&image).is_ok(), both, "{caller:?} may change {image:?}");
                assert_eq!(caller.own().passes(&image), both, "{caller:?} owns {image:?}");
                let everything = ListScope { community: true, member_status: None };
                assert_eq!(caller.listed(everything).passes(&image), sees[column], "{caller:?} may list {image:?}");
            }
        }
    }

    #[test]
    fn a_reader_sees_what_its_account_sees_and_changes_nothing() {
        let everything = ListScope { community: true, member_status: None };
        for visibility in [Visibility::Public, Visibility::Private, Visibility::Shared, Visibility::Community] {
            for image in
                [image(Some("me"), visibility), image(None, visibility), shared(visibility, MemberStatus::Accepted)]
            {
                for name in ["me", "you", "them"] {
                    let (reader, user) = (Caller::Reader(name.into()), Caller::User(name.into()));
                    assert_eq!(reader.sees(&image), user.sees(&image), "{name} sees {image:?}");
                    assert_eq!(reader.governs(&image), user.changes(&image), "{name} knows all of {image:?}");
                    for shown in [ListScope::default(), everything] {
                        assert_eq!(reader.listed(shown).passes(&image), user.listed(shown).passes(&image));
                    }
                    assert_eq!(reader.own().passes(&image), user.own().passes(&image));
                    assert!(!reader.changes(&image) && !reader.shares(&image) && reader.may_change(&image).is_err());
                }
            }
        }
    }

    #[test]
    fn lists_show_what_a_member_asks_for() {
        let (you, pending) = (
            Caller::User("you".into()),
            ListScope { member_status: Some(MemberStatus::Pending), ..ListScope::default() },
        );
        for status in [MemberStatus::Pending, MemberStatus::Accepted, MemberStatus::Rejected] {
            let image = shared(Visibility::Shared, status);
            assert_eq!(you.listed(pending).passes(&image), status == MemberStatus::Pending);
        }
        assert!(you.listed(pending).passes(&image(Some("you"), Visibility::Private)), "own images come always");
    }

    #[test]
    fn who_may_share() {
        let mut image = shared(Visibility::Shared, MemberStatus::Rejected);
        assert_eq!(callers().map(|caller| caller.shares(&image)), [false, true, false, true, true]);
        image.members.values_mut().for_each(|member| member.can_share = true);
        assert_eq!(callers().map(|caller| caller.shares(&image)), [false, true, true, true, true]);
    }

    #[test]
    fn what_one_may_not_know_of_is_not_found() {
        let image = image(Some("you"), Visibility::Private);
        let error = Caller::User("me".into()).may_change(&image).unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::NotFound, crate::catalog::not_found(image.id).message()));
    }
}
