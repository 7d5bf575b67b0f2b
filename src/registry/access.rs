//! Callers, and which images they see, list, own and share. Who may do what is the table in `policy.rs`.

use crate::error::{Error, Kind, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, MemberStatus, Status, Value, Visibility};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody unknown.
    Anonymous,
    /// The holder of an account.
    User(String),
    /// Somebody who may do everything: the holder of an administrator's account, or, with no accounts at all,
    /// anybody on this machine.
    Admin(Option<String>),
}

impl Caller {
    /// The name under which the caller owns images.
    pub fn account(&self) -> Option<&str> {
        match self {
            Caller::Anonymous | Caller::Admin(None) => None,
            Caller::User(name) | Caller::Admin(Some(name)) => Some(name),
        }
    }

    /// Whether the caller may do everything.
    pub fn is_admin(&self) -> bool {
        matches!(self, Caller::Admin(_))
    }

    /// Whether the caller may know of an image. Lists show less, see [`Caller::listed`].
    pub fn sees(&self, image: &Image) -> bool {
        let is_shown = match image.visibility {
            Visibility::Public | Visibility::Community => true,
            Visibility::Shared => self.account().is_some_and(|account| image.members.contains_key(account)),
            Visibility::Private => false,
        };
        image.status != Status::Deleting && (self.changes(image) || is_shown)
    }

    /// Whether the caller may change an image that it sees.
    pub fn changes(&self, image: &Image) -> bool {
        self.is_admin() || self.owns(image)
    }

    fn owns(&self, image: &Image) -> bool {
        self.account().is_some() && self.account() == image.owner.as_deref()
    }

    /// Whether the caller may add members to an image that it sees.
    pub fn shares(&self, image: &Image) -> bool {
        let member = self.account().and_then(|account| image.members.get(account));
        self.changes(image) || member.is_some_and(|member| member.can_share)
    }

    /// What a list shows of the images that the caller sees: its own, public ones, those that it accepted as a member,
    /// or whatever `shown` says. Administrators are shown everything but others' community images.
    pub fn listed(&self, shown: ListScope) -> Filter {
        match self {
            // Without an account there are no others.
            Caller::Admin(None) => there(),
            Caller::Admin(Some(_)) if shown.community => there(),
            Caller::Admin(Some(name)) => {
                there().and(Filter::Any(vec![visible_as(Visibility::Community).negated(), owned_by(name)]))
            }
            Caller::Anonymous => there().and(shown.for_everyone()),
            Caller::User(name) => {
                let member = Filter::Member { account: name.clone(), status: shown.member_status };
                let shared = Filter::All(vec![member, visible_as(Visibility::Shared)]);
                there().and(Filter::Any(vec![shown.for_everyone(), owned_by(name), shared]))
            }
        }
    }

    /// All images that are the caller's to change, as a filter.
    pub fn own(&self) -> Filter {
        match self {
            Caller::Admin(_) => there(),
            Caller::Anonymous => Filter::nothing(),
            Caller::User(name) => there().and(owned_by(name)),
        }
    }

    /// Somebody who may make images.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn known(&self) -> Result<()> {
        match self {
            Caller::Anonymous => Err(Error::new(Kind::Unauthenticated, "Authorization not provided.")),
            Caller::User(_) | Caller::Admin(_) => Ok(()),
        }
    }
}

/// Which of the images that are not a caller's own its lists show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListScope {
    /// Community images too.
    pub community: bool,
    /// Images shared with the caller that it has given this status; any, without one.
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

/// Every image that is not on its way out.
fn there() -> Filter {
    Filter::Equals(Attr::Status, Value::Text(Status::Deleting.word().into())).negated()
}

fn word(visibility: Visibility) -> Value<'static> {
    Value::Text(visibility.name().into())
}

fn visible_as(visibility: Visibility) -> Filter {
    Filter::Equals(Attr::Visibility, word(visibility))
}

fn owned_by(name: &str) -> Filter {
    Filter::Equals(Attr::Owner, Value::Text(name.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Member;
    use crate::image::change::tests::sample;

    fn callers() -> [Caller; 5] {
        let user = |name: &str| Caller::User(name.into());
        [Caller::Anonymous, user("me"), user("you"), Caller::Admin(Some("root".into())), Caller::Admin(None)]
    }

    fn image(owner: Option<&str>, visibility: Visibility) -> Image {
        Image { owner: owner.map(Into::into), visibility, ..sample("a") }
    }

    /// An image of mine that you are a member of.
    fn shared(visibility: Visibility, status: MemberStatus) -> Image {
        let mut image = image(Some("me"), visibility);
        let now = image.created_at;
        let member = Member { status, can_share: false, created_at: now, updated_at: now };
        image.members.insert("you".into(), member);
        image
    }

    /// Who may see, list and change what: a row per image, a column per caller.
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
