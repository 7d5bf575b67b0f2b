//! The catalogue as a whole: against a naive model, and against damage of every kind to its files.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use proptest::prelude::*;

use super::engine::{Batch, Engine};
use super::*;
use crate::error::{Kind, Reason};
use crate::image::change::tests::sample;
use crate::image::query::{AliasScope, Direction, Filter};
use crate::image::{Architecture, Attr, ImageKind, Member, MemberStatus, Value, Visibility, Vocabulary};

const CACHE: u64 = 16 << 20;

fn open(dir: &Path) -> Catalog {
    Catalog::open(dir, CACHE).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// All images, by id.
async fn all(catalog: &Catalog) -> Vec<Image> {
    let query = Query { filter: Filter::everything(), sort: Sort::default(), limit: usize::MAX, after: None };
    catalog.list(&query).await.unwrap().images
}

/// A catalogue with three images, of which the first has been changed and the second removed again.
async fn three_changes(dir: &Path) -> (Catalog, Vec<Image>) {
    let catalog = open(dir);
    let mut a = catalog.insert(sample("a")).await.unwrap();
    let b = catalog.insert(sample("b")).await.unwrap();
    let c = catalog.insert(sample("c")).await.unwrap();
    a.name = Some("a2".into());
    let a = catalog.replace(a).await.unwrap();
    catalog.remove(&b).await.unwrap();
    let mut left = vec![a, c];
    left.sort_by_key(|image| image.id);
    (catalog, left)
}

/// Flips a bit of the first segment, at an offset that depends on its length.
fn rot(dir: &Path, at: impl FnOnce(usize) -> usize) {
    let path = dir.join("journal-1.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn whole(catalog: &Catalog, images: &[Image]) {
    block_on(async { assert_eq!(all(catalog).await, images) });
    assert_eq!(catalog.verify(), (Vec::new(), images.len() as u64));
}

#[test]
fn guards_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let catalog = open(dir.path());
        let first = catalog.insert(sample("a")).await.unwrap();
        assert_eq!(catalog.insert(first.clone()).await.unwrap_err().kind(), Kind::AlreadyExists);
        let second = catalog.replace(first.clone()).await.unwrap();
        assert!(second.revision > first.revision);
        assert_eq!(catalog.replace(first.clone()).await.unwrap_err().kind(), Kind::Precondition);
        assert_eq!(catalog.remove(&first).await.unwrap_err().kind(), Kind::Precondition);
        catalog.remove(&second).await.unwrap();
        assert_eq!(catalog.get(second.id).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(catalog.replace(second).await.unwrap_err().kind(), Kind::Precondition);
    });
}

