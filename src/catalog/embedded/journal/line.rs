//! One line of the journal: `{"crc":"…","seq":…,"op":…}`, where the CRC-32 covers everything behind its own comma. A line
//! of an earlier shape goes through the steps in `migrations/` first. Knows no file.

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
        image: &'a StoredImage,
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

/// A line as it is read, with a record of today's shape.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Incoming {
    Begin { seq: u64, images: u64 },
    Put { seq: u64, image: Box<StoredImage> },
    Delete { seq: u64, id: Uuid },
}

/// The shape of a line's record, where it has one, and its bond.
#[derive(Deserialize)]
struct Head {
    v: Option<u8>,
    // Not flattened: that would have the record read twice.
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

/// The line that a segment begins with.
pub(super) fn begin_line(seq: u64, images: u64) -> io::Result<Vec<u8>> {
    line(&Outgoing::Begin { seq, images })
}

/// The line that records an image.
pub(crate) fn put_line(seq: u64, image: &Image, bond: Bond) -> io::Result<Vec<u8>> {
    line(&Outgoing::Put { seq, v: SHAPE, bond, image: &image.into() })
}

/// The line that records a removal.
pub(crate) fn delete_line(seq: u64, id: ImageId, bond: Bond) -> io::Result<Vec<u8>> {
    line(&Outgoing::Delete { seq, bond, id: Uuid::from_bytes(*id.as_bytes()) })
}

/// What a line (without its end) says, and what it has to do with its neighbours.
pub(super) fn parse(line: &[u8]) -> Result<(Found, Bond), RowError> {
    let (head, rest) = line.split_at_checked(CRC_HEAD_BYTES).ok_or(RowError::Damaged)?;
    let expected = format!("{{\"crc\":\"{:08x}\",", crc32fast::hash(rest));
    if head != expected.as_bytes() {
        return Err(RowError::Damaged);
    }
    let json = [b"{", rest].concat();
    // Before the record itself, which has the shape that this names.
    let Head { v, rest, more } = serde_json::from_slice(&json).map_err(malformed)?;
    let (seq, entry) = change(v, &json)?;
    Ok((Found { seq, entry }, Bond { rest, more }))
}

fn malformed(error: serde_json::Error) -> RowError {
    RowError::Malformed(error.to_string())
}

/// Reads the sequence number and the change in the JSON of a line whose record has shape `v`.
fn change(v: Option<u8>, json: &[u8]) -> Result<(u64, Entry), RowError> {
    let incoming = match v {
        Some(0) => return Err(RowError::Damaged),
        Some(newer) if newer > SHAPE => return Err(RowError::Newer(newer)),
        Some(older) if migrations::has_steps_from(older) => {
            let mut line = serde_json::from_slice(json).map_err(malformed)?;
            migrations::run(older, &mut line);
            Incoming::deserialize(serde_json::Value::Object(line)).map_err(malformed)?
        }
        _ => serde_json::from_slice(json).map_err(malformed)?,
    };
    Ok(match incoming {
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
