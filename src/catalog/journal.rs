//! The journal: the truth about metadata. Append-only, one committed change a line, readable with `jq`.
//!
//! A line is `{"crc":"…","seq":…,"op":…}`: the CRC-32 covers everything behind its own comma. A segment opens with a
//! `begin` line that says at which sequence number it starts and how many images follow as its base; then come the
//! changes. Damage is counted and reported, never passed over in silence; a line that is whole and can't be understood
//! is a newer program's, and stops everything.
//!
//! Knows rows, not index entries, and no engine.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::row::{ResumableV2, RowError, RowV1, RowV2, RowV3, RowV4, VERSION, check_version};
use crate::image::{Image, ImageId};

/// Longest line that is written or read. A record of texts that are at their limits, escaped, has about half of that.
pub(crate) const LINE_BYTES_MAX: u64 = 1 << 20;

/// `{"crc":"` + eight digits + `",`
const CRC_HEAD_BYTES: usize = 18;

/// A change, as the journal has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A segment begins: everything before is folded into the `images` lines that follow.
    Begin { images: u64 },
    /// An image was made or changed.
    Put(Box<Image>),
    /// An image was removed.
    Delete(ImageId),
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Outgoing<'a> {
    Begin {
        seq: u64,
        images: u64,
    },
    Put {
        seq: u64,
        v: u8,
        #[serde(flatten)]
        bond: Bond,
        image: &'a RowV4,
    },
    Delete {
        seq: u64,
        #[serde(flatten)]
        bond: Bond,
        id: Uuid,
    },
}

/// What a line has to do with its neighbours: of a change of several lines none counts without the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Bond {
    /// The line before is a part of the same change.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) rest: bool,
    /// The line behind is.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) more: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What a line says, with a row of the newest version.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Incoming {
    Begin { seq: u64, images: u64 },
    Put { seq: u64, image: Box<RowV4> },
    Delete { seq: u64, id: Uuid },
}

/// A line of version 3 with a row.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Third {
    Put { seq: u64, image: Box<RowV3> },
}

/// A line of version 1 or 2 with a row. The first version has none of the last.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Old {
    Put { seq: u64, image: Box<RowV1>, resumable: Option<ResumableV2> },
}

/// The version of a line's row, where it has one, and its bond.
#[derive(Deserialize)]
struct Version {
    v: Option<u8>,
    // Not flattened: that would have the row read twice.
    #[serde(default)]
    rest: bool,
    #[serde(default)]
    more: bool,
}

/// A whole line, with its end.
fn line(body: &Outgoing<'_>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(body)?;
    let rest = &json[1..];
    let mut line = format!("{{\"crc\":\"{:08x}\",", crc32fast::hash(rest)).into_bytes();
    line.extend(rest);
    line.push(b'\n');
    Ok(line)
}

/// The line that records an image.
pub(crate) fn put_line(seq: u64, image: &Image, bond: Bond) -> io::Result<Vec<u8>> {
    line(&Outgoing::Put { seq, v: VERSION, bond, image: &image.into() })
}

/// The line that records a removal.
pub(crate) fn delete_line(seq: u64, id: ImageId, bond: Bond) -> io::Result<Vec<u8>> {
    line(&Outgoing::Delete { seq, bond, id: Uuid::from_bytes(*id.as_bytes()) })
}

/// What a line (without its end) says, and what it has to do with its neighbours.
fn parse(line: &[u8]) -> Result<(Found, Bond), RowError> {
    let (head, rest) = line.split_at_checked(CRC_HEAD_BYTES).ok_or(RowError::Damaged)?;
    let expected = format!("{{\"crc\":\"{:08x}\",", crc32fast::hash(rest));
    if head != expected.as_bytes() {
        return Err(RowError::Damaged);
    }
    let json = [b"{", rest].concat();
    let malformed = |error: serde_json::Error| RowError::Malformed(error.to_string());
    // Before the row itself, whose shape belongs to its version.
    let Version { v, rest, more } = serde_json::from_slice(&json).map_err(malformed)?;
    v.map_or(Ok(()), check_version)?;
    let (seq, entry) = change(v, &json)?;
    Ok((Found { seq, entry }, Bond { rest, more }))
}

