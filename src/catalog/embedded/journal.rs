//! The journal: the truth about metadata. Append-only, one committed change a line, readable with `jq`.
//!
//! A segment opens with a `begin` line: the sequence number that it starts at, and the number of images that follow as its
//! base. Changes follow. Damage is counted and reported, never skipped in silence. A whole line that is not understood
//! comes from a newer program, and stops the start.
//!
//! Knows rows, not index entries, and no engine.

mod line;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(crate) use self::line::{Bond, FoundLine, JournalEntry, delete_line, put_line};
use self::line::{begin_line, parse};
use crate::catalog::stored::RowError;
use crate::image::Image;

/// Longest line that is written or read: more than the longest record, escaped.
pub(crate) const LINE_BYTES_MAX: u64 = 2 << 20;

/// An open journal, positioned at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    /// Length of the committed lines. Bytes after it are left from a failed write.
    bytes: u64,
    /// Number of committed lines.
    lines: u64,
    /// Reason why no further write may be acknowledged.
    doubt: Option<String>,
}

fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("journal-{segment}.jsonl"))
}

/// Numbers of the segments in `dir`, ascending, without unfinished compactions (`.tmp`).
fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("journal-")?.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|n| n.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Journal {
    /// Opens the newest segment in `dir`, if one exists.
    pub(crate) fn open(dir: &Path) -> io::Result<Option<Self>> {
        segments(dir)?.pop().map(|segment| Self::open_segment(dir, segment)).transpose()
    }

    /// Opens the segment before the newest, for reading: it has the base of the newest, and the changes that led to it.
    pub(crate) fn open_older(dir: &Path) -> io::Result<Option<Self>> {
        segments(dir)?.into_iter().rev().nth(1).map(|segment| Self::open_segment(dir, segment)).transpose()
    }

    fn open_segment(dir: &Path, segment: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(segment_path(dir, segment))?;
        let bytes = file.metadata()?.len();
        Ok(Self { dir: dir.to_owned(), file, bytes, lines: 0, doubt: None })
    }

    /// Starts a new segment whose base is `images` images as of `seq`, and makes it the newest.
    ///
    /// Written under another name, synced and renamed: a crash leaves the old segment the newest. The segment before the old
    /// one is removed; the old one stays until the next compaction.
    pub(crate) fn begin(
        dir: &Path,
        seq: u64,
        count: u64,
        images: impl Iterator<Item = io::Result<Image>>,
    ) -> io::Result<Self> {
        let old = segments(dir)?;
        let segment = old.last().map_or(1, |last| last + 1);
        let path = segment_path(dir, segment);
        let aside = path.with_extension("tmp");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let mut out = BufWriter::new(file);
        out.write_all(&begin_line(seq, count)?)?;
        let mut written = 0;
        for image in images {
            out.write_all(&put_line(seq, &image?, Bond::default())?)?;
            written += 1;
        }
        if written != count {
            return Err(io::Error::other(format!("{count} images were announced for a segment, {written} came")));
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let (bytes, directory) = (file.metadata()?.len(), File::open(dir)?);
        std::fs::rename(&aside, &path)?;
        // The new segment is the newest now: returning an error from here on would leave the caller writing to the old one.
        let doubt = directory.sync_all().err().map(|error| error.to_string());
        for number in old.iter().rev().skip(1) {
            if let Err(error) = std::fs::remove_file(segment_path(dir, *number)) {
                log::warn!("an old segment of the journal could not be removed: {error}");
            }
        }
        Ok(Self { dir: dir.to_owned(), file, bytes, lines: count + 1, doubt })
    }

    /// Path of the newest segment.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Length of the newest segment, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Estimated length with one line for each of `images` images.
    pub(crate) fn live_bytes_estimate(&self, images: u64) -> u64 {
        (images + 1) * (self.bytes / self.lines.max(1))
    }

    /// Appends `count` whole lines and syncs them: they are durable when this returns.
    ///
    /// # Errors
    /// `Append`: nothing was added, the journal is unchanged. `Sync`: the state of the file is unknown, and no further write may
    /// be acknowledged.
    pub(crate) fn append(&mut self, lines: &[u8], count: u64) -> Result<(), AppendError> {
        if let Some(doubt) = &self.doubt {
            return Err(AppendError::Sync(io::Error::other(doubt.clone())));
        }
        if let Err(error) = self.file.write_all_at(lines, self.bytes) {
            // Some lines may be written: they are cut, so that a later, longer append leaves no part of them behind.
            self.file.set_len(self.bytes).map_err(AppendError::Sync)?;
            return Err(AppendError::Append(error));
        }
        self.file.sync_data().map_err(AppendError::Sync)?;
        self.bytes += lines.len() as u64;
        self.lines += count;
        Ok(())
    }

    /// Reads the segment from its beginning and passes every good line to `each`. Changes nothing: [`Journal::cut`] removes the
    /// lines after the last good one, once they are known to be useless.
    ///
    /// # Errors
    /// The segment can't be read, `each` failed, or a whole line is not understood.
    pub(crate) fn replay(&mut self, mut each: impl FnMut(FoundLine) -> io::Result<()>) -> io::Result<Damage> {
        // A second handle on the same file: the first stays free for cutting.
        let mut reader = BufReader::with_capacity(1 << 20, self.file.try_clone()?);
        reader.seek(SeekFrom::Start(0))?;
        let (mut line, mut at, mut good_end, mut damage) = (Vec::new(), 0, 0, Damage::default());
        // Images that the segment's first line announces.
        let mut base: Option<(u64, u64)> = None;
        // Lines of a change whose last line was not read yet.
        let mut open: Vec<FoundLine> = Vec::new();
        self.lines = 0;
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                break;
            }
            at += read;
            let Some(whole) = line.strip_suffix(b"\n") else {
                damage.torn = true;
                continue;
            };
            match parse(whole) {
                Ok((found, bond)) => {
                    damage.lines += std::mem::take(&mut damage.tail_lines);
                    // A line that looked torn was too long.
                    damage.lines += u64::from(std::mem::take(&mut damage.torn));
                    match (&found.entry, &mut base) {
                        (JournalEntry::Begin { images }, _) => base = Some((found.seq, *images)),
                        (JournalEntry::Put(_), Some((began, left))) if *began == found.seq => {
                            *left = left.saturating_sub(1)
                        }
                        _ => {}
                    }
                    // Lines without the first or the last one of their change are no change.
                    if bond.rest == open.is_empty() {
                        damage.lines += open.drain(..).count() as u64;
                        if bond.rest {
                            damage.lines += 1;
                            good_end = at;
                            continue;
                        }
                    }
                    open.push(found);
                    if bond.more {
                        continue;
                    }
                    good_end = at;
                    self.lines += open.len() as u64;
                    open.drain(..).try_for_each(&mut each)?;
                }
                Err(RowError::Damaged) => {
                    damage.lines += open.drain(..).count() as u64;
                    damage.tail_lines += 1;
                }
                // The checksum proves the line whole: it must not be cut or skipped.
                Err(error) => {
                    return Err(io::Error::other(format!("the journal was written by a newer visor: {error}")));
                }
            }
        }
        damage.base = base.is_none_or(|(_, left)| left > 0);
        // A change that was cut short between two of its lines.
        damage.torn |= !open.is_empty();
        self.bytes = good_end;
        Ok(damage)
    }

    /// Cuts everything after the last good line of the last [`Journal::replay`].
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        let behind = self.file.metadata()?.len().saturating_sub(self.bytes);
        if behind > 0 {
            log::warn!("cutting {behind} bytes off the end of the journal, which are no whole change");
            self.file.set_len(self.bytes)?;
            self.file.sync_all()?;
        }
        Ok(())
    }
}

/// Damage found in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Damage {
    /// Damaged lines before good ones.
    pub(crate) lines: u64,
    /// Damaged lines at the end.
    pub(crate) tail_lines: u64,
    /// An unfinished last line: a write that was cut short, and never acknowledged.
    pub(crate) torn: bool,
    /// Missing lines of the segment's base.
    pub(crate) base: bool,
}

impl Damage {
    /// Tells whether the segment is complete.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Tells whether acknowledged changes may be missing.
    pub(crate) fn loses(self) -> bool {
        self.lines > 0 || self.tail_lines > 0 || self.base
    }
}

/// Reason why lines could not be appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the journal can't be written: {0}")]
    Append(io::Error),
    #[error("the journal can't be synced: {0}")]
    Sync(io::Error),
}