/// The key of an alias: owner, name, architecture and kind. Every part of it tells two apart, and nothing else does.
#[test]
fn an_alias_is_kept_to_one_image_of_its_key() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let catalog = open(dir.path());
        let image = |owner: Option<&str>, architecture, kind, visibility| {
            let mut image = sample("a");
            (image.owner, image.architecture, image.kind) = (owner.map(Into::into), architecture, Some(kind));
            image.visibility = visibility;
            image.aliases.insert("debian".into(), String::new());
            image
        };
        let amd64 = Some(Architecture::X86_64);
        let (container, machine) = (ImageKind::Container, ImageKind::VirtualMachine);
        for (owner, architecture, kind) in [
            (Some("alice"), amd64, container),
            (Some("bob"), amd64, container),
            (None, amd64, container),
            (Some("alice"), Some(Architecture::Aarch64), container),
            (Some("alice"), None, container),
            (Some("alice"), amd64, machine),
        ] {
            let first = image(owner, architecture, kind, Visibility::Private);
            catalog.insert(first.clone()).await.unwrap();
            let second = image(owner, architecture, kind, Visibility::Public);
            let error = catalog.insert(second.clone()).await.unwrap_err();
            assert_eq!(error.reason(), Reason::AliasTaken, "{owner:?} {architecture:?} {kind:?}");
            // It stays free for another name, and the removal of the first one sets it free.
            let other = Image { aliases: [("other".to_owned(), String::new())].into(), ..second.clone() };
            let other = catalog.insert(other).await.unwrap();
            let moved = Image { aliases: second.aliases.clone(), ..other.clone() };
            assert_eq!(catalog.replace(moved).await.unwrap_err().reason(), Reason::AliasTaken);
            catalog.remove(&other).await.unwrap();
        }
        // A change of the other parts of the key is checked too; a disk may be a machine in two words.
        let machines = image(Some("carol"), amd64, machine, Visibility::Private);
        let machines = catalog.insert(machines).await.unwrap();
        for rival in [
            image(Some("carol"), amd64, container, Visibility::Private),
            image(Some("carol"), Some(Architecture::I386), ImageKind::Machine, Visibility::Private),
            image(Some("dave"), amd64, machine, Visibility::Private),
        ] {
            let rival = catalog.insert(rival).await.unwrap();
            let owner = machines.owner.clone();
            let same = Image { owner, architecture: amd64, kind: Some(ImageKind::Machine), ..rival.clone() };
            assert_eq!(catalog.replace(same).await.unwrap_err().reason(), Reason::AliasTaken, "{rival:?}");
            catalog.remove(&rival).await.unwrap();
        }
        // What does not touch the key is not refused.
        let described = Image { aliases: [("debian".to_owned(), "d".to_owned())].into(), hidden: true, ..machines };
        catalog.replace(described).await.unwrap();
        assert_eq!(catalog.verify().0, Vec::<String>::new());
    });
}

#[test]
fn of_many_writers_each_version_has_one() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let catalog = open(dir.path());
        let image = catalog.insert(sample("a")).await.unwrap();
        let tries = (0..50).map(|_| catalog.replace(image.clone()));
        let won = futures_util::future::join_all(tries).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(won, 1);
    });
}

#[test]
fn counters_are_kept_apart_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, images) = block_on(three_changes(dir.path()));
    catalog.touch(images[0].id, Timestamp(5));
    catalog.touch(images[0].id, Timestamp(9));
    let expected = Access { count: 2, last: Some(Timestamp(9)) };
    assert_eq!(catalog.access(images[0].id), expected);
    catalog.close();
    drop(catalog);
    let catalog = open(dir.path());
    assert_eq!(catalog.access(images[0].id), expected);
    assert_eq!(catalog.access(images[1].id), Access::default());
    whole(&catalog, &images);
}

/// Damage to the files while the catalogue is closed, all of it without loss.
#[test]
fn either_copy_heals_the_other() {
    type Harm = fn(&Path);
    let journal = |dir: &Path| dir.join("journal-1.jsonl");
    let harms: [(&str, Harm); 7] = [
        ("nothing", |_| {}),
        ("database deleted", |dir| std::fs::remove_dir_all(dir.join("sled")).unwrap()),
        ("database truncated", |dir| {
            let file = std::fs::OpenOptions::new().write(true).open(dir.join("sled/db")).unwrap();
            file.set_len(100).unwrap();
        }),
        ("database overwritten", |dir| std::fs::write(dir.join("sled/db"), vec![0xa5; 600_000]).unwrap()),
        ("journal deleted", |dir| std::fs::remove_file(dir.join("journal-1.jsonl")).unwrap()),
        ("journal's last line damaged", |dir| rot(dir, |length| length - 10)),
        ("a rebuild asked for", |dir| Catalog::demand_rebuild(dir).unwrap()),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, images) = block_on(three_changes(dir.path()));
        catalog.close();
        drop(catalog);
        assert!(journal(dir.path()).exists());
        harm(dir.path());
        for _ in 0..2 {
            let catalog = open(dir.path());
            block_on(async { assert_eq!(all(&catalog).await, images, "{name}") });
            assert_eq!(catalog.verify(), (Vec::new(), 2), "{name}");
            block_on(catalog.insert(sample("d"))).unwrap();
            let d = block_on(all(&catalog)).into_iter().find(|i| i.name.as_deref() == Some("d")).unwrap();
            block_on(catalog.remove(&d)).unwrap();
            catalog.close();
        }
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_written_anew_from_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, images) = block_on(three_changes(dir.path()));
    catalog.close();
    drop(catalog);
    rot(dir.path(), |_| 200);
    open(dir.path()).close();
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    whole(&open(dir.path()), &images);
}

