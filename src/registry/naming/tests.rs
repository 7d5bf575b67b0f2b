//! The rule as a table, and the same rule over a catalogue: no order of insertion changes an answer.

use proptest::prelude::*;

use super::*;
use crate::image::change::tests::sample;
use crate::image::{ImageKind, LxdIdentity, Member, MemberStatus, Status, Visibility, Vocabulary as _};
use crate::registry::tests::Bench;

const HOST: Option<Architecture> = Some(Architecture::X86_64);

/// An available image of `me` with the alias `a`.
fn image(architecture: Architecture, kind: ImageKind, created: i64) -> Image {
    let mut image = Image { status: Status::Available, owner: Some("me".into()), ..sample("other name") };
    (image.id, image.created_at) = (ImageId::random(), Timestamp(created));
    (image.architecture, image.kind) = (Some(architecture), Some(kind));
    image.aliases.insert("a".into(), String::new());
    image
}

fn me() -> Caller {
    Caller::User("me".into())
}

/// Position of the image that a name stands for.
fn meant(images: &[Image], who: &Caller, asked: &NameRequest) -> Option<usize> {
    let places = images.iter().enumerate();
    let places = places.filter_map(|(at, image)| Some((Place::of(image, who, asked, HOST)?, at)));
    places.min().map(|(_, at)| at)
}

#[test]
fn architecture_then_kind_then_the_newest() {
    use Architecture::{Aarch64, I386, X86_64};
    use ImageKind::{Container, VirtualMachine};
    let plain = NameRequest::from("a");
    let cases = [
        (vec![image(Aarch64, Container, 9), image(X86_64, Container, 1)], 1, "this machine's architecture"),
        (vec![image(Aarch64, Container, 9), image(X86_64, VirtualMachine, 1)], 1, "the architecture before the kind"),
        (vec![image(Aarch64, Container, 9), image(I386, Container, 1)], 1, "one whose programs it runs"),
        (vec![image(I386, Container, 9), image(X86_64, VirtualMachine, 1)], 1, "its own before such a one"),
        (vec![image(X86_64, VirtualMachine, 9), image(X86_64, Container, 1)], 1, "a container before a machine"),
        (vec![image(X86_64, Container, 1), image(X86_64, Container, 2)], 1, "the newest"),
        (vec![image(Aarch64, Container, 1), image(I386, Container, 9)], 1, "any rather than none"),
    ];
    for (images, expected, why) in cases {
        assert_eq!(meant(&images, &me(), &plain), Some(expected), "{why}");
        let turned: Vec<_> = images.into_iter().rev().collect();
        assert_eq!(meant(&turned, &me(), &plain), Some(1 - expected), "{why}, turned");
    }
}

#[test]
fn a_request_reaches_every_image_of_a_name() {
    use Architecture::{Aarch64, Riscv64, X86_64};
    use ImageKind::{Container, VirtualMachine};
    let images = [
        image(X86_64, Container, 1),
        image(X86_64, VirtualMachine, 2),
        image(Aarch64, Container, 3),
        image(Aarch64, VirtualMachine, 4),
    ];
    for (architecture, is_container, expected) in [
        (None, None, Some(0)),
        (None, Some(false), Some(1)),
        (Some(Aarch64), None, Some(2)),
        (Some(Aarch64), Some(false), Some(3)),
        (Some(Riscv64), None, None),
    ] {
        let asked = NameRequest { architecture, is_container, ..NameRequest::from("a") };
        assert_eq!(meant(&images, &me(), &asked), expected, "{asked:?}");
    }
}

#[test]
fn near_images_come_first_whatever_they_are() {
    let far = |visibility, created| Image {
        owner: Some("you".into()),
        visibility,
        ..image(Architecture::X86_64, ImageKind::Container, created)
    };
    let own = image(Architecture::Aarch64, ImageKind::VirtualMachine, 1);
    let (public, community, private) =
        (far(Visibility::Public, 5), far(Visibility::Community, 6), far(Visibility::Private, 7));
    let images = [private, community, public, own];
    let admin = Caller::Admin(Some("root".into()));
    let plain = NameRequest::from("a");
    for (who, left, expected) in [
        (me(), 4, Some(3)),
        (me(), 3, Some(2)),
        (me(), 2, Some(1)),
        (me(), 1, None),
        (admin.clone(), 4, Some(2)),
        (admin.clone(), 2, Some(1)),
        (admin, 1, Some(0)),
        (Caller::Anonymous, 4, Some(2)),
    ] {
        assert_eq!(meant(&images[..left], &who, &plain), expected, "{who:?} of {left}");
    }
}

