//! The ids of removed images. A client may choose the id of a new image, but never a retired one: other clients would mistake
//! the new image for the old one (OSSN-0075).
//!
//! Kept in a file of its own, one id a line, that only grows: compaction removes deleted images from the journal.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::image::ImageId;

/// An id and the end of its line.
const LINE_BYTES: u64 = 37;

/// Number of newest ids read at a start: a file of 37 MB, and as much memory.
const IDS_MAX: u64 = 1_000_000;

/// The retired ids. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Spent(Arc<Mutex<RetiredSet>>);

#[derive(Debug)]
struct RetiredSet {
    ids: HashSet<ImageId>,
    file: File,
}

impl Spent {
    /// Reads the retired ids of a catalogue's directory.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).append(true).create(true).open(dir.join("spent-ids"))?;
        let length = file.metadata()?.len();
        // A line that a crash cut short.
        let whole = length - length % LINE_BYTES;
        if whole < length {
            file.set_len(whole)?;
        }
        file.seek(SeekFrom::Start(whole.saturating_sub(IDS_MAX * LINE_BYTES)))?;
        let mut text = String::new();
        Read::by_ref(&mut file).take(IDS_MAX * LINE_BYTES).read_to_string(&mut text)?;
        let ids = text.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(Self(Arc::new(Mutex::new(RetiredSet { ids, file }))))
    }

    fn state(&self) -> MutexGuard<'_, RetiredSet> {
        // Nothing that can panic runs between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether an id is retired.
    pub(crate) fn has(&self, id: ImageId) -> bool {
        self.state().ids.contains(&id)
    }

    /// Adds ids durably. After a failure they are known until the end of this run: a full disk must not prevent the removal of
    /// images.
    pub(crate) fn add(&self, ids: impl IntoIterator<Item = ImageId>) {
        let mut state = self.state();
        let new: Vec<ImageId> = ids.into_iter().filter(|id| state.ids.insert(*id)).collect();
        if new.is_empty() {
            return;
        }
        let lines: String = new.iter().map(|id| format!("{id}\n")).collect();
        let written = state.file.write_all(lines.as_bytes()).and_then(|()| state.file.sync_data());
        if let Err(error) = written {
            log::warn!("ids of removed images are not kept, after a restart they can be chosen again: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_after_a_restart_and_a_cut_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, c) = (ImageId::random(), ImageId::random(), ImageId::random());
        let spent = Spent::open(dir.path()).unwrap();
        spent.add([a, b]);
        spent.add([b]);
        assert!(spent.has(a) && spent.has(b) && !spent.has(c));
        let path = dir.path().join("spent-ids");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{a}\n{b}\n"));
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let spent = Spent::open(dir.path()).unwrap();
        assert!(spent.has(a) && !spent.has(b));
        spent.add([c]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{a}\n{c}\n"));
    }
}