/// The sequence number and the change in the JSON of a line whose row has version `v`.
fn change(v: Option<u8>, json: &[u8]) -> Result<(u64, Entry), RowError> {
    let malformed = |error: serde_json::Error| RowError::Malformed(error.to_string());
    if matches!(v, Some(1 | 2)) {
        let Old::Put { seq, image, resumable } = serde_json::from_slice(json).map_err(malformed)?;
        let row = RowV4::from(RowV3::from(RowV2 { image: *image, resumable }));
        return Ok((seq, Entry::Put(Box::new(row.try_into()?))));
    }
    if v == Some(3) {
        let Third::Put { seq, image } = serde_json::from_slice(json).map_err(malformed)?;
        return Ok((seq, Entry::Put(Box::new(RowV4::from(*image).try_into()?))));
    }
    Ok(match serde_json::from_slice(json).map_err(malformed)? {
        Incoming::Begin { seq, images } => (seq, Entry::Begin { images }),
        Incoming::Delete { seq, id } => (seq, Entry::Delete(ImageId::from_bytes(id.into_bytes()))),
        Incoming::Put { seq, image } => (seq, Entry::Put(Box::new((*image).try_into()?))),
    })
}

/// A line found in the journal, and where.
pub(crate) struct Found {
    pub(crate) seq: u64,
    pub(crate) entry: Entry,
}

/// An open journal, positioned at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    file: File,
    /// Length of what is committed. Anything behind it is the remains of a failed write.
    bytes: u64,
    /// How many lines that is.
    lines: u64,
    /// Why nothing may be acknowledged any more.
    doubt: Option<String>,
}

fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("journal-{segment}.jsonl"))
}

/// The numbers of the segments in `dir`, ascending. Half-written compactions (`.tmp`) do not count.
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
    /// Opens the newest segment in `dir`, if there is one.
    pub(crate) fn open(dir: &Path) -> io::Result<Option<Self>> {
        segments(dir)?.pop().map(|segment| Self::open_segment(dir, segment)).transpose()
    }

    /// Opens the segment before the newest, for reading: it has what the newest begins with, and how that came about.
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
    /// Written aside, synced and renamed: a crash leaves the old segment the newest. The one before the old one
    /// goes; the old one stays until the next time.
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
        out.write_all(&line(&Outgoing::Begin { seq, images: count })?)?;
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
        // It is the newest now: an error from here on would leave the caller writing to the old one.
        let doubt = directory.sync_all().err().map(|error| error.to_string());
        for number in old.iter().rev().skip(1) {
            if let Err(error) = std::fs::remove_file(segment_path(dir, *number)) {
                log::warn!("an old segment of the journal could not be removed: {error}");
            }
        }
        Ok(Self { dir: dir.to_owned(), file, bytes, lines: count + 1, doubt })
    }

    /// Where it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How long the newest segment is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// About how long it would be with one line for each of `images` images.
    pub(crate) fn live_bytes_estimate(&self, images: u64) -> u64 {
        (images + 1) * (self.bytes / self.lines.max(1))
    }

    /// Appends `count` whole lines and syncs them: when this returns, they are durable.
    ///
    /// # Errors
    /// `Append`: nothing was added, the journal is as before. `Sync`: the disk did not keep its promise, and what
    /// is in the file is unknown; no further write may be acknowledged.
    pub(crate) fn append(&mut self, lines: &[u8], count: u64) -> Result<(), AppendError> {
        if let Some(doubt) = &self.doubt {
            return Err(AppendError::Sync(io::Error::other(doubt.clone())));
        }
        if let Err(error) = self.file.write_all_at(lines, self.bytes) {
            // A part of the lines may be there: cut it, so that a later, longer append can't leave half of it behind.
            self.file.set_len(self.bytes).map_err(AppendError::Sync)?;
            return Err(AppendError::Append(error));
        }
        self.file.sync_data().map_err(AppendError::Sync)?;
        self.bytes += lines.len() as u64;
        self.lines += count;
        Ok(())
    }

    /// Reads the segment from its beginning and hands every good line to `each`. Changes nothing: what is behind the
    /// last good line is cut by [`Journal::cut`], when it is decided that it is not needed.
    ///
    /// # Errors
    /// It can't be read, `each` failed, or a line is whole and yet not understood.
    pub(crate) fn replay(&mut self, mut each: impl FnMut(Found) -> io::Result<()>) -> io::Result<Damage> {
        // A second handle on the same file: the first stays free for cutting.
        let mut reader = BufReader::with_capacity(1 << 20, self.file.try_clone()?);
        reader.seek(SeekFrom::Start(0))?;
        let (mut line, mut at, mut good_end, mut damage) = (Vec::new(), 0, 0, Damage::default());
        // What the segment's first line promises of those behind it.
        let mut base: Option<(u64, u64)> = None;
        // Lines of a change whose last one has not come yet.
        let mut open: Vec<Found> = Vec::new();
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
                    // What looked torn was too long a line.
                    damage.lines += u64::from(std::mem::take(&mut damage.torn));
                    match (&found.entry, &mut base) {
                        (Entry::Begin { images }, _) => base = Some((found.seq, *images)),
                        (Entry::Put(_), Some((began, left))) if *began == found.seq => *left = left.saturating_sub(1),
                        _ => {}
                    }
                    // Without its first lines it is no change, and neither is one that never came to its last.
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
                // Whole, as its checksum says, and not ours to cut or skip.
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

    /// Cuts what is behind the last good line of the last [`Journal::replay`].
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

/// What was found wrong with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Damage {
    /// Damaged lines with good ones behind them.
    pub(crate) lines: u64,
    /// Damaged lines at the end.
    pub(crate) tail_lines: u64,
    /// Whether the last line has no end: a write that was cut short, and never acknowledged.
    pub(crate) torn: bool,
    /// Whether the lines are missing that it begins with.
    pub(crate) base: bool,
}

