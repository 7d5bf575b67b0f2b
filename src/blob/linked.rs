//! Files of the operator's that images are read from where they lie: opened, never written, never deleted.
//!
//! A path comes from outside, so this is the place that decides which files the server can be made to read. Paths
//! outside the import directories are not even looked at, and every refusal has one text, so that no caller learns what
//! is on the disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use tokio::task::spawn_blocking;

use super::{BlobFile, BlobStat, StoreError, regular};

/// The directories whose files may be read.
#[derive(Debug, Clone)]
pub struct Linked {
    directories: Arc<[PathBuf]>,
}

/// An open file below an import directory.
#[derive(Debug)]
pub struct LinkedFile {
    /// The whole file.
    pub file: BlobFile,
    /// Its size and age when it was opened.
    pub stat: BlobStat,
    /// Its path without links; what should be recorded.
    pub path: PathBuf,
}

impl Linked {
    /// Opens `import_dirs` for reading. None of them need exist yet.
    pub fn new(import_dirs: Vec<PathBuf>) -> Self {
        Self { directories: import_dirs.into() }
    }

    /// Opens a regular file below an import directory.
    ///
    /// The path is absolute and without `..`. Links are followed as long as they do not lead out. Everything else is
    /// [`StoreError::NotFound`]; without any import directory it is [`StoreError::NotAllowed`].
    pub async fn open(&self, path: &Path) -> Result<LinkedFile, StoreError> {
        if self.directories.is_empty() {
            return Err(StoreError::NotAllowed);
        }
        let (directories, path) = (Arc::clone(&self.directories), path.to_owned());
        let opened = spawn_blocking(move || {
            open(&directories, &path).inspect_err(|error| log::info!("the file {path:?} is not imported: {error}"))
        });
        match opened.await {
            Ok(opened) => opened.map_err(|_| StoreError::NotFound),
            Err(error) => Err(StoreError::Broken(std::io::Error::other(error))),
        }
    }
}

fn open(directories: &[PathBuf], path: &Path) -> Result<LinkedFile, StoreError> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return Err(StoreError::NotFound);
    }
    // By the letter first, under either name of a directory: what can't be below one is not touched at all.
    let roots: Vec<PathBuf> = directories.iter().filter_map(|dir| fs::canonicalize(dir).ok()).collect();
    if !directories.iter().chain(&roots).any(|dir| path.starts_with(dir)) {
        return Err(StoreError::NotFound);
    }
    let path = fs::canonicalize(path)?;
    let Some((root, below)) = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?))) else {
        return Err(StoreError::NotFound);
    };
    let (file, stat) = descend(root, below)?;
    Ok(LinkedFile { file: BlobFile { file: Arc::new(file), offset: 0, length: stat.size, held: None }, stat, path })
}

/// Opens `below` step by step without following a link anywhere: a directory that is swapped for a link after the
/// path was judged leads nowhere.
fn descend(root: &Path, below: &Path) -> Result<(File, BlobStat), StoreError> {
    let mut steps: Vec<OsString> = below.iter().map(ToOwned::to_owned).collect();
    let Some(name) = steps.pop() else { return Err(StoreError::NotFound) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open(root, flags, Mode::empty())?;
    for step in &steps {
        directory = openat(&directory, step.as_os_str(), flags, Mode::empty())?;
    }
    regular::open(&directory, name.as_os_str())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    /// `<tmp>/in/a.img`, `<tmp>/in/sub/b.img`, `<tmp>/in2/x.img`, `<tmp>/secret`; `in` is the import directory.
    fn place() -> (tempfile::TempDir, PathBuf, Linked) {
        let tmp = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(tmp.path()).unwrap();
        for dir in ["in/sub", "in2"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for (name, text) in [("in/a.img", "aaa"), ("in/sub/b.img", "b"), ("in2/x.img", "x"), ("secret", "secret")] {
            fs::write(root.join(name), text).unwrap();
        }
        let linked = Linked::new(vec![root.join("in")]);
        (tmp, root, linked)
    }

    async fn refused(linked: &Linked, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let opened = tokio::time::timeout(Duration::from_secs(5), linked.open(path)).await.unwrap();
        assert!(matches!(opened, Err(StoreError::NotFound)), "{path:?}: {opened:?}");
    }

    #[tokio::test]
    async fn files_below_an_import_directory_are_read() {
        let (_tmp, root, linked) = place();
        let opened = linked.open(&root.join("in/a.img")).await.unwrap();
        assert_eq!((opened.file.offset, opened.file.length, opened.stat.size), (0, 3, 3));
        assert_eq!(std::io::read_to_string(&*opened.file.file).unwrap(), "aaa");

        symlink("sub/b.img", root.join("in/link")).unwrap();
        for name in ["in/sub/b.img", "in/link"] {
            let opened = linked.open(&root.join(name)).await.unwrap();
            assert_eq!(opened.path, root.join("in/sub/b.img"), "{name}");
        }
    }

    #[tokio::test]
    async fn an_import_directory_may_be_a_link_itself() {
        let (_tmp, root, _) = place();
        symlink("in", root.join("alias")).unwrap();
        let linked = Linked::new(vec![root.join("not-there"), root.join("alias")]);
        for name in ["alias/a.img", "in/a.img"] {
            assert_eq!(linked.open(&root.join(name)).await.unwrap().path, root.join("in/a.img"), "{name}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused_in_the_same_words() {
        let (_tmp, root, linked) = place();
        symlink(root.join("secret"), root.join("in/file-link")).unwrap();
        symlink("../secret", root.join("in/relative-link")).unwrap();
        symlink(&root, root.join("in/dir-link")).unwrap();
        symlink("loop", root.join("in/loop")).unwrap();
        symlink(root.join("in/a.img"), root.join("way-in")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("in/fifo"), Mode::RWXU).unwrap();
        for name in [
            "secret",
            "in2/x.img",
            "in",
            "in/sub",
            "in/none",
            "in/../secret",
            "in/sub/../a.img",
            "in/file-link",
            "in/relative-link",
            "in/dir-link/secret",
            "in/loop",
            "in/fifo",
            "in/a.img/x",
            "way-in",
        ] {
            refused(&linked, root.join(name)).await;
        }
        for path in ["", "a.img", "./a.img", "../secret", "/", "/etc/passwd", "/dev/null", "/proc/self/environ"] {
            refused(&linked, path).await;
        }
    }

    #[test]
    fn a_directory_swapped_for_a_link_leads_nowhere() {
        let (_tmp, root, _) = place();
        fs::rename(root.join("in/sub"), root.join("in/old")).unwrap();
        symlink(root.join("in2"), root.join("in/sub")).unwrap();
        assert!(descend(&root.join("in"), Path::new("sub/x.img")).is_err());
        assert!(descend(&root.join("in"), Path::new("old/b.img")).is_ok());
    }

    #[tokio::test]
    async fn without_import_directories_the_answer_is_another() {
        let opened = Linked::new(Vec::new()).open(Path::new("/etc/passwd")).await;
        assert!(matches!(opened, Err(StoreError::NotAllowed)));
    }
}
