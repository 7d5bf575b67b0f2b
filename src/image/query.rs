//! Questions to the catalogue: which images, in what order, how many, from where on.

use super::{Attr, Image, Value, ValueType};

/// Which images. A tree, so that access rules are just one more branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of these hold; with none given, everything passes.
    All(Vec<Filter>),
    /// One of these holds; with none given, nothing passes.
    Any(Vec<Filter>),
    /// The attribute has this value.
    Equals(Attr, Value<'static>),
    /// The attribute has a value within these bounds, both included.
    Within(Attr, Value<'static>, Value<'static>),
    /// The attribute has a value other than this, or none.
    Not(Attr, Value<'static>),
    /// The free attribute has this value.
    Property(String, String),
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

    /// The attribute has the value that `text` spells. A text that spells none passes nothing: nothing can have it.
    /// Moments have no spelling here; protocols use [`Filter::Within`] for them.
    pub fn spelled(attr: Attr, text: &str) -> Self {
        let value = match attr.row().value {
            ValueType::Text => Some(Value::Text(text.to_owned().into())),
            ValueType::Word(parse, _) => parse(text).map(|word| Value::Text(word.into())),
            ValueType::Bytes => text.parse().ok().map(Value::Int),
            ValueType::Id => text.parse().ok().map(Value::Id),
            ValueType::Time => None,
        };
        value.map_or_else(Self::nothing, |value| Self::Equals(attr, value))
    }

    /// Both hold.
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

    /// Whether an image passes.
    pub fn passes(&self, image: &Image) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|f| f.passes(image)),
            Self::Any(filters) => filters.iter().any(|f| f.passes(image)),
            Self::Equals(attr, value) => attr.read(image).as_ref() == Some(value),
            Self::Within(attr, low, high) => attr.read(image).is_some_and(|v| *low <= v && v <= *high),
            Self::Not(attr, value) => attr.read(image).as_ref() != Some(value),
            Self::Property(name, value) => image.properties.get(name) == Some(value),
        }
    }
}

/// In what order. Images without the attribute come first; ties are ordered by creation, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// By which attribute; it must be indexed.
    pub by: Attr,
    /// Which way.
    pub direction: Direction,
}

/// Up or down.
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
        Self { by: Attr::Id, direction: Direction::Ascending }
    }
}

/// A place in an order, just behind some image. Stays right when that image is changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub(crate) Vec<u8>);

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which images.
    pub filter: Filter,
    /// In what order.
    pub sort: Sort,
    /// At most how many.
    pub limit: usize,
    /// From where on; from the beginning without one.
    pub after: Option<Cursor>,
}

/// An answer: the images, and where the next page begins if there may be one.
#[derive(Debug, Clone)]
pub struct Page {
    /// At most as many as asked for.
    pub images: Vec<Image>,
    /// Present if the page is full.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;
    use crate::image::{Architecture, Timestamp};

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
        assert!(!Filter::Not(Attr::Name, Value::Text("a".into())).passes(&image));
        assert!(Filter::Not(Attr::Owner, Value::Text("a".into())).passes(&image));
        let span = |a, b| Filter::Within(Attr::CreatedAt, Value::Time(Timestamp(a)), Value::Time(Timestamp(b)));
        assert!(span(0, i64::MAX).passes(&image));
        assert!(!span(i64::MIN, image.created_at.0 - 1).passes(&image));
        assert!(name.and(Filter::everything()).passes(&image));
    }
}
