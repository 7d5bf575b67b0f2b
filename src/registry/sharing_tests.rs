//! Sharing and editing, as Glance's clients need them: members, tags, protection, edits of stored values, ids of their
//! own.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::error::Reason;
use crate::error::{Kind, Result};
use crate::image::query::{Direction, Filter, Query, Sort};
use crate::image::{Attr, Image, ImageId, ImagePatch, MemberStatus, Visibility};
use crate::registry::tests::{Bench, ROOT, begin, content, named};

fn user(name: &str) -> Caller {
    Caller::User(name.into())
}

impl Bench {
    /// A new image of `me`.
    async fn mine(&self, name: &str, visibility: Visibility) -> Image {
        let patch = ImagePatch { visibility: Some(visibility), ..named(name) };
        self.registry.create(&user("me"), None, &patch, None, &Expected::default()).await.unwrap()
    }

    async fn names(&self, who: &Caller, shown: ListScope) -> BTreeSet<String> {
        let query = Query {
            filter: Filter::everything(),
            sort: Sort::by(Attr::Name, Direction::Descending),
            limit: 100,
            after: None,
        };
        let images = self.registry.list(who, shown, query).await.unwrap().images;
        images.into_iter().filter_map(|image| image.name).collect()
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn an_image_is_shared_accepted_and_taken_back() {
    let bench = Bench::new();
    let registry = &bench.registry;
    let (me, you, other) = (user("me"), user("you"), user("other"));
    let image = bench.mine("shared", Visibility::Shared).await;
    let id = image.id;
    assert_eq!(kind(registry.get(&you, id).await), Kind::NotFound);
    assert_eq!(kind(registry.members().add(&you, id, "you", true).await), Kind::NotFound);

    let member = registry.members().add(&me, id, "you", false).await.unwrap();
    assert_eq!((member.status, member.can_share), (MemberStatus::Pending, false));
    assert_eq!(kind(registry.members().add(&me, id, "you", false).await), Kind::AlreadyExists);
    assert_eq!(kind(registry.members().add(&me, id, "", false).await), Kind::Invalid);
    registry.members().add(&me, id, "third", false).await.unwrap();

    // Seen at once, listed when accepted; a member knows nothing of the others.
    assert_eq!(registry.get(&you, id).await.unwrap().name, image.name);
    assert!(bench.names(&you, ListScope::default()).await.is_empty());
    assert_eq!(registry.members().of(&you, id).await.unwrap(), BTreeMap::from([("you".into(), member)]));
    assert_eq!(registry.members().of(&me, id).await.unwrap().len(), 2);
    assert_eq!(kind(registry.members().of(&other, id).await), Kind::NotFound);
    let accept =
        async |who: &Caller, account| registry.members().set_status(who, id, account, MemberStatus::Accepted).await;
    assert_eq!(kind(accept(&me, "you").await), Kind::Forbidden);
    assert_eq!(kind(accept(&you, "third").await), Kind::NotFound);
    assert_eq!(kind(accept(&me, "nobody").await), Kind::NotFound);
    assert_eq!(kind(accept(&other, "you").await), Kind::NotFound);
    accept(&you, "you").await.unwrap();
    assert_eq!(bench.names(&you, ListScope::default()).await, BTreeSet::from(["shared".into()]));
    assert_eq!(accept(&ROOT, "third").await.unwrap().status, MemberStatus::Accepted);

    // A member has no other right until it may share.
    assert_eq!(kind(registry.add_tag(&you, id, "t").await), Kind::Forbidden);
    assert_eq!(kind(registry.members().remove(&you, id, "you").await), Kind::Forbidden);
    assert_eq!(kind(registry.members().add(&you, id, "other", false).await), Kind::Forbidden);
    assert_eq!(kind(registry.members().share_with(&you, id, "you", Some(true)).await), Kind::Forbidden);
    assert_eq!(kind(registry.members().share_with(&you, id, "other", None).await), Kind::Forbidden);
    let changed = registry.members().share_with(&me, id, "you", Some(true)).await.unwrap();
    assert_eq!((changed.status, changed.can_share), (MemberStatus::Accepted, true));
    registry.members().add(&you, id, "other", false).await.unwrap();
    assert!(registry.get(&other, id).await.is_ok());

    registry.members().remove(&me, id, "you").await.unwrap();
    assert_eq!(kind(registry.members().remove(&me, id, "you").await), Kind::NotFound);
    assert_eq!(kind(registry.get(&you, id).await), Kind::NotFound);
    assert!(bench.names(&you, ListScope::default()).await.is_empty());
    let image = registry.get(&me, id).await.unwrap();
    assert_eq!(image.updated_at, Some(image.created_at), "sharing is no change of the image");
}

#[tokio::test]
async fn only_shared_images_have_members() {
    let bench = Bench::new();
    let (registry, me) = (&bench.registry, user("me"));
    for visibility in [Visibility::Public, Visibility::Private, Visibility::Community] {
        let id = bench.mine("not shared", visibility).await.id;
        assert_eq!(kind(registry.members().of(&me, id).await), Kind::Forbidden);
        assert_eq!(kind(registry.members().add(&me, id, "you", true).await), Kind::Forbidden);
        if visibility != Visibility::Private {
            assert_eq!(kind(registry.members().share_with(&me, id, "you", None).await), Kind::Forbidden);
            assert_eq!(kind(registry.members().replace(&me, id, BTreeMap::new()).await), Kind::Forbidden);
        }
        let error = registry.members().remove(&me, id, "you").await.unwrap_err();
        assert_eq!(error.message(), "Only shared images have members.");
    }
}

#[tokio::test]
async fn members_are_replaced_and_who_stays_keeps_its_status() {
    let bench = Bench::new();
    let (registry, me) = (&bench.registry, user("me"));
    let id = bench.mine("a", Visibility::Shared).await.id;
    for (account, can_share) in [("gone", None), ("stays", None), ("shares", Some(true))] {
        registry.members().share_with(&me, id, account, can_share).await.unwrap();
    }
    registry.members().set_status(&user("stays"), id, "stays", MemberStatus::Accepted).await.unwrap();
    let wanted = [("stays", Some(true)), ("new", None), ("shares", None)];
    let members = wanted.map(|(name, can_share)| (name.to_owned(), can_share));
    registry.members().replace(&me, id, members.into()).await.unwrap();
    let found = registry.members().of(&me, id).await.unwrap();
    let found: Vec<_> = found.iter().map(|(name, m)| (name.as_str(), m.status, m.can_share)).collect();
    let (pending, accepted) = (MemberStatus::Pending, MemberStatus::Accepted);
    assert_eq!(found, [("new", pending, false), ("shares", pending, true), ("stays", accepted, true)]);
    let many = (0..=crate::image::change::MEMBERS_MAX).map(|n| (n.to_string(), None)).collect();
    assert_eq!(kind(registry.members().replace(&me, id, many).await), Kind::TooMany);
    assert_eq!(kind(registry.members().replace(&user("shares"), id, BTreeMap::new()).await), Kind::Forbidden);
    assert_eq!(registry.members().of(&me, id).await.unwrap().len(), 3);
}

/// Protocols with images for everyone or for listed accounts only.
#[tokio::test]
async fn a_private_image_becomes_a_shared_one_with_its_first_member() {
    let bench = Bench::new();
    let (registry, me, you) = (&bench.registry, user("me"), user("you"));
    let id = bench.mine("a", Visibility::Shared).await.id;
    registry.members().share_with(&me, id, "former", Some(true)).await.unwrap();
    let hide = ImagePatch { visibility: Some(Visibility::Private), ..ImagePatch::default() };
    registry.update(&me, id, &hide, None, &Expected::default()).await.unwrap();
    assert_eq!(kind(registry.members().share_with(&user("former"), id, "former", None).await), Kind::NotFound);

    registry.members().share_with(&me, id, "you", None).await.unwrap();
    let image = registry.get(&you, id).await.unwrap();
    assert_eq!(image.visibility, Visibility::Shared);
    assert_eq!(image.members.keys().collect::<Vec<_>>(), ["you"], "those of an earlier time stay away");
    let again = registry.members().share_with(&me, id, "you", None).await.unwrap();
    assert_eq!(again, image.members["you"], "what is so already is left alone");

    registry.update(&me, id, &hide, None, &Expected::default()).await.unwrap();
    registry.members().replace(&me, id, [("you".to_owned(), Some(true))].into()).await.unwrap();
    let member = registry.get(&you, id).await.unwrap().members["you"];
    assert_eq!((member.status, member.can_share), (MemberStatus::Pending, true));
}

#[tokio::test]
async fn what_is_shared_with_an_account_is_told_to_whom_it_concerns() {
    let bench = Bench::new();
    let registry = &bench.registry;
    let shared = bench.mine("a", Visibility::Shared).await.id;
    let theirs = ImagePatch { visibility: Some(Visibility::Shared), ..named("b") };
    let theirs = registry.create(&user("third"), None, &theirs, None, &Expected::default()).await.unwrap().id;
    let private = bench.mine("c", Visibility::Shared).await.id;
    for (owner, id) in [("me", shared), ("third", theirs), ("me", private)] {
        registry.members().add(&user(owner), id, "you", false).await.unwrap();
        registry.members().add(&user(owner), id, "peer", false).await.unwrap();
    }
    let hide = ImagePatch { visibility: Some(Visibility::Private), ..ImagePatch::default() };
    registry.update(&user("me"), private, &hide, None, &Expected::default()).await.unwrap();
    for (who, expected) in [
        (user("you"), vec![shared, theirs]),
        (ROOT, vec![shared, theirs]),
        (user("me"), vec![shared]),
        // The account sees both images, and not their other members.
        (user("peer"), vec![]),
        (Caller::Anonymous, vec![]),
    ] {
        let found = registry.members().shared_with(&who, "you", 100).next().await.unwrap().unwrap();
        let found: BTreeSet<_> = found.iter().map(|image| image.id).collect();
        assert_eq!(found, expected.into_iter().collect(), "{who:?}");
    }
}

#[tokio::test]
async fn lists_show_what_is_asked_for() {
    let bench = Bench::new();
    bench.mine("public", Visibility::Public).await;
    bench.mine("community", Visibility::Community).await;
    bench.mine("private", Visibility::Private).await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (usual, more) = (ListScope::default(), ListScope { community: true, ..ListScope::default() });
    let root = Caller::Admin(Some("root".into()));
    for (who, shown, expected) in [
        (user("you"), usual, &["public"][..]),
        (user("you"), more, &["public", "community"]),
        (Caller::Anonymous, usual, &["public"]),
        (user("me"), usual, &["public", "community", "private"]),
        (root.clone(), usual, &["public", "private"]),
        (root, more, &["public", "community", "private"]),
    ] {
        assert_eq!(bench.names(&who, shown).await, names(expected), "{who:?} {shown:?}");
    }
}

#[tokio::test]
async fn what_is_protected_stays() {
    let bench = Bench::new();
    let (registry, me) = (&bench.registry, user("me"));
    let (kept, other) = (bench.mine("kept", Visibility::Private).await, bench.mine("other", Visibility::Private).await);
    let protect = |protected| ImagePatch { protected: Some(protected), ..ImagePatch::default() };
    registry.update(&me, kept.id, &protect(true), None, &Expected::default()).await.unwrap();
    for who in [&me, &ROOT] {
        let error = registry.delete(who, kept.id).await.unwrap_err();
        assert!(error.kind() == Kind::Forbidden && error.message().contains(&kept.id.to_string()), "{error}");
    }
    let removed = registry.delete_all(&me).await.unwrap();
    assert_eq!(removed.iter().map(|(image, _)| image.id).collect::<Vec<_>>(), [other.id]);
    registry.update(&me, kept.id, &protect(false), None, &Expected::default()).await.unwrap();
    registry.delete(&me, kept.id).await.unwrap();
}

#[tokio::test]
async fn tags_that_come_at_once_all_stay() {
    let bench = Bench::new();
    let (me, id) = (user("me"), bench.mine("a", Visibility::Private).await.id);
    let adds = (0..32).map(|n| {
        let (registry, me) = (Arc::clone(&bench.registry), me.clone());
        tokio::spawn(async move { registry.add_tag(&me, id, &format!("t{n}")).await })
    });
    for add in adds.collect::<Vec<_>>() {
        add.await.unwrap().unwrap();
    }
    let registry = &bench.registry;
    let image = registry.add_tag(&me, id, "t0").await.unwrap();
    assert_eq!(image.tags.len(), 32);
    assert_eq!(registry.remove_tag(&me, id, "t0").await.unwrap().tags.len(), 31);
    assert_eq!(kind(registry.remove_tag(&me, id, "t0").await), Kind::NotFound);
    assert_eq!(kind(registry.add_tag(&me, id, &"x".repeat(256)).await), Kind::Invalid);
    assert_eq!(kind(registry.add_tag(&user("you"), id, "t").await), Kind::NotFound);
}

/// Each edit builds on the result of the one before.
#[tokio::test]
async fn edits_that_meet_are_made_one_after_the_other() {
    let bench = Bench::new();
    let id = bench.queued("a").await.id;
    let edit = |make: fn(&Image) -> Result<ImagePatch>| {
        let registry = Arc::clone(&bench.registry);
        tokio::spawn(async move { registry.edit(&ROOT, id, make).await })
    };
    let counting = |image: &Image| Ok(ImagePatch { min_ram: Some(image.min_ram + 1), ..ImagePatch::default() });
    for counted in (0..8).map(|_| edit(counting)).collect::<Vec<_>>() {
        counted.await.unwrap().unwrap();
    }
    assert_eq!(bench.registry.get(&ROOT, id).await.unwrap().min_ram, 8);

    let adding = |image: &Image| match image.properties.contains_key("once") {
        true => Err(Reason::Conflict.saying("It is there already.")),
        false => {
            let properties = [("once".to_owned(), Some(String::new()))].into();
            Ok(ImagePatch { properties, ..ImagePatch::default() })
        }
    };
    let mut added = 0;
    for one in (0..8).map(|_| edit(adding)).collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(_) => added += 1,
            Err(error) => assert_eq!(error.kind(), Kind::Conflict),
        }
    }
    assert_eq!(added, 1);
    let before = bench.registry.get(&ROOT, id).await.unwrap();
    let same = bench.registry.edit(&ROOT, id, |_| Ok(ImagePatch::default())).await.unwrap();
    assert_eq!(same, before, "no change is none");
    assert_eq!(kind(bench.registry.edit(&user("you"), id, |_| Ok(named("b"))).await), Kind::Forbidden);
}