/// The newest segment lost its beginning or everything: sound data elsewhere is kept.
#[test]
fn a_segment_that_lost_its_beginning_takes_nothing_with_it() {
    type Harm = fn(&Path);
    let first_line = |dir: &Path| {
        let path = dir.join("journal-2.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.split_once('\n').unwrap().1).unwrap();
    };
    let harms: [(&str, Harm, Option<usize>); 4] = [
        ("emptied", |dir| std::fs::write(dir.join("journal-2.jsonl"), "").unwrap(), Some(2)),
        ("first line gone", first_line, Some(2)),
        // The segment before has the base of this one.
        (
            "and no database",
            |dir| {
                let path = dir.join("journal-2.jsonl");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, text.splitn(3, '\n').last().unwrap()).unwrap();
                std::fs::remove_dir_all(dir.join("sled")).unwrap();
            },
            Some(2),
        ),
        (
            "nothing is left",
            |dir| {
                std::fs::write(dir.join("journal-2.jsonl"), "").unwrap();
                std::fs::remove_file(dir.join("journal-1.jsonl")).unwrap();
                std::fs::remove_dir_all(dir.join("sled")).unwrap();
            },
            None,
        ),
    ];
    for (name, harm, expected) in harms {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, images) = block_on(three_changes(dir.path()));
        catalog.close();
        let state = embedded::state::State::load(&*current(&catalog.engine)).unwrap().unwrap();
        open::fold(dir.path(), &*current(&catalog.engine), state).unwrap();
        drop(catalog);
        harm(dir.path());
        match (Catalog::open(dir.path(), CACHE), expected) {
            (Ok(catalog), Some(_)) => whole(&catalog, &images),
            (Err(error), None) => assert!(error.to_string().contains("backup"), "{error}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

/// A damaged last line of the journal, a database that has the change, and a failed rewrite: the next start finds
/// everything unchanged.
#[test]
fn nothing_is_cut_before_the_other_copy_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, images) = block_on(three_changes(dir.path()));
    catalog.close();
    drop(catalog);
    rot(dir.path(), |length| length - 10);
    std::fs::create_dir(dir.path().join("journal-2.tmp")).unwrap();
    Catalog::open(dir.path(), CACHE).unwrap_err();
    std::fs::remove_dir(dir.path().join("journal-2.tmp")).unwrap();
    let catalog = open(dir.path());
    assert!(!catalog.may_have_lost_changes());
    whole(&catalog, &images);
}

/// A compaction whose database can't be read to its end does not become the newest segment.
#[test]
fn a_segment_that_could_not_be_filled_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = block_on(three_changes(dir.path()));
    let mut batch = Batch::default();
    batch.put(Table::Image, [0xff; 16], "not a row");
    current(&catalog.engine).commit(&batch).unwrap();
    let state = embedded::state::State::load(&*current(&catalog.engine)).unwrap().unwrap();
    open::fold(dir.path(), &*current(&catalog.engine), state).unwrap_err();
    assert!(!dir.path().join("journal-2.jsonl").exists());
}

