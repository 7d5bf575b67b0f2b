//! Circles: the distance of images from a caller, by which names are looked up (`naming.rs`). Knows no protocol.

use std::ops::Bound;

use super::access::{Caller, owned_by, there, visible_as};
use crate::image::query::{AliasScope, Filter};
use crate::image::{Attr, Image, MemberStatus, Visibility, Vocabulary as _};

/// Images by their distance from a caller: a name is looked up in the nearest circle first, so that no image of another
/// account comes before the caller's own, and none that the caller did not accept before those in its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::registry) enum Circle {
    /// Images of the caller's own.
    Own,
    /// Public images, and shared ones that the caller accepted.
    Listed,
    /// Community images, and shared ones that the caller did not accept.
    Known,
    /// Private images of other accounts, which an administrator sees.
    Foreign,
}

impl Circle {
    /// Every circle, the nearest first.
    pub(in crate::registry) const ALL: [Self; 4] = [Self::Own, Self::Listed, Self::Known, Self::Foreign];
}

impl Caller {
    /// Circle of an image; none when the caller may not know of it.
    pub(in crate::registry) fn circle_of(&self, image: &Image) -> Option<Circle> {
        if !self.sees(image) {
            return None;
        }
        let member = self.account().and_then(|account| image.members.get(account));
        let member = member.filter(|_| image.visibility == Visibility::Shared);
        Some(if self.has(image) {
            Circle::Own
        } else if image.visibility == Visibility::Public
            || member.is_some_and(|member| member.status == MemberStatus::Accepted)
        {
            Circle::Listed
        } else if image.visibility == Visibility::Community || member.is_some() {
            Circle::Known
        } else {
            Circle::Foreign
        })
    }

    /// Tells if an image is in the caller's own name space. Without accounts, every image is; with accounts, those that have no
    /// owner are in that of each administrator.
    fn has(&self, image: &Image) -> bool {
        let has_all = matches!(self, Caller::Admin(None) | Caller::Open(_));
        has_all || self.owns(image) || (self.is_admin() && image.owner.is_none())
    }

    /// Filter of the images in the caller's own name space.
    pub(in crate::registry) fn name_space(&self) -> Filter {
        match self {
            Caller::Anonymous => Filter::nothing(),
            Caller::Admin(None) | Caller::Open(_) => there(),
            Caller::Reader(name) | Caller::User(name) => there().and(owned_by(name)),
            Caller::Admin(Some(name)) => {
                there().and(Filter::Any(vec![owned_by(name), within(AliasScope::Owner(None))]))
            }
        }
    }

    /// Stretches of the catalogue that together have all images of a circle, and perhaps others.
    pub(in crate::registry) fn stretches(&self, circle: Circle) -> Vec<(AliasScope, Filter)> {
        let all_of = |visibility| (AliasScope::Visibility(visibility), there());
        let shared_as = |status| {
            let account = self.account()?.to_owned();
            Some((AliasScope::Visibility(Visibility::Shared), there().and(Filter::Member { account, status })))
        };
        match (circle, self) {
            (Circle::Own, Caller::Anonymous) => Vec::new(),
            (Circle::Own, Caller::Admin(None) | Caller::Open(_)) => {
                Visibility::ALL.iter().copied().map(all_of).collect()
            }
            (_, Caller::Admin(None) | Caller::Open(_)) => Vec::new(),
            (Circle::Own, Caller::Reader(name) | Caller::User(name)) => {
                vec![(AliasScope::Owner(Some(name.clone())), there())]
            }
            (Circle::Own, Caller::Admin(Some(name))) => {
                [Some(name.clone()), None].map(|owner| (AliasScope::Owner(owner), there())).into()
            }
            (Circle::Listed, _) => {
                let shared = shared_as(Some(MemberStatus::Accepted));
                [all_of(Visibility::Public)].into_iter().chain(shared).collect()
            }
            (Circle::Known, _) => [all_of(Visibility::Community)].into_iter().chain(shared_as(None)).collect(),
            (Circle::Foreign, Caller::Admin(_)) => [Visibility::Private, Visibility::Shared].map(all_of).into(),
            (Circle::Foreign, _) => Vec::new(),
        }
    }
}

/// Filter of the images in a scope, where no alias is asked for.
pub(in crate::registry) fn within(scope: AliasScope) -> Filter {
    match scope {
        AliasScope::Owner(Some(name)) => owned_by(&name),
        AliasScope::Owner(None) => Filter::Within(Attr::Owner, Bound::Unbounded, Bound::Unbounded).negated(),
        AliasScope::Visibility(visibility) => visible_as(visibility),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Status;
    use crate::registry::access::tests::{callers, image, shared};

    /// The nearest circle of each image is the one that the rights say, and one of its stretches has the image.
    #[test]
    fn circles_agree_with_rights() {
        use MemberStatus::{Accepted, Pending, Rejected};
        use Visibility::{Community, Private, Public, Shared};
        let own = Some(Circle::Own);
        let (listed, known, foreign) = (Some(Circle::Listed), Some(Circle::Known), Some(Circle::Foreign));
        let rows = [
            (image(Some("me"), Public), [listed, own, listed, listed, own]),
            (image(Some("me"), Private), [None, own, None, foreign, own]),
            (image(Some("me"), Community), [known, own, known, known, own]),
            (image(Some("root"), Private), [None, None, None, own, own]),
            (shared(Shared, Accepted), [None, own, listed, foreign, own]),
            (shared(Shared, Pending), [None, own, known, foreign, own]),
            (shared(Shared, Rejected), [None, own, known, foreign, own]),
            (shared(Private, Accepted), [None, own, None, foreign, own]),
            (image(None, Private), [None, None, None, own, own]),
            (image(None, Public), [listed, listed, listed, own, own]),
            (Image { status: Status::Deleting, ..image(Some("me"), Public) }, [None; 5]),
        ];
        for (image, circles) in rows {
            for (caller, expected) in callers().iter().zip(circles) {
                assert_eq!(caller.circle_of(&image), expected, "{caller:?}: {image:?}");
                let has = |circle: &Circle| {
                    let stretches = caller.stretches(*circle).into_iter();
                    stretches.map(|(scope, filter)| within(scope).and(filter)).any(|filter| filter.passes(&image))
                };
                assert_eq!(Circle::ALL.into_iter().find(has), expected, "{caller:?}: {image:?}");
                let in_space = caller.name_space().passes(&image);
                assert_eq!(in_space, expected == own, "{caller:?}: {image:?}");
            }
            // To change nothing, or to name a project where there are no accounts, is no other distance.
            for (caller, twin) in [
                (Caller::Reader("me".into()), Caller::User("me".into())),
                (Caller::Open("lab".into()), Caller::Admin(None)),
            ] {
                assert_eq!(caller.circle_of(&image), twin.circle_of(&image), "{caller:?}: {image:?}");
                assert_eq!(caller.name_space(), twin.name_space(), "{caller:?}");
                assert_eq!(
                    Circle::ALL.map(|circle| caller.stretches(circle)),
                    Circle::ALL.map(|circle| twin.stretches(circle))
                );
            }
        }
    }
}