/// An id never leads to another image, and bytes in transit never get into another image.
#[tokio::test]
async fn an_id_may_be_chosen_once() {
    let bench = Bench::new();
    let (registry, id) = (&bench.registry, ImageId::random());
    let create = async || registry.create(&ROOT, Some(id), &ImagePatch::default(), None, &Expected::default()).await;
    assert_eq!(create().await.unwrap().id, id);
    assert_eq!(kind(create().await), Kind::AlreadyExists);
    let mut upload = begin(registry, Some(id), Expected::default()).await.unwrap();
    upload.write(content()).await.unwrap();
    registry.delete(&ROOT, id).await.unwrap();
    assert_eq!(kind(create().await), Kind::AlreadyExists);
    assert_eq!(kind(upload.finish(&ImagePatch::default()).await), Kind::NotFound);
    assert_eq!(kind(create().await), Kind::AlreadyExists);
}

/// Under a chosen id or not: a begun image stays, and tells that it failed.
#[tokio::test]
async fn a_kept_image_outlives_its_upload() {
    let bench = Bench::new();
    let (registry, id) = (&bench.registry, ImageId::random());
    let claim = || Expected { size: Some(3), ..Expected::default() };
    for chosen in [Some(id), None] {
        let upload = async || registry.uploads().begin(&ROOT, Target::Kept(chosen), &named("a"), claim()).await;
        let mut first = upload().await.unwrap();
        let made = first.image();
        assert!(chosen.is_none_or(|id| id == made));
        if chosen.is_some() {
            assert_eq!(kind(upload().await.map(drop)), Kind::AlreadyExists);
        }
        first.write("ab".into()).await.unwrap();
        assert_eq!(kind(first.finish(&ImagePatch::default()).await), Kind::DigestMismatch);
        assert_eq!(registry.get(&ROOT, made).await.unwrap().status, crate::image::Status::Failed);
        let mut again =
            registry.uploads().begin(&ROOT, Target::Existing(made), &ImagePatch::default(), claim()).await.unwrap();
        again.write("abc".into()).await.unwrap();
        assert_eq!(again.finish(&ImagePatch::default()).await.unwrap().size(), Some(3));
    }
    let late = registry.uploads().begin(&ROOT, Target::Kept(Some(id)), &named("a"), claim()).await;
    assert_eq!(kind(late.map(drop)), Kind::AlreadyExists);
    assert_eq!(registry.get(&ROOT, id).await.unwrap().size(), Some(3), "who came too late changes nothing");
}