#[test]
fn an_architecture_may_follow_the_name() {
    let narrower = |name: &str| NameRequest::from(name).with_architecture();
    let asked = narrower("debian/13/arm64").unwrap();
    assert_eq!((asked.name.as_str(), asked.architecture), ("debian/13", Some(Architecture::Aarch64)));
    for plain in ["debian/13", "debian", "/arm64", "arm64", "debian/"] {
        assert_eq!(narrower(plain), None, "{plain}");
    }
}

fn any_kind() -> impl Strategy<Value = (Architecture, ImageKind)> {
    let architectures = [Architecture::X86_64, Architecture::I386, Architecture::Aarch64];
    let kinds = [ImageKind::Container, ImageKind::VirtualMachine, ImageKind::Machine];
    (proptest::sample::select(architectures.to_vec()), proptest::sample::select(kinds.to_vec()))
}

fn any_image() -> impl Strategy<Value = Image> {
    let owner = proptest::sample::select(vec![None, Some("me"), Some("you")]);
    let member = proptest::option::of(proptest::sample::select(MemberStatus::ALL));
    let names = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let shown = proptest::sample::select(Visibility::ALL);
    (owner, shown, member, any_kind(), 0i64..4, any::<[u8; 16]>(), names).prop_map(
        |(owner, visibility, member, (architecture, kind), created, id, (aliased, named, made, there))| {
            let mut image = image(architecture, kind, created);
            (image.id, image.owner, image.visibility) = (ImageId::from_bytes(id), owner.map(Into::into), visibility);
            image.aliases.retain(|_, _| aliased);
            image.name = Some(if named { "a" } else { "b" }.into());
            let at = image.created_at;
            if let Some(status) = member {
                image.members.insert("me".into(), Member { status, can_share: false, created_at: at, updated_at: at });
            }
            let fingerprint = [id, id].concat().try_into().unwrap_or_default();
            image.lxd_identity = Some(LxdIdentity { fingerprint, root_sha256: None, made });
            image.status = if there { Status::Available } else { Status::Queued };
            image
        },
    )
}

/// The answer of the rule over all images, without a catalogue.
fn naive(images: &[Image], who: &Caller, set: NameSet, asked: &NameRequest) -> Option<ImageId> {
    let has = |image: &&Image| {
        let given = image.aliases.contains_key(&asked.name);
        let by_name = image.name.as_ref() == Some(&asked.name) && set.has_name_of(image);
        (given || by_name) && set.filter().passes(image)
    };
    let places =
        images.iter().filter(has).filter_map(|image| Some((Place::of(image, who, asked, this_machine())?, image.id)));
    places.min().map(|(_, id)| id)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_insertion_changes_an_answer(
        images in proptest::collection::vec(any_image(), 1..24).prop_shuffle(),
        turn in any::<proptest::sample::Index>(),
        (architecture, kind) in any_kind(),
    ) {
        // The catalogue refuses a second image of one key.
        let mut keys = std::collections::BTreeSet::new();
        let free = |image: &Image| image.aliases.is_empty() || keys.insert((image.owner.clone(), image.alias_slot()));
        let images: Vec<Image> = images.into_iter().filter(free).collect();
        let mut turned = images.clone();
        turned.rotate_left(turn.index(images.len().max(1)));
        turned.reverse();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let benches = [Bench::new(), Bench::new()];
            for (bench, images) in benches.iter().zip([&images, &turned]) {
                for image in images {
                    bench.registry.core.catalog.insert(image.clone()).await.unwrap();
                }
            }
            let wanted = NameRequest { architecture: Some(architecture), ..NameRequest::from("a") };
            let of_kind = NameRequest { is_container: Some(kind == ImageKind::Container), ..NameRequest::from("a") };
            let callers = [me(), Caller::Admin(Some("you".into())), Caller::Admin(None), Caller::Anonymous];
            for who in callers {
                for asked in [NameRequest::from("a"), wanted.clone(), of_kind.clone()] {
                    for set in [NameSet::All, NameSet::Offered, NameSet::Held] {
                        let expected = naive(&images, &who, set, &asked);
                        for bench in &benches {
                            let found = find(&bench.registry.core, &who, set, &asked).await.unwrap();
                            assert_eq!(found.map(|image| image.id), expected, "{who:?} {set:?} {asked:?}");
                        }
                    }
                }
            }
        });
    }
}