/// A database from yesterday is brought forward; one from tomorrow (an older journal was restored) is rebuilt.
#[test]
fn the_journal_decides_how_far_the_catalogue_is() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, images) = block_on(three_changes(dir.path()));
    catalog.close();
    drop(catalog);
    let copy = tempfile::tempdir().unwrap();
    let cp = |from: &Path, to: &Path| {
        assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    cp(&dir.path().join("sled"), copy.path());
    cp(&dir.path().join("journal-1.jsonl"), copy.path());

    let catalog = open(dir.path());
    let late = block_on(catalog.insert(sample("late"))).unwrap();
    catalog.close();
    drop(catalog);
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    cp(&copy.path().join("sled"), dir.path());
    let catalog = open(dir.path());
    assert_eq!(block_on(catalog.get(late.id)).unwrap(), late);
    assert_eq!(catalog.verify(), (Vec::new(), 3));
    catalog.close();
    drop(catalog);

    cp(&copy.path().join("journal-1.jsonl"), dir.path());
    whole(&open(dir.path()), &images);
}

#[test]
fn a_database_that_fails_while_serving_is_replaced_by_memory() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let (catalog, images) = three_changes(dir.path()).await;
        let mut batch = Batch::default();
        batch.put(Table::Image, *images[0].id.as_bytes(), "not a row");
        current(&catalog.engine).commit(&batch).unwrap();
        assert_eq!(catalog.get(images[0].id).await.unwrap(), images[0]);
        let added = catalog.insert(sample("d")).await.unwrap();
        assert_eq!(catalog.verify(), (Vec::new(), 3));
        catalog.close();
        drop(catalog);
        let catalog = open(dir.path());
        assert_eq!(catalog.get(added.id).await.unwrap(), added);
        assert_eq!(all(&catalog).await.len(), 3);
    });
}

#[test]
fn the_journal_is_folded_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut image = sample("a");
    image.properties.insert("text".into(), "x".repeat(4000));
    let image = block_on(async {
        let catalog = open(dir.path());
        let mut image = catalog.insert(image).await.unwrap();
        for _ in 0..600 {
            image = catalog.replace(image).await.unwrap();
        }
        catalog.close();
        image
    });
    let bytes: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("journal-"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(bytes < 600 * 4000, "two segments of together {bytes} bytes");
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    whole(&open(dir.path()), &[image]);
}

/// A directory whose database has another shape's stamp, and a counter of reads for its first image.
fn left_in_shape(dir: &Path, shape: u32) -> Vec<Image> {
    let (catalog, images) = block_on(three_changes(dir));
    catalog.touch(images[0].id, Timestamp(5));
    catalog.keep_accesses();
    let mut batch = Batch::default();
    batch.put(Table::Meta, "layout", shape.to_be_bytes());
    current(&catalog.engine).commit(&batch).unwrap();
    catalog.close();
    images
}

#[test]
fn the_database_of_a_newer_program_is_refused_untouched() {
    for rebuild in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        left_in_shape(dir.path(), 99);
        if rebuild {
            Catalog::demand_rebuild(dir.path()).unwrap();
        }
        for _ in 0..2 {
            let error = Catalog::open(dir.path(), CACHE).unwrap_err().to_string();
            assert!(error.contains("99"), "{error}");
        }
    }
}

/// An upgrade keeps the counters of reads, which the journal lacks, whatever happened to the start before it.
#[test]
fn an_upgrade_keeps_counters() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("nothing", |_| {}),
        ("a rebuild asked for", |dir| Catalog::demand_rebuild(dir).unwrap()),
        ("the directory of a new database can't be made", |dir| std::fs::write(dir.join("sled.new"), "").unwrap()),
        ("a start died between two renames", |dir| std::fs::rename(dir.join("sled"), dir.join("sled.old")).unwrap()),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let images = left_in_shape(dir.path(), 4);
        harm(dir.path());
        for _ in 0..2 {
            let catalog = open(dir.path());
            assert_eq!(catalog.access(images[0].id), Access { count: 1, last: Some(Timestamp(5)) }, "{name}");
            whole(&catalog, &images);
            catalog.close();
            drop(catalog);
            let _ = std::fs::remove_file(dir.path().join("sled.new"));
        }
        assert!(!dir.path().join("sled.old").exists() && !dir.path().join("rebuild").exists(), "{name}");
    }
}

