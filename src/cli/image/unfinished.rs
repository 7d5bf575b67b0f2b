//! Memory of an interrupted upload, so that a repeated command resumes it: its id, in a file of the user's cache named after
//! a hash of the file, the server and the attributes.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// Memory of one upload. Without a cache directory an upload begins again.
pub(super) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// Memory of an upload of this file in its present state, with `what`: server, image, attributes.
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

    /// Id of the upload, if one was begun.
    pub(super) fn id(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.0.as_ref()?).ok()?;
        Some(text.trim().to_owned()).filter(|id| id.parse::<crate::image::ImageId>().is_ok())
    }

    /// Remembers the id. It is a convenience: a failure is ignored.
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
