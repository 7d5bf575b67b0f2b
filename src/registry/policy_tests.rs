//! The policy in the service, for every protocol.

use super::copies_tests::{Two, cold};
use super::policy::*;
use super::tests::{Bench, ROOT, content, limits, named, public};
use super::*;
use crate::error::{Kind, Reason, Result};
use crate::image::{Image, ImagePatch, StoreName, Visibility};

/// Effect of the setting `auth.publish` in every protocol: a new image is private unless it asks to be public, and an
/// image that is public already stays so.
#[tokio::test]
async fn publishing_is_decided_by_one_setting() {
    let (me, root) = (Caller::User("me".into()), Caller::Admin(Some("root".into())));
    let visibility = |visibility| ImagePatch { visibility: Some(visibility), ..ImagePatch::default() };
    for (publish, owners) in [(Publish::Owner, true), (Publish::Admin, false)] {
        let bench = Bench::with(Limits { publish, ..limits() });
        let registry = &bench.registry;
        let none = Expected::default();
        let mine = registry.create(&me, None, &named("mine"), None, &none).await.unwrap();
        assert_eq!(mine.visibility, Visibility::Private, "unless more is said");
        let refused = |outcome: Result<Image>| outcome.err().map(|error| error.kind());
        let expected = (!owners).then_some(Kind::Forbidden);
        assert_eq!(refused(registry.create(&me, None, &public("x"), None, &none).await), expected);
        assert_eq!(
            refused(registry.update(&me, mine.id, &visibility(Visibility::Public), None, &none).await),
            expected
        );
        let begun = registry.uploads().begin(&me, Some(mine.id), &visibility(Visibility::Public), none.clone()).await;
        assert_eq!(begun.err().map(|error| error.kind()), expected);
        for open in [Visibility::Community, Visibility::Shared] {
            registry.update(&me, mine.id, &visibility(open), None, &none).await.unwrap();
        }
        registry.update(&root, mine.id, &visibility(Visibility::Public), None, &none).await.unwrap();
        let same = registry.update(&me, mine.id, &visibility(Visibility::Public), None, &none).await.unwrap();
        assert_eq!(same.visibility, Visibility::Public, "to say so again is no change");
        let follow = ImagePatch { auto_update: Some(true), ..ImagePatch::default() };
        assert_eq!(
            refused(registry.update(&me, mine.id, &follow, None, &none).await),
            expected,
            "its content is not fixed then"
        );
        let taken = ImagePatch { owner: Some(Some("you".into())), ..ImagePatch::default() };
        assert_eq!(refused(registry.update(&me, mine.id, &taken, None, &none).await), Some(Kind::Forbidden));
        let own = ImagePatch { owner: Some(Some("me".into())), ..ImagePatch::default() };
        assert!(registry.update(&me, mine.id, &own, None, &none).await.is_ok(), "to name oneself is no change");
    }
}

