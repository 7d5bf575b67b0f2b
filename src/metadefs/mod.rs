//! Metadata definitions: a dictionary of what may be said about images and other things, for programs that ask people
//! about it. Namespaces hold properties, objects (groups of properties), tags, and the types of resource that they are for.
//!
//! The service stores and serves them and never acts on them: a property of an image may have any name and value whatever
//! is defined here. All of them are one document, in one file. Knows nothing of protocols and of who may do what.

mod check;
mod page;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

pub use self::check::{DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX, OWNER_CHARS_MAX};
pub use self::page::{Page, SortKey};
pub use self::store::Store;
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// A value with its times of creation and last change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dated<T> {
    created_at_us: i64,
    updated_at_us: i64,
    /// The thing itself.
    pub value: T,
}

impl<T> Dated<T> {
    /// A new value.
    pub fn new(value: T, now: Timestamp) -> Self {
        Self { created_at_us: now.0, updated_at_us: now.0, value }
    }

    /// Another value in the same place.
    pub fn replaced(&self, value: T, now: Timestamp) -> Self {
        Self { created_at_us: self.created_at_us, updated_at_us: now.0, value }
    }

    /// Time of its creation.
    pub fn created_at(&self) -> Timestamp {
        Timestamp(self.created_at_us)
    }

    /// Time of its last change.
    pub fn updated_at(&self) -> Timestamp {
        Timestamp(self.updated_at_us)
    }
}

/// All namespaces, by name.
pub type Namespaces = BTreeMap<String, Arc<Dated<Namespace>>>;

/// Members of a namespace, by name.
pub type Members<M> = BTreeMap<String, Dated<M>>;

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// Its own attributes.
    pub about: About,
    /// Types of resources that its properties are for.
    pub resource_types: Members<Association>,
    /// Its properties.
    pub properties: Members<Property>,
    /// Its objects.
    pub objects: Members<Object>,
    /// Its tags.
    pub tags: Members<Tag>,
}

/// Attributes of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Accounts that see it.
    #[serde(default)]
    pub visibility: Visibility,
    /// Protection of the namespace and its members from removal.
    #[serde(default)]
    pub protected: bool,
    /// The account that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// Visibility of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Every caller.
    Public,
    /// Its owner and administrators.
    #[default]
    Private,
}

/// A type of resource that the properties of a namespace are for. Its name is the type: `OS::Nova::Flavor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Association {
    /// Prefix of the properties' names there: `hw:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Set of properties of the resource, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties_target: Option<String>,
}

/// A property: the JSON schema of its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Property {
    /// A name for people.
    pub title: String,
    /// Type of the value.
    #[serde(rename = "type")]
    pub of: Type,
    /// Its meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Operators for values: `<or>`, `s==` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operators: Option<Vec<String>>,
    /// Names that an object as value must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<Vec<String>>,
    /// The value when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// A value that is shown and can't be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly: Option<bool>,
    /// A value that is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidential: Option<bool>,
    /// All permitted values.
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Value>>,
    /// Regular expression of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Smallest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Number>,
    /// Largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Number>,
    /// Fewest characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// Most characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// Items of an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Items>,
    /// Fewest items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// Most items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Refusal of equal items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_items: Option<bool>,
    /// Permission for items that are not described.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_items: Option<bool>,
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "JSON's own types")]
pub enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    /// All types.
    pub const ALL: [Type; 6] = [Type::Array, Type::Boolean, Type::Integer, Type::Number, Type::Object, Type::String];
}

/// The items of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Items {
    /// Type of each.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub of: Option<Type>,
    /// All permitted values.
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Value>>,
}

/// Properties that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Names of the properties that it can't do without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<Vec<String>>,
    /// Its properties.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

/// A word that marks objects, without further fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {}

/// A kind of member of a namespace.
pub trait Member: Clone + Send + Serialize + DeserializeOwned + 'static {
    /// Word for a member of this kind.
    const WORD: &'static str;

    /// The members of this kind in a namespace.
    fn of(namespace: &Namespace) -> &Members<Self>;

    /// The members of this kind in a namespace, to change them.
    fn of_mut(namespace: &mut Namespace) -> &mut Members<Self>;

    /// The one with a name.
    ///
    /// # Errors
    /// `NotFound`.
    fn find<'a>(namespace: &'a Namespace, name: &str) -> Result<&'a Dated<Self>> {
        Self::of(namespace).get(name).ok_or_else(|| missing(Self::WORD, name))
    }
}

macro_rules! members {
    ($($kind:ty: $word:literal in $place:ident;)*) => {$(
        impl Member for $kind {
            const WORD: &'static str = $word;

            fn of(namespace: &Namespace) -> &Members<Self> {
                &namespace.$place
            }

            fn of_mut(namespace: &mut Namespace) -> &mut Members<Self> {
                &mut namespace.$place
            }
        }
    )*};
}

members! {
    Association: "resource type association" in resource_types;
    Property: "property" in properties;
    Object: "object" in objects;
    Tag: "tag" in tags;
}

/// The error for a missing thing, or one that the caller may not know of.
pub fn missing(word: &str, name: &str) -> Error {
    Reason::DefinitionNotFound.about(word).and(name.escape_default())
}

/// The error for a name that is taken.
pub fn taken(word: &str, name: &str) -> Error {
    Reason::DefinitionExists.about(word).and(name.escape_default())
}