/// Changes that a damaged journal lost, and that only an earlier program can read, are not given up for a rebuild.
#[test]
fn an_earlier_database_beside_a_damaged_journal_is_kept_also_when_a_rebuild_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    left_in_shape(dir.path(), 4);
    rot(dir.path(), |_| 200);
    Catalog::demand_rebuild(dir.path()).unwrap();
    for _ in 0..2 {
        let error = Catalog::open(dir.path(), CACHE).unwrap_err().to_string();
        assert!(error.contains("an earlier visor"), "{error}");
    }
}

/// The images in the journal of a shape.
pub(crate) fn fixture_images(shape: u8) -> Vec<Image> {
    use crate::image::{
        Architecture, BlobKey, Container, Digests, Format, ImageKind, Location, Part, PartKind, Status, StoreName,
        StoredAt, Visibility,
    };
    let stored = |id: ImageId, format: Option<Format>| Part {
        kind: PartKind::Main,
        location: Location::Stored(StoredAt { store: StoreName::FILE, key: BlobKey::main(id, format) }),
        size: Some(676_331_520),
        virtual_size: None,
        digests: Digests { md5: Some([0x33; 16]), sha256: Some([0x44; 32]), sha512: None },
        etag: None,
    };
    let mut kernel = Image::blank(ImageId::from_bytes([1; 16]), Timestamp(1_000_000));
    kernel.visibility = Visibility::Public;
    kernel.name = Some("kernel".into());
    kernel.kind = Some(ImageKind::Kernel);
    let mut machine = Image::blank(ImageId::from_bytes([2; 16]), Timestamp(2_000_000));
    machine.visibility = Visibility::Public;
    machine.name = Some("Fedora Desktop 17".into());
    machine.architecture = Some(Architecture::X86_64);
    machine.format = Some(Format::Iso);
    machine.store = Some(StoreName::FILE);
    machine.status = Status::Available;
    machine.owner = Some("foo".into());
    machine.kernel = Some(kernel.id);
    machine.uploaded_at = Some(Timestamp(3_000_000));
    machine.properties.insert("os".into(), "linux".into());
    machine.parts.push(stored(machine.id, machine.format));
    match shape {
        1 => return vec![kernel, machine],
        2 => return vec![row::tests::old_image(true)],
        3 => {}
        // Every field; fields added later have their defaults.
        _ => return vec![crate::image::full_tests::full()],
    }
    let mut shared = Image::blank(ImageId::from_bytes([3; 16]), Timestamp(4_000_000));
    shared.visibility = Visibility::Shared;
    shared.format = Some(Format::Qcow2);
    shared.container = Some(Container::Bare);
    (shared.protected, shared.hidden, shared.min_disk, shared.min_ram) = (true, true, 10, 512);
    shared.tags.insert("stable".into());
    shared.members.insert("bar".into(), member(MemberStatus::Accepted));
    let part = stored(shared.id, shared.format);
    let digests = Digests { sha512: Some([0x55; 64]), ..part.digests };
    shared.parts.push(Part { virtual_size: Some(1 << 30), digests, ..part });
    vec![kernel, machine, shared]
}

fn member(status: MemberStatus) -> Member {
    Member { status, can_share: true, created_at: Timestamp(5_000_000), updated_at: Timestamp(6_000_000) }
}

/// Checks that a catalogue has the images in the journal of a shape, in any conversion.
pub(crate) fn check_fixture(catalog: &Catalog, shape: u8) {
    let mut expected = fixture_images(shape);
    expected.sort_by_key(|image| image.id);
    let found = block_on(all(catalog));
    for (image, found) in expected.iter_mut().zip(&found) {
        image.revision = found.revision;
    }
    whole(catalog, &expected);
}

/// Commits a change between the reading of index entries and the reading of their rows.
#[derive(Debug)]
struct Racing(engine::memory::MemoryEngine, Mutex<Option<Batch>>);

impl Engine for Racing {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, engine::EngineError> {
        self.0.get(table, key)
    }

