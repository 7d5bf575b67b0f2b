//! The file: one JSON document, held in memory and replaced whole. What was acknowledged is on the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::check::check;
use super::{Dated, Namespace, Namespaces};
use crate::error::{Error, Reason, Result};

/// Largest document. OpenStack's own thirty namespaces are a sixtieth of it.
const BYTES_MAX: usize = 8 << 20;

/// The layout that is written here, and the only one that is read.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDocument<N> {
    format: u32,
    namespaces: N,
}

/// Fields of every layout.
#[derive(Deserialize)]
struct DocumentHead {
    format: u32,
}

/// The definitions of a data directory. The caller holds the directory's lock.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    current: RwLock<Arc<Namespaces>>,
    /// Held by who changes them.
    desk: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// The definitions kept in `dir`, which has to exist. Blocks.
    ///
    /// # Errors
    /// `Internal` when there is a file that can't be used. Nothing is put in its place: a backup may be better than none.
    pub fn open(dir: &Path) -> Result<Arc<Self>> {
        let path = path(dir);
        let unusable = |why: &dyn std::fmt::Display| {
            let text = format!(
                "{} can't be used ({why}): restore it from a backup, or move it away to begin without definitions",
                path.display()
            );
            Reason::Internal.saying(text)
        };
        let namespaces = match std::fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|why| unusable(&why))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Namespaces::new(),
            Err(error) => return Err(unusable(&error)),
        };
        Ok(Arc::new(Self { dir: dir.to_owned(), current: RwLock::new(Arc::new(namespaces)), desk: Arc::default() }))
    }

    /// All namespaces, as they are now.
    pub fn current(&self) -> Arc<Namespaces> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a change, or none: changes come one after the other, and are durable before they are seen. A change that has
    /// begun is finished even if its caller leaves.
    ///
    /// # Errors
    /// The error of `edit`; `Invalid`, `TooMany`, `TooLarge` for its result; `StoreFull`, `Internal`.
    pub async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        edit: impl FnOnce(&mut Namespaces) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.desk).lock_owned().await;
        let store = Arc::clone(self);
        let changed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            // Namespaces are shared with the state before, until one is changed.
            let mut namespaces = Namespaces::clone(&store.current());
            let outcome = edit(&mut namespaces)?;
            check(&namespaces)?;
            let document = StoredDocument { format: FORMAT, namespaces: &namespaces };
            let bytes = serde_json::to_vec(&document).map_err(Error::internal)?;
            if bytes.len() > BYTES_MAX {
                return Err(Reason::DefinitionsFull.into());
            }
            replace(&store.dir, &bytes).map_err(unwritten)?;
            *store.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(namespaces);
            Ok(outcome)
        });
        changed.await.map_err(Error::internal)?
    }

    /// Changes one namespace, as [`Store::change`].
    ///
    /// # Errors
    /// `NotFound` as well.
    pub async fn change_one<T: Send + 'static>(
        self: &Arc<Self>,
        name: String,
        edit: impl FnOnce(&mut Dated<Namespace>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let edit = move |all: &mut Namespaces| {
            let namespace = all.get_mut(&name).ok_or_else(|| super::missing("namespace", &name))?;
            edit(Arc::make_mut(namespace))
        };
        self.change(edit).await
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("metadefs.json")
}

fn parse(bytes: &[u8]) -> Result<Namespaces, String> {
    let head: DocumentHead = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if head.format != FORMAT {
        return Err(format!("it was written by a newer visor, in format {}", head.format));
    }
    let document: StoredDocument<Namespaces> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(document.namespaces)
}

/// Written aside and renamed: there is always one that is whole, for a backup too.
fn replace(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = dir.join("metadefs.json.new");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(aside, path(dir))?;
    File::open(dir)?.sync_all()
}

