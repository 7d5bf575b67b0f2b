//! Metadata definitions: rights to see and to change them. Knows no protocol.
//!
//! Every caller sees public namespaces and its own; only administrators change anything, as in Glance. Contents of a
//! protected namespace can't be deleted while it is protected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::policy::{Action, On};
use super::{Caller, Clock};
use crate::error::{Reason, Result};
use crate::image::Timestamp;
use crate::metadefs::{
    About, Association, Dated, Member, Namespace, Namespaces, Object, Page, Property, Store, Tag, Visibility, missing,
    taken,
};

const WORD: &str = "namespace";

/// Service for the definitions.
#[derive(Debug, Clone)]
pub struct Metadefs {
    store: Arc<Store>,
    clock: Clock,
}

/// A new namespace with its members and their names.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "as those of a namespace")]
pub struct NamespaceDraft {
    pub about: About,
    pub resource_types: Vec<(String, Association)>,
    pub properties: Vec<(String, Property)>,
    pub objects: Vec<(String, Object)>,
    pub tags: Vec<(String, Tag)>,
}

/// Conditions of a list of namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceQuery {
    /// Visibility of the listed namespaces.
    pub visibility: Option<Visibility>,
    /// Resource types, of which a listed namespace is for at least one.
    pub resource_types: Option<Vec<String>>,
}

impl NamespaceQuery {
    fn passes(&self, namespace: &Namespace) -> bool {
        let for_one = |types: &Vec<String>| types.iter().any(|name| namespace.resource_types.contains_key(name));
        self.visibility.is_none_or(|visibility| visibility == namespace.about.visibility)
            && self.resource_types.as_ref().is_none_or(for_one)
    }
}

/// Definitions that a caller sees, at one moment.
#[derive(Debug)]
pub struct VisibleDefinitions {
    all: Arc<Namespaces>,
    who: Caller,
}

impl VisibleDefinitions {
    fn iter(&self) -> impl Iterator<Item = (&str, &Dated<Namespace>)> {
        let all = self.all.iter().map(|(name, namespace)| (name.as_str(), &**namespace));
        all.filter(|(_, namespace)| sees(&self.who, &namespace.value.about))
    }

    /// Lists a page of the namespaces.
    ///
    /// # Errors
    /// `NotFound` when the marker does not exist.
    pub fn list(&self, wanted: &NamespaceQuery, page: &Page) -> Result<Vec<(&str, &Dated<Namespace>)>> {
        page.of(WORD, self.iter().filter(|(_, namespace)| wanted.passes(&namespace.value)))
    }

    /// Finds a namespace.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, name: &str) -> Result<&Dated<Namespace>> {
        let namespace = self.all.get(name).filter(|namespace| sees(&self.who, &namespace.value.about));
        namespace.map(|namespace| &**namespace).ok_or_else(|| missing(WORD, name))
    }

    /// Resource types of all namespaces, with the first and the last time that each was associated.
    pub fn resource_types(&self) -> BTreeMap<&str, (Timestamp, Timestamp)> {
        let mut types = BTreeMap::new();
        for (name, association) in self.iter().flat_map(|(_, namespace)| &namespace.value.resource_types) {
            let (created, updated) = (association.created_at(), association.updated_at());
            let (first, last) = types.entry(name.as_str()).or_insert((created, updated));
            (*first, *last) = (created.min(*first), updated.max(*last));
        }
        types
    }
}

fn sees(who: &Caller, about: &About) -> bool {
    let owns = who.account().is_some() && who.account() == about.owner.as_deref();
    who.is_admin() || owns || about.visibility == Visibility::Public
}

fn may_delete(namespace: &Namespace) -> Result<()> {
    if namespace.about.protected {
        return Err(Reason::DefinitionsProtected.into());
    }
    Ok(())
}

impl Metadefs {
    /// Opens the definitions in the directory of the catalogue. Blocks.
    ///
    /// # Errors
    /// `Internal` when they can't be read.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self> {
        Ok(Self { store: Store::open(dir)?, clock })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Definitions that a caller sees.
    pub fn seen_by(&self, who: &Caller) -> VisibleDefinitions {
        VisibleDefinitions { all: self.store.current(), who: who.clone() }
    }

    /// Creates a namespace with its members. Without an owner it is the caller's.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`, `Invalid`, `TooMany`, `TooLarge`; `AlreadyExists`, also for a member given
    /// twice.
    pub async fn create(&self, who: &Caller, name: &str, draft: NamespaceDraft) -> Result<Arc<Dated<Namespace>>> {
        may_write(who)?;
        let now = self.now();
        let mut made = Namespace { about: owned(draft.about, who), ..Namespace::default() };
        insert(&mut made, draft.resource_types, now)?;
        insert(&mut made, draft.properties, now)?;
        insert(&mut made, draft.objects, now)?;
        insert(&mut made, draft.tags, now)?;
        let made = Arc::new(Dated::new(made, now));
        let (name, kept) = (name.to_owned(), Arc::clone(&made));
        let insert = move |all: &mut Namespaces| {
            if all.contains_key(&name) {
                return Err(taken(WORD, &name));
            }
            all.insert(name, kept);
            Ok(())
        };
        self.store.change(insert).await.map(|()| made)
    }

