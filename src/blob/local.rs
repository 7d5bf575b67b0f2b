//! Blobs as files of a directory, `images/`, next to the area where they are written, `staging/`.
//!
//! Both directories are opened once and everything else is done relative to those handles, so nothing that is put in
//! their place later (a symbolic link, say) leads anywhere. Names come from a [`BlobKey`] only.

mod staged;
mod writer;

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use percent_encoding::percent_encode;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::task::{JoinError, spawn_blocking};
use uuid::Uuid;

use self::staged::{Staged, kept_key, kept_name};
use self::writer::LocalWriter;
use super::{BlobBody, BlobFile, BlobStat, BlobStore, BlobWriter, StoreError, regular, span};
use crate::image::BlobKey;
use crate::percent::RESERVED_IN_PATHS;

/// Mode of the store's directories: only the server's user may reach the bytes.
const DIRECTORY_MODE: u32 = 0o700;

/// The default store: files of a local file system.
#[derive(Debug, Clone)]
pub struct LocalStore(Arc<Rooms>);

/// The two directories.
#[derive(Debug)]
struct Rooms {
    images: OwnedFd,
    staging: OwnedFd,
    /// Absolute path of `images`, for people.
    path: PathBuf,
    /// Begins the names of everything that this run stages, which tells it from what earlier runs left.
    boot: Uuid,
    staged: AtomicU64,
}

impl LocalStore {
    /// Opens the store below `data_dir` and creates what is missing. Blocks; meant for the start of the program.
    ///
    /// `images` and `staging` must be directories, not links to some, and on one file system: finishing an upload is
    /// a rename.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(data_dir)?;
        let data_dir = fs::canonicalize(data_dir)?;
        let images = room(&data_dir, "images")?;
        let staging = room(&data_dir, "staging")?;
        if device(&images)? != device(&staging)? {
            return Err(StoreError::broken("images and staging are not on the same file system"));
        }
        File::open(&data_dir)?.sync_all()?;
        let path = data_dir.join("images");
        Ok(Self(Arc::new(Rooms { images, staging, path, boot: Uuid::new_v4(), staged: AtomicU64::new(0) })))
    }

    /// Removes what was kept of a blob, and not the blob.
    #[cfg(feature = "remote")]
    pub(super) async fn forget(&self, key: &BlobKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.blocking(move |rooms| rooms.forget(&key)).await
    }

    /// Does `work` with the directories on the blocking pool.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Rooms>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let rooms = Arc::clone(&self.0);
        landed(spawn_blocking(move || work(&rooms))).await
    }
}

/// Creates (if need be) and opens one of the two directories.
fn room(data_dir: &Path, name: &str) -> Result<OwnedFd, StoreError> {
    let path = data_dir.join(name);
    match DirBuilder::new().mode(DIRECTORY_MODE).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(room) => Ok(room),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            Err(StoreError::broken("images and staging must be directories, and not links to some"))
        }
        Err(error) => Err(error.into()),
    }
}

fn device(room: &OwnedFd) -> io::Result<u64> {
    Ok(File::from(room.try_clone()?).metadata()?.dev())
}

/// The outcome of something done on the blocking pool.
async fn landed<T>(flight: impl Future<Output = Result<Result<T, StoreError>, JoinError>>) -> Result<T, StoreError> {
    flight.await.unwrap_or_else(|error| Err(StoreError::Broken(io::Error::other(error))))
}

impl Rooms {
    /// A name that no other staged file has.
    fn staged_name(&self) -> String {
        format!("{}.{}", self.boot, self.staged.fetch_add(1, Ordering::Relaxed))
    }

    fn free(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::fstatvfs(&self.images)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn forget(&self, key: &BlobKey) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.staging, kept_name(key), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn delete(&self, key: &BlobKey) -> Result<(), StoreError> {
        self.forget(key)?;
        match rustix::fs::unlinkat(&self.images, key.as_str(), AtFlags::empty()) {
            // Absent, but perhaps only just and not yet on the disk: synced all the same.
            Ok(()) | Err(Errno::NOENT) => self.sync_images(),
            Err(error) => Err(error.into()),
        }
    }

    /// After a sync that failed nothing is known any more, whatever its error was.
    fn sync_images(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.images).map_err(|error| StoreError::Broken(error.into()))
    }

