//! Queries of the catalogue: filter, order, page size and cursor. Values only; the catalogue answers.

use std::ops::{Bound, RangeBounds};

use super::{Attr, Image, MemberStatus, StoreName, Value, ValueType, Visibility};

/// Images among which an alias is looked up. Each choice is a stretch of the index over aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasScope {
    /// Images of this owner, or those without one.
    Owner(Option<String>),
    /// Images with this visibility.
    Visibility(Visibility),
}

impl AliasScope {
    /// Tells whether an image is among them.
    pub fn has(&self, image: &Image) -> bool {
        match self {
            Self::Owner(owner) => image.owner == *owner,
            Self::Visibility(visibility) => image.visibility == *visibility,
        }
    }
}

/// A condition on images. A tree, so that access rules are just one more branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every condition holds; an empty list passes everything.
    All(Vec<Filter>),
    /// One of the conditions holds; an empty list passes nothing.
    Any(Vec<Filter>),
    /// The attribute has this value.
    Equals(Attr, Value<'static>),
    /// The attribute has one of these values.
    OneOf(Attr, Vec<Value<'static>>),
    /// The attribute has a value within these bounds.
    Within(Attr, Bound<Value<'static>>, Bound<Value<'static>>),
    /// The condition does not hold. An image without an attribute has no value of it, so it passes the opposite of
    /// [`Filter::Equals`].
    Not(Box<Filter>),
    /// The free attribute has this value.
    Property(String, String),
    /// The image has this tag.
    Tag(String),
    /// The image has this alias, and is among these.
    Alias(String, AliasScope),
    /// The account is a member, with this status or with any. Ignores the visibility.
    Member {
        /// Account of the member.
        account: String,
        /// Status of the member; any, if absent.
        status: Option<MemberStatus>,
    },
}

impl Filter {
    /// Everything passes.
    pub fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Nothing passes.
    pub fn nothing() -> Self {
        Self::Any(Vec::new())
    }

    /// Inverts the condition.
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Compares an attribute with the value that `text` spells. A text that spells none passes nothing: no image can have it.
    /// Moments have no spelling here; protocols use [`Filter::Within`] for them.
    pub fn spelled(attr: Attr, text: &str) -> Self {
        let value = match attr.row().value {
            ValueType::Text => Some(Value::Text(text.to_owned().into())),
            ValueType::Word(parse, _) => parse(text).map(|word| Value::Text(word.into())),
            ValueType::Store => text.parse().ok().map(|name: StoreName| Value::Text(name.as_str().to_owned().into())),
            ValueType::Count => text.parse().ok().map(Value::Int),
            ValueType::Flag => text.parse().ok().map(Value::Flag),
            ValueType::Id => text.parse().ok().map(Value::Id),
            ValueType::Time => None,
        };
        value.map_or_else(Self::nothing, |value| Self::Equals(attr, value))
    }

    /// Combines two conditions, which both must hold.
    pub fn and(self, other: Filter) -> Self {
        match (self, other) {
            (Self::All(mut left), Self::All(right)) => {
                left.extend(right);
                Self::All(left)
            }
            (Self::All(mut list), one) | (one, Self::All(mut list)) => {
                list.push(one);
                Self::All(list)
            }
            (left, right) => Self::All(vec![left, right]),
        }
    }

    /// Tells whether an image passes.
    pub fn passes(&self, image: &Image) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|f| f.passes(image)),
            Self::Any(filters) => filters.iter().any(|f| f.passes(image)),
            Self::Equals(attr, value) => attr.read(image).as_ref() == Some(value),
            Self::OneOf(attr, values) => attr.read(image).is_some_and(|value| values.contains(&value)),
            Self::Within(attr, low, high) => {
                attr.read(image).is_some_and(|value| (low.as_ref(), high.as_ref()).contains(&value))
            }
            Self::Not(filter) => !filter.passes(image),
            Self::Property(name, value) => image.properties.get(name) == Some(value),
            Self::Tag(tag) => image.tags.contains(tag),
            Self::Alias(alias, scope) => image.aliases.contains_key(alias) && scope.has(image),
            Self::Member { account, status } => {
                image.members.get(account).is_some_and(|member| status.is_none_or(|status| member.status == status))
            }
        }
    }
}

/// Order of a list. Images without an attribute come first in its ascending order.
///
/// Ties are ordered by creation, then id, in the direction of the first attribute: its index has them in that order,
/// and one index serves both directions. (Glance orders ties newest first, also in an ascending list.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// Attribute to sort by; it must be indexed, or the filter must demand a value.
    pub by: Attr,
    /// Direction.
    pub direction: Direction,
    /// Further attributes, which order images with equal values of the attributes before. A page of such a list
    /// reads all images that have the first value of the page, so this costs more than an order by one attribute.
    pub then: Vec<(Attr, Direction)>,
}