    /// Changes a namespace's attributes, and its name. Its members stay.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Forbidden`, `Invalid`; `AlreadyExists` when the new name is taken.
    pub async fn update(
        &self,
        who: &Caller,
        name: &str,
        new_name: &str,
        about: About,
    ) -> Result<Arc<Dated<Namespace>>> {
        self.may_change(who, name)?;
        let about = owned(about, who);
        let (name, new_name, now) = (name.to_owned(), new_name.to_owned(), self.now());
        let update = move |all: &mut Namespaces| {
            let before = all.remove(&name).ok_or_else(|| missing(WORD, &name))?;
            if all.contains_key(&new_name) {
                return Err(taken(WORD, &new_name));
            }
            let after = Arc::new(before.replaced(Namespace { about, ..before.value.clone() }, now));
            all.insert(new_name, Arc::clone(&after));
            Ok(after)
        };
        self.store.change(update).await
    }

    /// Removes a namespace with its members.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`; `Forbidden`, also for a protected namespace.
    pub async fn delete(&self, who: &Caller, name: &str) -> Result<()> {
        self.may_change(who, name)?;
        let name = name.to_owned();
        let delete = move |all: &mut Namespaces| {
            let namespace = all.remove(&name).ok_or_else(|| missing(WORD, &name))?;
            may_delete(&namespace.value)
        };
        self.store.change(delete).await
    }

    /// Adds members to a namespace: all or none. With `instead`, they replace the present ones. Returns the time of the
    /// change.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Invalid`, `TooMany`, `TooLarge`; `Forbidden`, also when a protected member would
    /// be removed; `AlreadyExists` when a name is taken, or given twice.
    pub async fn add<M: Member>(
        &self,
        who: &Caller,
        namespace: &str,
        members: Vec<(String, M)>,
        instead: bool,
    ) -> Result<Timestamp> {
        self.may_change(who, namespace)?;
        let now = self.now();
        let add = move |namespace: &mut Dated<Namespace>| {
            if instead {
                clear::<M>(&mut namespace.value)?;
            }
            insert(&mut namespace.value, members, now).map(|()| now)
        };
        self.store.change_one(namespace.to_owned(), add).await
    }

    /// Changes a member, and its name.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Forbidden`, `Invalid`, `TooLarge`; `AlreadyExists` when the new name is taken.
    pub async fn replace<M: Member>(
        &self,
        who: &Caller,
        namespace: &str,
        name: &str,
        (new_name, member): (String, M),
    ) -> Result<Dated<M>> {
        self.may_change(who, namespace)?;
        let (name, now) = (name.to_owned(), self.now());
        let replace = move |namespace: &mut Dated<Namespace>| {
            let all = M::of_mut(&mut namespace.value);
            let before = all.remove(&name).ok_or_else(|| missing(M::WORD, &name))?;
            if all.contains_key(&new_name) {
                return Err(taken(M::WORD, &new_name));
            }
            let after = before.replaced(member, now);
            all.insert(new_name, after.clone());
            Ok(after)
        };
        self.store.change_one(namespace.to_owned(), replace).await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`; `Forbidden`, also when the namespace is protected.
    pub async fn remove<M: Member>(&self, who: &Caller, namespace: &str, name: &str) -> Result<()> {
        self.may_change(who, namespace)?;
        let name = name.to_owned();
        let remove = move |namespace: &mut Dated<Namespace>| {
            let namespace = &mut namespace.value;
            M::of_mut(namespace).remove(&name).ok_or_else(|| missing(M::WORD, &name))?;
            may_delete(namespace)
        };
        self.store.change_one(namespace.to_owned(), remove).await
    }

    /// Removes all members of one kind.
    ///
    /// # Errors
    /// `NotFound` namespace, `Unauthenticated`; `Forbidden`, also when the namespace is protected.
    pub async fn clear<M: Member>(&self, who: &Caller, namespace: &str) -> Result<()> {
        self.may_change(who, namespace)?;
        self.store.change_one(namespace.to_owned(), |namespace| clear::<M>(&mut namespace.value)).await
    }

    /// Checks that a caller may change a namespace or its members. No change by such a caller takes this right from it.
    fn may_change(&self, who: &Caller, namespace: &str) -> Result<()> {
        self.seen_by(who).get(namespace)?;
        may_write(who)
    }
}

fn may_write(who: &Caller) -> Result<()> {
    who.may(Action::ChangeDefinitions, On::Server)
}

fn owned(about: About, who: &Caller) -> About {
    let owner = about.owner.or_else(|| who.account().map(ToOwned::to_owned));
    About { owner, ..about }
}

fn insert<M: Member>(namespace: &mut Namespace, members: Vec<(String, M)>, now: Timestamp) -> Result<()> {
    let all = M::of_mut(namespace);
    for (name, member) in members {
        if all.contains_key(&name) {
            return Err(taken(M::WORD, &name));
        }
        all.insert(name, Dated::new(member, now));
    }
    Ok(())
}

fn clear<M: Member>(namespace: &mut Namespace) -> Result<()> {
    if !M::of(namespace).is_empty() {
        may_delete(namespace)?;
    }
    M::of_mut(namespace).clear();
    Ok(())
}
