//! A line of the journal: `{"crc":"…","seq":…,"op":…}`. The CRC-32 covers everything after its own comma. A line
//! of an earlier shape passes the steps in `migrations/` first. Knows no file.

use std::io;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::migrations;
use crate::catalog::stored::{RowError, SHAPE, StoredImage};
use crate::image::{Image, ImageId};

/// `{"crc":"` + eight digits + `",`
pub(super) const CRC_HEAD_BYTES: usize = 18;

/// A change, as the journal has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JournalEntry {
    /// Begin of a segment: the `images` lines that follow replace everything before.
    Begin { images: u64 },
    /// Creation or change of an image.
    Put(Box<Image>),
    /// Removal of an image.
    Delete(ImageId),
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum WrittenEntry<'a> {
    Begin {
        seq: u64,
        images: u64,
    },
    Put {
        seq: u64,
        v: u8,
        #[serde(flatten)]
        bond: Bond,
        image: &'a StoredImage,
    },
    Delete {
        seq: u64,
        #[serde(flatten)]
        bond: Bond,
        id: Uuid,
    },
}

/// Bond of a line with its neighbours: the lines of a change count together or not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Bond {
    /// The previous line belongs to the change.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) rest: bool,
    /// The next line belongs to the change.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) more: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A line as read, with a record of today's shape.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum ReadEntry {
    Begin { seq: u64, images: u64 },
    Put { seq: u64, image: Box<StoredImage> },
    Delete { seq: u64, id: Uuid },
}

/// Shape of a line's record, if it has one, and the line's bond.
#[derive(Deserialize)]
struct LineHead {
    v: Option<u8>,
    // Not flattened: serde would read the record twice.
    #[serde(default)]
    rest: bool,
    #[serde(default)]
    more: bool,
}

/// A whole line, with its line break.
fn line(body: &WrittenEntry<'_>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(body)?;
    let rest = &json[1..];
    let mut line = format!("{{\"crc\":\"{:08x}\",", crc32fast::hash(rest)).into_bytes();
    line.extend(rest);
    line.push(b'\n');
    Ok(line)
}

/// First line of a segment.
pub(super) fn begin_line(seq: u64, images: u64) -> io::Result<Vec<u8>> {
    line(&WrittenEntry::Begin { seq, images })
}

/// Line that records an image.
pub(crate) fn put_line(seq: u64, image: &Image, bond: Bond) -> io::Result<Vec<u8>> {
    line(&WrittenEntry::Put { seq, v: SHAPE, bond, image: &image.into() })
}

/// Line that records a removal.
pub(crate) fn delete_line(seq: u64, id: ImageId, bond: Bond) -> io::Result<Vec<u8>> {
    line(&WrittenEntry::Delete { seq, bond, id: Uuid::from_bytes(*id.as_bytes()) })
}

/// Parses a line (without its line break) into its change and its bond.
pub(super) fn parse(line: &[u8]) -> Result<(FoundLine, Bond), RowError> {
    let (head, rest) = line.split_at_checked(CRC_HEAD_BYTES).ok_or(RowError::Damaged)?;
    let expected = format!("{{\"crc\":\"{:08x}\",", crc32fast::hash(rest));
    if head != expected.as_bytes() {
        return Err(RowError::Damaged);
    }
    let json = [b"{", rest].concat();
    // Before the record itself, whose shape this names.
    let LineHead { v, rest, more } = serde_json::from_slice(&json).map_err(malformed)?;
    let (seq, entry) = change(v, &json)?;
    Ok((FoundLine { seq, entry }, Bond { rest, more }))
}

fn malformed(error: serde_json::Error) -> RowError {
    RowError::Malformed(error.to_string())
}

/// Reads the sequence number and the change in the JSON of a line whose record has shape `v`.
fn change(v: Option<u8>, json: &[u8]) -> Result<(u64, JournalEntry), RowError> {
    let incoming = match v {
        Some(0) => return Err(RowError::Damaged),
        Some(newer) if newer > SHAPE => return Err(RowError::Newer(newer)),
        Some(older) if migrations::has_steps_from(older) => {
            let mut line = serde_json::from_slice(json).map_err(malformed)?;
            migrations::run(older, &mut line);
            ReadEntry::deserialize(serde_json::Value::Object(line)).map_err(malformed)?
        }
        _ => serde_json::from_slice(json).map_err(malformed)?,
    };
    Ok(match incoming {
        ReadEntry::Begin { seq, images } => (seq, JournalEntry::Begin { images }),
        ReadEntry::Delete { seq, id } => (seq, JournalEntry::Delete(ImageId::from_bytes(id.into_bytes()))),
        ReadEntry::Put { seq, image } => (seq, JournalEntry::Put(Box::new((*image).try_into()?))),
    })
}

/// A line found in the journal, and its position.
pub(crate) struct FoundLine {
    pub(crate) seq: u64,
    pub(crate) entry: JournalEntry,
}