impl Sort {
    /// Order by one attribute.
    pub fn by(attr: Attr, direction: Direction) -> Self {
        Self { by: attr, direction, then: Vec::new() }
    }

    /// Order by several attributes, the first before the others; by id for an empty list.
    pub fn by_all(mut keys: Vec<(Attr, Direction)>) -> Self {
        if keys.is_empty() {
            return Self::default();
        }
        let (by, direction) = keys.remove(0);
        Self { by, direction, then: keys }
    }

    /// Tells whether only creation and id break ties of the first attribute.
    pub(crate) fn is_simple(&self) -> bool {
        self.then.is_empty() || self.by == Attr::Id
    }
}

/// Direction of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

impl Default for Sort {
    fn default() -> Self {
        Self::by(Attr::Id, Direction::Ascending)
    }
}

/// A position in an order, just after an image. Stays right when that image is changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Sort key of the image.
    pub(crate) key: Vec<u8>,
    /// Bytes of the key that belong to the first attribute.
    pub(crate) first: usize,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Condition on the images.
    pub filter: Filter,
    /// Order of the images.
    pub sort: Sort,
    /// Most images of the page.
    pub limit: usize,
    /// Begin of the page; the start of the list if absent.
    pub after: Option<Cursor>,
}

/// A page of images, and the cursor of the next page if there may be one.
#[derive(Debug, Clone)]
pub struct Page {
    /// Images, at most the requested number.
    pub images: Vec<Image>,
    /// Cursor of the next page, if this page is full.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;
    use crate::image::{Architecture, Member, Timestamp};

    #[test]
    fn spelled_filters_know_the_spelling_variants() {
        let mut image = sample("a");
        image.architecture = Some(Architecture::X86_64);
        assert!(Filter::spelled(Attr::Architecture, "amd64").passes(&image));
        assert!(!Filter::spelled(Attr::Architecture, "i386").passes(&image));
        assert!(!Filter::spelled(Attr::Architecture, "no such").passes(&image));
        assert!(Filter::spelled(Attr::Id, &image.id.to_string()).passes(&image));
        assert!(!Filter::spelled(Attr::Size, "12").passes(&image));
    }

    #[test]
    fn trees_combine() {
        let image = sample("a");
        let name = Filter::spelled(Attr::Name, "a");
        let other = Filter::spelled(Attr::Name, "b");
        assert!(Filter::everything().passes(&image));
        assert!(!Filter::nothing().passes(&image));
        assert!(!name.clone().and(other.clone()).passes(&image));
        assert!(Filter::Any(vec![name.clone(), other]).passes(&image));
        assert!(!name.clone().negated().passes(&image));
        assert!(Filter::spelled(Attr::Owner, "a").negated().passes(&image));
        assert!(name.and(Filter::everything()).passes(&image));
    }

    #[test]
    fn bounds_may_be_open_and_need_a_value() {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let image = sample("a");
        let created = |low, high| Filter::Within(Attr::CreatedAt, low, high).passes(&image);
        let at = |shift| Value::Time(Timestamp(image.created_at.0 + shift));
        assert!(created(Unbounded, Unbounded) && created(Included(at(0)), Included(at(0))));
        assert!(created(Excluded(at(-1)), Unbounded) && created(Unbounded, Excluded(at(1))));
        assert!(!created(Excluded(at(0)), Unbounded) && !created(Unbounded, Excluded(at(0))));
        assert!(!created(Included(at(1)), Included(at(-1))));
        assert!(!Filter::Within(Attr::Size, Unbounded, Unbounded).passes(&image), "it has no size");
    }

    #[test]
    fn flags_counts_tags_and_members() {
        let mut image = sample("a");
        (image.protected, image.min_ram) = (true, 512);
        image.tags.insert("t".into());
        let now = image.created_at;
        let member = Member { status: MemberStatus::Accepted, can_share: false, created_at: now, updated_at: now };
        image.members.insert("you".into(), member);
        let member = |account: &str, status| Filter::Member { account: account.into(), status };
        for (filter, passes) in [
            (Filter::spelled(Attr::Protected, "true"), true),
            (Filter::spelled(Attr::Protected, "false"), false),
            (Filter::spelled(Attr::Protected, "True"), false),
            (Filter::spelled(Attr::Hidden, "false"), true),
            (Filter::spelled(Attr::MinRam, "512"), true),
            (Filter::OneOf(Attr::MinRam, vec![Value::Int(1), Value::Int(512)]), true),
            (Filter::OneOf(Attr::MinRam, Vec::new()), false),
            (Filter::Tag("t".into()), true),
            (Filter::Tag("T".into()), false),
            (member("you", None), true),
            (member("you", Some(MemberStatus::Accepted)), true),
            (member("you", Some(MemberStatus::Pending)), false),
            (member("me", None), false),
        ] {
            assert_eq!(filter.passes(&image), passes, "{filter:?}");
        }
    }
}