    fn sweep(&self, kept: Option<&[BlobKey]>) -> Result<usize, StoreError> {
        let mut swept = 0;
        for name in files_of(&self.staging)? {
            let ours = match kept_key(&name) {
                Some(key) => kept.is_some_and(|kept| !kept.contains(&key)),
                None => match name.split_once('.').and_then(|(boot, _)| Uuid::try_parse(boot).ok()) {
                    Some(boot) => boot != self.boot,
                    None => {
                        log::warn!("the unknown file {name:?} in the staging directory is not removed");
                        false
                    }
                },
            };
            if ours {
                rustix::fs::unlinkat(&self.staging, &name, AtFlags::empty())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// Names of the regular files in a directory, as far as they are text; ours are.
fn files_of(room: impl AsFd) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(room)? {
        let entry = entry?;
        // Some file systems do not say what an entry is before it is opened.
        if matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
            names.extend(CStr::to_str(entry.file_name()).map(str::to_owned));
        }
    }
    Ok(names)
}

#[async_trait]
impl BlobStore for LocalStore {
    fn has_files(&self) -> bool {
        true
    }

    async fn begin(&self, key: &BlobKey, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        let staged = self
            .blocking(move |rooms| match size_hint {
                Some(hint) if hint > rooms.free()? => Err(StoreError::Full),
                _ => Staged::create(rooms, size_hint),
            })
            .await?;
        Ok(Box::new(LocalWriter::new(key.clone(), staged, 0)))
    }

    async fn adopt(&self, key: &BlobKey, file: &Path) -> Result<Option<Box<dyn BlobWriter>>, StoreError> {
        let file = file.to_owned();
        let adopted = self.blocking(move |rooms| Staged::adopt(rooms, &file)).await?;
        let writer = |(staged, size)| Box::new(LocalWriter::new(key.clone(), staged, size)) as Box<dyn BlobWriter>;
        Ok(adopted.map(writer))
    }

    async fn resume(
        &self,
        key: &BlobKey,
        length: u64,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, StoreError> {
        let owned = key.clone();
        let staged = self.blocking(move |rooms| Staged::resume(rooms, &owned, length, size_hint)).await?;
        Ok(Box::new(LocalWriter::new(key.clone(), staged, length)))
    }

    async fn open(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<BlobBody, StoreError> {
        // A hop to another thread costs more than opening what the kernel knows already.
        let (file, stat) = match regular::open_at_once(&self.0.images, key.as_str()) {
            Some(opened) => opened,
            None => {
                let key = key.clone();
                self.blocking(move |rooms| regular::open(&rooms.images, key.as_str())).await?
            }
        };
        let (offset, length) = span(range, stat.size)?;
        Ok(BlobBody::File(BlobFile { file: Arc::new(file), offset, length, held: None }))
    }

    async fn stat(&self, key: &BlobKey) -> Result<BlobStat, StoreError> {
        let key = key.clone();
        self.blocking(move |rooms| Ok(regular::open(&rooms.images, key.as_str())?.1)).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.blocking(move |rooms| rooms.delete(&key)).await
    }

    async fn list(&self) -> Result<Vec<BlobKey>, StoreError> {
        let names = self.blocking(|rooms| files_of(&rooms.images)).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    async fn sweep(&self, kept: Option<&[BlobKey]>) -> Result<usize, StoreError> {
        let kept = kept.map(<[BlobKey]>::to_vec);
        self.blocking(move |rooms| rooms.sweep(kept.as_deref())).await
    }

    fn uri(&self, key: &BlobKey) -> String {
        let path = percent_encode(self.0.path.as_os_str().as_encoded_bytes(), RESERVED_IN_PATHS);
        format!("file://{path}/{key}")
    }

    async fn free(&self) -> Option<u64> {
        self.blocking(|rooms| rooms.free()).await.ok()
    }
}

#[cfg(test)]
mod tests;