    fn scan(
        &self,
        range: &engine::KeyRange,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<engine::Entry>, engine::EngineError> {
        let found = self.0.scan(range, backwards, limit);
        if let Some(batch) = self.1.lock().unwrap().take() {
            self.0.commit(&batch).unwrap();
        }
        found
    }

    fn commit(&self, batch: &Batch) -> Result<(), engine::EngineError> {
        self.0.commit(batch)
    }

    fn close(&self) -> Result<(), engine::EngineError> {
        Ok(())
    }
}

/// The last image of a page moves to the end while the page is read: the next page begins where this one ended.
#[test]
fn an_image_that_moves_takes_no_others_with_it() {
    let memory = engine::memory::MemoryEngine::default();
    let mut state = embedded::state::State::default();
    let mut rows = Vec::new();
    for n in 0..100i64 {
        let row = open::with_row(Image { updated_at: Some(Timestamp(n)), ..sample("a") }).unwrap();
        let mut batch = Batch::default();
        open::apply(&mut state, n as u64 + 1, row.0.id, None, Some(&row), &mut batch);
        memory.commit(&batch).unwrap();
        rows.push(row);
    }
    let new = open::with_row(Image { updated_at: Some(Timestamp(1_000)), ..rows[9].0.clone() }).unwrap();
    let mut batch = Batch::default();
    open::apply(&mut state, 200, new.0.id, Some(&rows[9]), Some(&new), &mut batch);
    let racing = Racing(memory, Mutex::new(Some(batch)));
    let sort = Sort::by(Attr::UpdatedAt, Direction::Ascending);
    let mut query = Query { filter: Filter::everything(), sort, limit: 10, after: None };
    let mut found = std::collections::BTreeSet::new();
    loop {
        let page = block_on(list::list(&racing, &query)).unwrap();
        found.extend(page.images.iter().map(|image| image.id));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 100);
}

/// The naive answer: filter, sort.
fn naive(model: &BTreeMap<ImageId, Image>, filter: &Filter, sort: &Sort) -> Vec<ImageId> {
    let mut images: Vec<_> = model.values().filter(|image| filter.passes(image)).collect();
    let turned = |order: Ordering, direction| if direction == Direction::Ascending { order } else { order.reverse() };
    let Sort { by, direction, then } = sort;
    images.sort_by(|a, b| {
        let first = turned(by.read(a).cmp(&by.read(b)), *direction);
        let next = then.iter().fold(first, |order, (attr, direction)| {
            order.then_with(|| turned(attr.read(a).cmp(&attr.read(b)), *direction))
        });
        next.then_with(|| turned((a.created_at, a.id).cmp(&(b.created_at, b.id)), *direction))
    });
    images.into_iter().map(|image| image.id).collect()
}

/// Reads page after page, from the beginning and after some image, and compares with the naive answer.
fn check_pages(engine: &dyn Engine, model: &BTreeMap<ImageId, Image>, filter: &Filter, sort: &Sort, limit: usize) {
    // A walk that is long, and one that is never compared with the other way.
    for long in [1, usize::MAX] {
        check_pages_within(engine, model, filter, sort, limit, long);
    }
}

fn check_pages_within(
    engine: &dyn Engine,
    model: &BTreeMap<ImageId, Image>,
    filter: &Filter,
    sort: &Sort,
    limit: usize,
    long: usize,
) {
    let order = naive(model, &Filter::everything(), sort);
    let expected = naive(model, filter, sort);
    // The marker passes the filter or fails it.
    for marker in [None, order.get(order.len() / 3), order.last()] {
        let cursor = marker.map(|id| Catalog::cursor(&model[id], sort));
        let mut query = Query { filter: filter.clone(), sort: sort.clone(), limit, after: cursor };
        let mut found = Vec::new();
        loop {
            let page = block_on(list::list_within(engine, &query, long)).unwrap();
            assert!(page.images.len() <= limit);
            found.extend(page.images.iter().map(|image| image.id));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let skipped = marker.map_or(&[][..], |marker| order.split_inclusive(|id| id == marker).next().unwrap());
        let behind: Vec<_> = expected.iter().filter(|id| !skipped.contains(id)).copied().collect();
        assert_eq!(found, behind, "{query:?} behind {marker:?}");
    }
}

fn any_bound(value: impl Strategy<Value = i64>) -> impl Strategy<Value = Bound<Value<'static>>> {
    (value, 0u8..3).prop_map(|(time, kind)| match kind {
        0 => Bound::Unbounded,
        1 => Bound::Included(Value::Time(Timestamp(time))),
        _ => Bound::Excluded(Value::Time(Timestamp(time))),
    })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let text = |text: String| Value::Text(text.into());
    let leaf = prop_oneof![
        "[a-c]{0,3}".prop_map(|t| Filter::spelled(Attr::Name, &t)),
        "[a-b]".prop_map(|t| Filter::spelled(Attr::Owner, &t)),
        proptest::sample::select(vec!["public", "shared"]).prop_map(|t| Filter::spelled(Attr::Visibility, t)),
        Just(Filter::spelled(Attr::Architecture, "x86_64")),
        Just(Filter::spelled(Attr::Container, "bare")),
        Just(Filter::spelled(Attr::Hidden, "true")),
        Just(Filter::spelled(Attr::MinDisk, "1")),
        Just(Filter::spelled(Attr::Status, "available").negated()),
        ("[a-b]", "[a-c]{0,2}").prop_map(|(n, v)| Filter::Property(n, v)),
        "[a-c]{0,2}".prop_map(Filter::Tag),
        ("[a-b]", proptest::option::of("[a-b]")).prop_map(|(a, owner)| Filter::Alias(a, AliasScope::Owner(owner))),
        ("[a-b]", proptest::sample::select(Visibility::ALL))
            .prop_map(|(a, shown)| Filter::Alias(a, AliasScope::Visibility(shown))),
        ("[a-b]", proptest::option::of(proptest::sample::select(MemberStatus::ALL)))
            .prop_map(|(account, status)| Filter::Member { account, status }),
        proptest::collection::vec("[a-c]{0,2}", 0..3)
            .prop_map(move |names| Filter::OneOf(Attr::Name, names.into_iter().map(text).collect())),
        (any_bound(-5i64..5), any_bound(-5i64..5)).prop_map(|(a, b)| Filter::Within(Attr::CreatedAt, a, b)),
        (any_bound(any::<i64>()), any_bound(any::<i64>())).prop_map(|(a, b)| Filter::Within(Attr::UpdatedAt, a, b)),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::All),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Any),
            inner.prop_map(Filter::negated),
        ]
    })
}

