//! What is remembered of an upload that did not come to its end, so that the same command goes on with it: its id, in a
//! file of the user's cache that is named by what is sent where.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// The memory of one upload. Without a cache directory there is none: the upload begins again.
pub(super) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// The memory of sending this file, as it is now, with `what`: the server, the image, the attributes.
    pub(super) fn of(file: &Path, about: &std::fs::Metadata, what: &[&str]) -> Self {
        let mut name = Sha256::new();
        let path = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let changed = about.modified().ok().map(|time| format!("{time:?}")).unwrap_or_default();
        let parts = [&path.to_string_lossy(), changed.as_str(), &about.len().to_string()];
        for part in parts.into_iter().chain(what.iter().copied()) {
            name.update((part.len() as u64).to_le_bytes());
            name.update(part);
        }
        let name = hex(&name.finalize());
        Self(crate::config::cache_dir().map(|dir| dir.join("uploads").join(name)))
    }

    /// The id of the upload, if one was begun.
    pub(super) fn id(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.0.as_ref()?).ok()?;
        Some(text.trim().to_owned()).filter(|id| id.parse::<crate::image::ImageId>().is_ok())
    }

    /// Remembers it. That is a convenience: where it can't be, nothing is said.
    pub(super) fn remember(&self, id: &str) {
        if let Some(path) = &self.0 {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(path, format!("{id}\n"));
        }
    }

    pub(super) fn forget(&self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