impl Damage {
    /// Whether nothing is missing.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Whether something may be missing that was acknowledged.
    pub(crate) fn loses(self) -> bool {
        self.lines > 0 || self.tail_lines > 0 || self.base
    }
}

/// Why lines could not be appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the journal can't be written: {0}")]
    Append(io::Error),
    #[error("the journal can't be synced: {0}")]
    Sync(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::row::tests::old_image;
    use crate::image::change::tests::sample;

    fn replayed(journal: &mut Journal) -> (Vec<(u64, Entry)>, u64) {
        let mut entries = Vec::new();
        let damaged = journal
            .replay(|found| {
                entries.push((found.seq, found.entry));
                Ok(())
            })
            .unwrap();
        (entries, damaged.lines)
    }

    fn three_lines(dir: &Path) -> (Journal, Image, Image) {
        let (a, b) = (sample("a"), sample("b\n\"\u{fffd}"));
        let mut journal = Journal::begin(dir, 0, 0, std::iter::empty()).unwrap();
        journal
            .append(&[put_line(1, &a, Bond::default()).unwrap(), put_line(2, &b, Bond::default()).unwrap()].concat(), 2)
            .unwrap();
        journal.append(&delete_line(3, a.id, Bond::default()).unwrap(), 1).unwrap();
        (journal, a, b)
    }

    #[test]
    fn lines_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, a, b) = three_lines(dir.path());
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap().unwrap();
        let expected = vec![
            (0, Entry::Begin { images: 0 }),
            (1, Entry::Put(Box::new(a.clone()))),
            (2, Entry::Put(Box::new(b))),
            (3, Entry::Delete(a.id)),
        ];
        assert_eq!(replayed(&mut journal), (expected, 0));
    }

    /// Cut anywhere: every whole line survives, nothing else does, and appending goes on cleanly.
    #[test]
    fn a_torn_tail_is_cut_wherever_it_tears() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, ..) = three_lines(dir.path());
        let path = segment_path(dir.path(), 1);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        drop(journal);
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap().unwrap();
            let (entries, damaged) = replayed(&mut journal);
            assert_eq!((entries.len(), damaged), (ends.iter().filter(|end| **end <= cut).count(), 0), "cut at {cut}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), cut as u64, "reading changes nothing");
            journal.cut().unwrap();
            journal.append(&delete_line(9, ImageId::random(), Bond::default()).unwrap(), 1).unwrap();
            assert_eq!(replayed(&mut journal).0.len(), entries.len() + 1, "cut at {cut}");
        }
    }

    /// Cut anywhere: of a change of several lines there is all or nothing.
    #[test]
    fn a_change_of_several_lines_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, a, b) = three_lines(dir.path());
        let bond = |rest, more| Bond { rest, more };
        let group = [
            put_line(4, &b, bond(false, true)),
            put_line(5, &a, bond(true, true)),
            delete_line(6, b.id, bond(true, false)),
        ]
        .map(Result::unwrap);
        journal.append(&group.concat(), 3).unwrap();
        let path = segment_path(dir.path(), 1);
        let all = std::fs::read(&path).unwrap();
        let before = all.len() - group.concat().len();
        for cut in before..=all.len() {
            std::fs::write(&path, &all[..cut]).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap().unwrap();
            let (entries, damaged) = replayed(&mut journal);
            assert_eq!((entries.len(), damaged), (if cut == all.len() { 7 } else { 4 }, 0), "cut at {cut}");
            journal.cut().unwrap();
            let length = std::fs::metadata(&path).unwrap().len();
            assert_eq!(length, if cut == all.len() { cut } else { before } as u64, "cut at {cut}");
        }
        // Whichever of its lines the disk changes, the others do not count, and what comes behind does.
        let behind = delete_line(7, a.id, Bond::default()).unwrap();
        let mut at = before;
        for line in &group {
            let mut bytes = [&all[..], &behind].concat();
            bytes[at + 30] ^= 1;
            at += line.len();
            std::fs::write(&path, &bytes).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap().unwrap();
            let (entries, damaged) = replayed(&mut journal);
            assert_eq!((entries.len(), damaged), (5, 3), "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn damage_in_the_middle_is_counted_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = three_lines(dir.path());
        let path = segment_path(dir.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 40;
        bytes[second] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (entries, damaged) = replayed(&mut journal);
        assert_eq!((entries.len(), damaged), (3, 1));
    }

    /// As the programs wrote them that knew versions 1, 2 and 3.
    #[test]
    fn lines_of_earlier_versions_are_read() {
        let image = r#""image":{"id":"07070707-0707-0707-0707-070707070707","revision":3,"name":"a","owner":"me",
            "visibility":"public","status":"saving","format":null,"kind":null,"architecture":null,"store":null,
            "kernel":null,"ramdisk":null,"parts":[{"kind":"whole","location":{"stored":{"store":"file",
            "key":"07070707-0707-0707-0707-070707070707.iso"}},"size_bytes":9,
            "md5":"33333333333333333333333333333333",
            "sha256":"4444444444444444444444444444444444444444444444444444444444444444","etag":null}],
            "properties":{"os":"linux"},"created_at_us":5000000,"updated_at_us":null,"uploaded_at_us":null,
            "ticket":{"boot":"09090909-0909-0909-0909-090909090909","fallback":"fail"}}"#;
        let resumable = r#","resumable":{"offset":4,"size_bytes":9,"md5":"55555555555555555555555555555555",
            "sha256":null,"expires_at_us":8}"#;
        for (v, crc, resumable) in [(1, "98cf4375", ""), (2, "0c42ec0c", resumable)] {
            let rest = format!("\"op\":\"put\",\"seq\":3,\"v\":{v},{image}{resumable}}}").replace("\n            ", "");
            let (found, bond) = parse(format!("{{\"crc\":\"{crc}\",{rest}").as_bytes()).unwrap();
            let expected = Entry::Put(Box::new(old_image(v == 2)));
            assert_eq!((found.seq, found.entry, bond), (3, expected, Bond::default()));
        }
        let third = r#"
            {"crc":"e6adaa8f","op":"put","seq":3,"v":3,"image":{"id":"cfab7f83-9c80-49a8-af89-240d31e459b8","rev
            ision":3,"name":"old","owner":null,"visibility":"public","status":"available","format":null,"contain
            er":null,"kind":null,"architecture":"x86_64","store":"file","kernel":null,"ramdisk":null,
            "parts":[{"kind":"whole","location":{"stored":{"store":"file","key":"cfab7f83-9c80-49a8-af89-240d31e
            459b8.none"}},"size_bytes":5,"virtual_size_bytes":null,"md5":"5d41402abc4b2a76b9719d911017c592","sha
            256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","sha512":null,"etag":null}],
            "properties":{"os":"linux"},"tags":["blue"],"members":{},"protected":false,"hidden":false,"min_disk_
            gib":0,"min_ram_mib":0,"created_at_us":1795288298153414,"updated_at_us":1795288298462242,"uploaded_a
            t_us":1795288298167712,"ticket":null}}"#
            .replace("\n            ", "");
        let (found, _) = parse(third.trim().as_bytes()).unwrap();
        let Entry::Put(image) = found.entry else { panic!("it records an image") };
        assert_eq!((found.seq, image.name.as_deref(), image.size(), image.offered), (3, Some("old"), Some(5), true));
        assert!(image.tags.contains("blue") && image.properties["os"] == "linux");
    }

    #[test]
    fn a_new_segment_replaces_the_old_and_keeps_one() {
        let dir = tempfile::tempdir().unwrap();
        let (_, _, b) = three_lines(dir.path());
        for seq in 3..6 {
            let mut journal = Journal::begin(dir.path(), seq, 1, std::iter::once(Ok(b.clone()))).unwrap();
            let expected = vec![(seq, Entry::Begin { images: 1 }), (seq, Entry::Put(Box::new(b.clone())))];
            assert_eq!(replayed(&mut journal), (expected, 0));
        }
        assert_eq!(segments(dir.path()).unwrap(), [3, 4]);
    }

    #[test]
    fn a_segment_without_its_beginning_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let images: Vec<_> = ["a", "b"].map(|name| Ok(sample(name))).into();
        let mut journal = Journal::begin(dir.path(), 7, 2, images.into_iter()).unwrap();
        journal.append(&delete_line(8, ImageId::random(), Bond::default()).unwrap(), 1).unwrap();
        let whole = std::fs::read(segment_path(dir.path(), 1)).unwrap();
        let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
        for (keep, base) in [(0..4, false), (0..3, false), (0..2, true), (0..1, true), (0..0, true), (1..4, true)] {
            std::fs::write(segment_path(dir.path(), 1), lines[keep.clone()].concat()).unwrap();
            let damage = Journal::open(dir.path()).unwrap().unwrap().replay(|_| Ok(())).unwrap();
            assert_eq!((damage.base, damage.loses()), (base, base), "{keep:?}");
        }
    }

    /// What can't be understood although it is whole belongs to a newer program: never cut, never skipped.
    #[test]
    fn what_is_newer_is_refused() {
        let put = put_line(1, &sample("a"), Bond::default()).unwrap();
        let put = std::str::from_utf8(&put[CRC_HEAD_BYTES..put.len() - 1]).unwrap();
        for (from, to) in [
            ("\"v\":4", "\"v\":5"),
            ("\"v\":4,\"image\":{\"id\"", "\"v\":5,\"image\":{\"key\""),
            ("\"public\"", "\"secret\""),
            ("\"op\":\"put\"", "\"op\":\"merge\""),
        ] {
            assert!(put.contains(from), "{from}: {put}");
            let newer = put.replace(from, to);
            let line = format!("{{\"crc\":\"{:08x}\",{newer}", crc32fast::hash(newer.as_bytes()));
            assert!(matches!(parse(line.as_bytes()), Err(RowError::Newer(5) | RowError::Malformed(_))), "{to}");
            let dir = tempfile::tempdir().unwrap();
            let (mut journal, ..) = three_lines(dir.path());
            journal.append(format!("{line}\n").as_bytes(), 1).unwrap();
            let refused = journal.replay(|_| Ok(())).unwrap_err().to_string();
            assert!(refused.contains("newer"), "{refused}");
        }
    }

    #[test]
    fn a_directory_that_can_not_be_synced_seals_the_new_segment() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = three_lines(dir.path());
        journal.doubt = Some("lost power".into());
        let error = journal.append(&delete_line(9, ImageId::random(), Bond::default()).unwrap(), 1).unwrap_err();
        assert!(matches!(error, AppendError::Sync(_)));
    }
}
