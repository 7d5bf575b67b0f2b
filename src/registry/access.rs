//! Who may see and do what. The only place that decides it.

use crate::error::{Error, Kind, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, Status, Value, Visibility};

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

    /// Whether the caller may know of an image.
    pub fn sees(&self, image: &Image) -> bool {
        image.status != Status::Deleting
            && (self.is_admin() || self.owns(image) || image.visibility == Visibility::Public)
    }

    /// Whether the caller may change an image that it sees.
    pub fn changes(&self, image: &Image) -> bool {
        self.is_admin() || self.owns(image)
    }

    fn owns(&self, image: &Image) -> bool {
        self.account().is_some() && self.account() == image.owner.as_deref()
    }

    /// [`Caller::sees`] as a filter.
    pub fn visible(&self) -> Filter {
        let there = Filter::Not(Attr::Status, Value::Text(Status::Deleting.word().into()));
        let public = Filter::Equals(Attr::Visibility, Value::Text(Visibility::Public.name().into()));
        match self {
            Caller::Admin(_) => there,
            Caller::Anonymous => there.and(public),
            Caller::User(name) => there.and(Filter::Any(vec![public, owned_by(name)])),
        }
    }

    /// All images that are the caller's to change, as a filter.
    pub fn own(&self) -> Filter {
        match self {
            Caller::Admin(_) => self.visible(),
            Caller::Anonymous => Filter::nothing(),
            Caller::User(name) => self.visible().and(owned_by(name)),
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

    /// Somebody who may change this image.
    ///
    /// # Errors
    /// `NotFound` for an image that the caller may not know of, `Unauthenticated`, `Forbidden`.
    pub fn may_change(&self, image: &Image) -> Result<()> {
        if !self.sees(image) {
            return Err(crate::catalog::not_found(image.id));
        }
        self.known()?;
        if !self.changes(image) {
            return Err(Error::new(Kind::Forbidden, "Only its owner may change this image."));
        }
        Ok(())
    }
}

fn owned_by(name: &str) -> Filter {
    Filter::Equals(Attr::Owner, Value::Text(name.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;

    /// Who may see and change what: a row per image, a column per caller.
    #[test]
    fn rights_are_exactly_these() {
        let callers = [Caller::Anonymous, Caller::User("me".into()), Caller::User("you".into()), Caller::Admin(None)];
        let image = |owner: Option<&str>, visibility, status| {
            let mut image = sample("a");
            image.owner = owner.map(Into::into);
            image.visibility = visibility;
            image.status = status;
            image
        };
        let rows = [
            // image, sees, changes
            (
                image(Some("me"), Visibility::Public, Status::Available),
                [true, true, true, true],
                [false, true, false, true],
            ),
            (
                image(Some("me"), Visibility::Private, Status::Available),
                [false, true, false, true],
                [false, true, false, true],
            ),
            (image(None, Visibility::Public, Status::Queued), [true, true, true, true], [false, false, false, true]),
            (
                image(None, Visibility::Private, Status::Queued),
                [false, false, false, true],
                [false, false, false, true],
            ),
            (image(Some("me"), Visibility::Public, Status::Deleting), [false; 4], [false, true, false, true]),
        ];
        for (image, sees, changes) in rows {
            for (column, caller) in callers.iter().enumerate() {
                assert_eq!(caller.sees(&image), sees[column], "{caller:?} sees {image:?}");
                assert_eq!(caller.visible().passes(&image), sees[column], "{caller:?} lists {image:?}");
                assert_eq!(caller.changes(&image), changes[column], "{caller:?} changes {image:?}");
                let both = sees[column] && changes[column];
                assert_eq!(caller.may_change(&image).is_ok(), both, "{caller:?} may change {image:?}");
                assert_eq!(caller.own().passes(&image), both, "{caller:?} owns {image:?}");
            }
        }
    }

    #[test]
    fn what_one_may_not_know_of_is_not_found() {
        let mut image = sample("a");
        image.visibility = Visibility::Private;
        image.owner = Some("you".into());
        let error = Caller::User("me".into()).may_change(&image).unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::NotFound, crate::catalog::not_found(image.id).message()));
    }
}
