//! The log of tokens given and revoked, a line each. It is written anew when most of it is about tokens that are gone.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Kept, Print};

/// Lines beyond twice the number of tokens at which the log is written anew.
const SLACK_LINES: usize = 1024;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Given(Kept),
    Revoked(Print),
}

/// The log's file.
pub(super) struct Log {
    path: PathBuf,
    /// `None` after a failed write: the whole file must be rewritten.
    file: Option<File>,
    lines: usize,
}

impl Log {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, file: None, lines: 0 }
    }

    /// Reads the lines of the log. Garbage at its end, from a power cut, is skipped.
    pub(super) fn read(&self) -> io::Result<Vec<Line>> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Tells whether the log may grow by another line, with `live` tokens.
    pub(super) fn has_room_for(&self, live: usize) -> bool {
        self.lines < 2 * live + SLACK_LINES
    }

    /// Adds a line, durably if it takes something away. False when the file can't be added to any more.
    pub(super) fn append(&mut self, line: &Line) -> io::Result<bool> {
        let Some(mut file) = self.file.take() else { return Ok(false) };
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // After a failure half a line may stand there: without the file back in its place, all is written anew.
        if file.write_all(&text).is_err() || (matches!(line, Line::Revoked(_)) && file.sync_data().is_err()) {
            return Ok(false);
        }
        self.lines += 1;
        self.file = Some(file);
        Ok(true)
    }

    /// Replaces everything, durably.
    pub(super) fn rewrite(&mut self, tokens: Vec<Kept>) -> io::Result<()> {
        self.file = None;
        let dir = self.path.parent().ok_or_else(|| io::Error::other("a file without a directory"))?;
        let mode = Permissions::from_mode(0o600);
        let aside = tempfile::Builder::new().prefix(".tokens").permissions(mode).append(true).tempfile_in(dir)?;
        let lines = tokens.len();
        let mut writer = BufWriter::new(aside);
        for kept in tokens {
            serde_json::to_writer(&mut writer, &Line::Given(kept))?;
            writer.write_all(b"\n")?;
        }
        let aside = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        aside.as_file().sync_all()?;
        let file = aside.persist(&self.path)?;
        File::open(dir)?.sync_all()?;
        (self.file, self.lines) = (Some(file), lines);
        Ok(())
    }
}