/// The check that counts is made at the locked row: an image that was public when the upload began may be private by
/// then.
#[tokio::test]
async fn an_upload_does_not_publish_what_was_withdrawn_meanwhile() {
    let bench = Bench::with(Limits { publish: Publish::Admin, ..limits() });
    let (registry, me) = (&bench.registry, Caller::User("me".into()));
    let given = ImagePatch { owner: Some(Some("me".into())), ..public("given") };
    let id = registry.create(&ROOT, None, &given, None, &Expected::default()).await.unwrap().id;
    let said = ImagePatch { visibility: Some(Visibility::Public), ..ImagePatch::default() };
    let mut upload = registry.uploads().begin(&me, Some(id), &said, Expected::default()).await.unwrap();
    upload.write(content()).await.unwrap();
    let withdrawn = ImagePatch { visibility: Some(Visibility::Private), ..ImagePatch::default() };
    registry.update(&ROOT, id, &withdrawn, None, &Expected::default()).await.unwrap();
    assert_eq!(upload.finish(&said).await.unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(registry.get(&me, id).await.unwrap().visibility, Visibility::Private);
}

/// An owner chooses the store of an image; how many copies of it there are is for administrators.
#[tokio::test]
async fn an_owner_moves_and_an_administrator_copies() {
    let two = Two::new(false);
    let id = two.add(None).await.unwrap().id;
    let owner = Caller::User("me".into());
    let given = ImagePatch { owner: Some(Some("me".into())), ..ImagePatch::default() };
    two.registry.update(&ROOT, id, &given, None, &Expected::default()).await.unwrap();
    let kind = |outcome: Result<Image>| outcome.err().map(|error| error.kind());
    assert_eq!(kind(two.registry.copies().copy_to(&owner, id, &cold()).await), Some(Kind::Forbidden));
    let begun = two
        .registry
        .mirror()
        .import_copies(&owner, id, ImportWish { stores: vec![cold()], ..ImportWish::default() })
        .await;
    assert_eq!(begun.err().map(|error| error.kind()), Some(Kind::Forbidden));
    assert_eq!(two.registry.copies().move_to(&owner, id, &cold()).await.unwrap().home(), cold());
    two.registry.copies().copy_to(&ROOT, id, &StoreName::FILE).await.unwrap();
    assert_eq!(kind(two.registry.copies().remove_copy(&owner, id, &cold()).await), Some(Kind::Forbidden));
    assert_eq!(two.registry.copies().remove_copy(&ROOT, id, &cold()).await.unwrap().home(), StoreName::FILE);
}

/// Administrators may do everything but closed actions; callers without an account only what is open to readers.
#[test]
fn every_row_is_answered() {
    let mut image = crate::image::change::tests::sample("a");
    image.owner = Some("me".into());
    let user = |name: &str| Caller::User(name.into());
    for action in Action::ALL {
        let who = action.row().who;
        assert_eq!(action.row().action, *action);
        for on in [On::Server, On::Image(&image), On::HeldBy(Some("me"))] {
            for root in [Caller::Admin(None), Caller::Admin(Some("root".into()))] {
                assert_eq!(root.may(*action, on).is_ok(), who != Who::Closed, "{action:?}");
            }
            let open =
                matches!(who, Who::Everybody | Who::Readers) || (who == Who::Viewers && matches!(on, On::Image(_)));
            assert_eq!(Caller::Anonymous.may(*action, on).is_ok(), open, "{action:?}");
            let refused = user("you").may(*action, on).err().map(|error| error.kind());
            let expected = (!open && who != Who::Accounts).then_some(Kind::Forbidden);
            assert_eq!(refused, expected, "{action:?}");
        }
        let mine = match who {
            Who::Everybody | Who::Readers | Who::Accounts | Who::Viewers | Who::Sharers | Who::Owner => true,
            Who::Publisher | Who::Member | Who::Holder | Who::Proof | Who::Admins | Who::Closed => false,
        };
        assert_eq!(user("me").may(*action, &image).is_ok(), mine, "{action:?}");
        let held = matches!(who, Who::Everybody | Who::Readers | Who::Accounts | Who::Holder | Who::Member);
        assert_eq!(user("me").may(*action, On::HeldBy(Some("me"))).is_ok(), held, "{action:?}");
        assert!(!matches!(who, Who::Holder | Who::Member) || user("me").may(*action, On::HeldBy(None)).is_err());
    }
    for publish in [Publish::Owner, Publish::Admin] {
        assert!(!publish.allows(&Caller::Reader("me".into())));
    }
    assert!(Publish::Owner.allows(&user("me")) && !Publish::Admin.allows(&user("me")));
    assert!(!Publish::Owner.allows(&Caller::Anonymous) && Publish::Admin.allows(&Caller::Admin(None)));
}

/// An account that may only read: what it owns is as open to it as to any account of its name, and nothing can be changed.
#[test]
fn a_reader_may_what_its_account_may_except_change() {
    let mut image = crate::image::change::tests::sample("a");
    image.owner = Some("me".into());
    let (reader, user) = (Caller::Reader("me".into()), Caller::User("me".into()));
    for action in Action::ALL {
        for on in [On::Server, On::Image(&image), On::HeldBy(Some("me")), On::HeldBy(Some("you"))] {
            match reader.may(*action, on) {
                Ok(()) => assert!(action.only_reads() && user.may(*action, on).is_ok(), "{action:?}"),
                Err(error) if action.only_reads() => {
                    assert_eq!(
                        Err(error.reason()),
                        user.may(*action, on).map_err(|error| error.reason()),
                        "{action:?}"
                    );
                }
                Err(error) => {
                    assert_eq!(error.reason(), Reason::ReadOnlyAccount, "{action:?}");
                    assert!(error.message().contains(action.row().words), "{error}");
                }
            }
        }
    }
}

/// The calls behind every way to change an image, asked by a reader of the account that owns it.
#[tokio::test]
async fn a_reader_changes_nothing_through_the_service() {
    let bench = Bench::with(limits());
    let (registry, me, reader) = (&bench.registry, Caller::User("me".into()), Caller::Reader("me".into()));
    let none = Expected::default();
    let mine = registry.create(&me, None, &named("mine"), None, &none).await.unwrap();
    let shared = ImagePatch { visibility: Some(Visibility::Shared), ..ImagePatch::default() };
    registry.update(&me, mine.id, &shared, None, &none).await.unwrap();
    let before = registry.get(&reader, mine.id).await.unwrap();
    let id = mine.id;
    let refused = |what: &str, error: Option<crate::error::Error>| {
        assert_eq!(error.map(|error| error.reason()), Some(Reason::ReadOnlyAccount), "{what}");
    };
    refused("create", registry.create(&reader, None, &named("x"), None, &none).await.err());
    refused("update", registry.update(&reader, id, &named("x"), None, &none).await.err());
    refused("edit", registry.edit(&reader, id, |_| Ok(named("x"))).await.err());
    refused("tag", registry.add_tag(&reader, id, "x").await.err());
    refused("untag", registry.remove_tag(&reader, id, "x").await.err());
    refused("withhold", registry.set_active(&reader, id, false).await.err());
    refused("delete", registry.delete(&reader, id).await.err());
    refused("delete all", registry.delete_all(&reader).await.err());
    refused("share", registry.members().add(&reader, id, "you", false).await.err());
    refused("share on", registry.members().share_with(&reader, id, "you", None).await.err());
    refused("unshare", registry.members().remove(&reader, id, "you").await.err());
    let nothing = ImagePatch::default();
    for into in [Some(id), None] {
        refused("upload", registry.uploads().begin(&reader, into, &nothing, none.clone()).await.err());
    }
    let wish = ImportWish { stores: vec![cold()], ..ImportWish::default() };
    refused("copies", registry.mirror().import_copies(&reader, id, wish).await.err());
    assert_eq!(registry.get(&reader, id).await.unwrap(), before);
}