fn any_sort() -> impl Strategy<Value = Sort> {
    let attrs = |indexed: bool| {
        let attrs = crate::image::attr::ATTRS
            .iter()
            .filter(move |row| row.indexed.orders_all() || !indexed)
            .map(|row| row.attr);
        let direction = any::<bool>().prop_map(|up| if up { Direction::Ascending } else { Direction::Descending });
        (proptest::sample::select(attrs.collect::<Vec<_>>()), direction)
    };
    (attrs(true), proptest::collection::vec(attrs(false), 0..3)).prop_map(|(first, mut then)| {
        then.insert(0, first);
        Sort::by_all(then)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Invariant after any changes: rows equal the model's, indexes fit the rows, every query in pages gives the naive answer.
    #[test]
    fn lists_are_what_a_naive_list_would_be(
        images in proptest::collection::vec((row::tests::any_image(), 0u8..4), 1..40),
        queries in proptest::collection::vec((any_filter(), any_sort(), 1usize..7), 1..12),
    ) {
        let engine = engine::memory::MemoryEngine::default();
        let mut model: BTreeMap<ImageId, Image> = BTreeMap::new();
        let mut state = embedded::state::State::default();
        for (seq, (mut image, what)) in (1u64..).zip(images) {
            // Some changes hit an existing image, some remove one.
            if what > 0 && let Some(id) = model.keys().nth(usize::from(what) - 1) {
                image.id = *id;
            }
            let old = open::stored(&engine, image.id).unwrap();
            let new = (what != 1).then(|| open::with_row(image.clone()).unwrap());
            let before = (seq > 1).then_some(state);
            let mut batch = Batch::default();
            open::apply(&mut state, seq, image.id, old.as_ref(), new.as_ref(), &mut batch);
            state.advance(before, &mut batch);
            engine.commit(&batch).unwrap();
            match new {
                Some(_) => model.insert(image.id, image),
                None => model.remove(&image.id),
            };
        }
        prop_assert_eq!(verify::verify(&engine), (Vec::new(), model.len() as u64));
        for (filter, sort, limit) in queries {
            check_pages(&engine, &model, &filter, &sort, limit);
        }
    }
}

proptest! {
    /// An image that passes has every index entry that a walk looks up: without one of them it would not be read.
    #[test]
    fn an_image_that_passes_has_the_entries_that_are_looked_up(
        images in proptest::collection::vec(row::tests::any_image(), 1..8),
        filters in proptest::collection::vec(any_filter(), 1..16),
    ) {
        for image in &images {
            let entries = index::entries_of(image);
            for filter in filters.iter().filter(|filter| filter.passes(image)) {
                for mut key in plan::required(filter) {
                    keys::put_tail(&mut key, image);
                    prop_assert!(entries.contains(&key), "{filter:?}");
                }
            }
        }
    }
}

/// Images beyond the limits of gathering and of a piece, with few values: every way to walk is taken.
#[test]
fn long_lists_are_walked_right() {
    let engine = engine::memory::MemoryEngine::default();
    let (mut state, mut model) = (embedded::state::State::default(), BTreeMap::new());
    for n in 0..1500u32 {
        let mut image = Image::blank(ImageId::random(), Timestamp(i64::from(n / 10)));
        image.name = (n % 3 > 0).then(|| ["x", "y"][(n % 2) as usize].to_owned());
        image.min_disk = n.wrapping_mul(2_654_435_761) >> 24;
        image.owner = (n % 10 == 0).then(|| "me".to_owned());
        image.tags.insert(["old", "new"][(n % 2) as usize].to_owned());
        image.members.insert("you".into(), member(*MemberStatus::ALL.get((n % 2) as usize).unwrap()));
        let row = open::with_row(image.clone()).unwrap();
        let mut batch = Batch::default();
        open::apply(&mut state, u64::from(n) + 1, image.id, None, Some(&row), &mut batch);
        engine.commit(&batch).unwrap();
        model.insert(image.id, image);
    }
    let filters = [
        Filter::everything(),
        Filter::spelled(Attr::Name, "x"),
        Filter::spelled(Attr::Owner, "me"),
        Filter::Tag("new".into()),
        Filter::Member { account: "you".into(), status: None },
        Filter::Member { account: "you".into(), status: Some(MemberStatus::Pending) },
        Filter::Tag("new".into()).and(Filter::spelled(Attr::Name, "x")),
        Filter::Tag("old".into()).and(Filter::spelled(Attr::Hidden, "true").negated()),
    ];
    use Direction::{Ascending, Descending};
    let sorts = [
        Sort::by(Attr::CreatedAt, Descending),
        Sort::by_all(vec![(Attr::CreatedAt, Ascending), (Attr::MinDisk, Descending)]),
        Sort::by_all(vec![(Attr::CreatedAt, Descending), (Attr::Name, Ascending), (Attr::Id, Descending)]),
        Sort::by_all(vec![(Attr::Name, Ascending), (Attr::MinDisk, Ascending)]),
        Sort::by_all(vec![(Attr::Name, Descending), (Attr::MinDisk, Ascending), (Attr::Owner, Descending)]),
        Sort::by_all(vec![(Attr::Id, Descending), (Attr::Name, Ascending)]),
    ];
    for filter in &filters {
        for sort in &sorts {
            check_pages(&engine, &model, filter, sort, 400);
        }
    }
}