fn unwritten(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::from(Reason::DiskFull).because(error),
        _ => Error::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{About, Member, Property, Tag};
    use super::*;
    use crate::error::Kind;
    use crate::image::Timestamp;

    const NOW: Timestamp = Timestamp(7);

    fn namespace(about: About) -> Arc<Dated<Namespace>> {
        Arc::new(Dated::new(Namespace { about, ..Namespace::default() }, NOW))
    }

    async fn add(store: &Arc<Store>, name: &str) -> Result<()> {
        let name = name.to_owned();
        let add = move |all: &mut Namespaces| {
            all.insert(name, namespace(About::default()));
            Ok(())
        };
        store.change(add).await
    }

    fn property(default: serde_json::Value) -> Dated<Property> {
        let property = json!({ "title": "t", "type": "object", "default": default });
        Dated::new(serde_json::from_value(property).unwrap(), NOW)
    }

    fn nested(levels: usize) -> serde_json::Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[actix_web::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.current().is_empty());
        add(&store, "a::b").await.unwrap();
        let fill = |namespace: &mut Dated<Namespace>| {
            Tag::of_mut(&mut namespace.value).insert("x".into(), Dated::new(Tag {}, NOW));
            // As deep as it may be: the file must be read again.
            namespace.value.properties.insert("p".into(), property(nested(8)));
            Ok(())
        };
        store.change_one("a::b".into(), fill).await.unwrap();
        let before = store.current();
        assert_eq!(Store::open(dir.path()).unwrap().current(), before);
        assert_eq!(before["a::b"].value.tags.len(), 1);
    }

    #[actix_web::test]
    async fn what_is_refused_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        add(&store, "a").await.unwrap();
        let before = store.current();
        let refused = store.change(|all| -> Result<()> {
            all.clear();
            Err(Error::invalid("no"))
        });
        assert_eq!(refused.await.unwrap_err().kind(), Kind::Invalid);
        for bad in ["", "a\nb", &"é".repeat(81)] {
            assert_eq!(add(&store, bad).await.unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        let deep = |namespace: &mut Dated<Namespace>| {
            namespace.value.properties.insert("p".into(), property(nested(9)));
            Ok(())
        };
        assert_eq!(store.change_one("a".into(), deep).await.unwrap_err().kind(), Kind::Invalid);
        let many = |namespace: &mut Dated<Namespace>| {
            namespace.value.tags.extend((0..1001).map(|n| (n.to_string(), Dated::new(Tag {}, NOW))));
            Ok(())
        };
        assert_eq!(store.change_one("a".into(), many).await.unwrap_err().kind(), Kind::TooMany);
        let large = |namespace: &mut Dated<Namespace>| {
            namespace.value.properties.insert("p".into(), property("x".repeat(BYTES_MAX).into()));
            Ok(())
        };
        assert_eq!(store.change_one("a".into(), large).await.unwrap_err().kind(), Kind::TooLarge);
        let gone = store.change_one("b".into(), |_| Ok(())).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
        assert_eq!((store.current(), Store::open(dir.path()).unwrap().current()), (Arc::clone(&before), before));
        add(&store, &"é".repeat(80)).await.unwrap();
    }

    #[actix_web::test]
    async fn a_disk_that_takes_nothing_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        add(&store, "a").await.unwrap();
        std::fs::create_dir(dir.path().join("metadefs.json.new")).unwrap();
        assert_eq!(add(&store, "b").await.unwrap_err().kind(), Kind::Internal);
        assert_eq!(store.current().len(), 1);
        std::fs::remove_dir(dir.path().join("metadefs.json.new")).unwrap();
        add(&store, "b").await.unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().current().len(), 2);
    }

    #[actix_web::test]
    async fn changes_at_the_same_time_are_all_made() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        let all = futures_util::future::join_all(names.iter().map(|name| add(&store, name)));
        assert!(all.await.into_iter().all(|done| done.is_ok()));
        assert_eq!(Store::open(dir.path()).unwrap().current().len(), 20);
    }

    #[actix_web::test]
    async fn a_file_that_is_not_understood_stops_the_start_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        add(&Store::open(dir.path()).unwrap(), "a").await.unwrap();
        let whole = std::fs::read(path(dir.path())).unwrap();
        let newer = br#"{"format":2,"more":[],"namespaces":{}}"#;
        for (bad, why) in [(&whole[..whole.len() - 1], "EOF"), (b"", "EOF"), (newer, "newer visor"), (b"{}", "format")]
        {
            std::fs::write(path(dir.path()), bad).unwrap();
            let error = Store::open(dir.path()).unwrap_err();
            assert!(error.message().contains(why) && error.message().contains("metadefs.json"), "{error}");
            assert_eq!(std::fs::read(path(dir.path())).unwrap(), bad);
        }
        // What a crash leaves aside is of no account.
        std::fs::write(path(dir.path()), &whole).unwrap();
        std::fs::write(dir.path().join("metadefs.json.new"), "{").unwrap();
        let store = Store::open(dir.path()).unwrap();
        add(&store, "b").await.unwrap();
        assert_eq!(store.current().len(), 2);
    }
}
