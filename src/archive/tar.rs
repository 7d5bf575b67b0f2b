//! Walks along a tar: what its members are called and what they are, and the bytes of those that are asked for.
//!
//! It sees what LXD and GNU tar see, and refuses what they might see in different ways. Of the extensions only those that
//! change a name or a size matter; each is read into memory, so each is bounded.

use std::io::{self, Read, Seek};
use std::ops::Range;

use tar::{EntryType, Header};

use super::BundleError;
use super::meter::Meter;
use super::sparse::{SparseMap, decimal};
use super::unpack::Stream;
use crate::inspect::Inspector;

/// Bytes of a header, and of what contents are filled up to.
pub(super) const BLOCK: usize = 512;

/// Largest extension header, as in Go's reader, which LXD uses.
const MOST_EXTENSION: u64 = 1 << 20;

/// Headers that are read at most, which takes a third of a second. The largest distributions have some 300,000 files.
pub(super) const MOST_HEADERS: u32 = 500_000;

const DAMAGED: &str = "tarball";

/// Place of a header's sum.
const SUM: Range<usize> = 148..156;

/// Kind of an extension that GNU tar takes for POSIX's, and Go does not know.
const SOLARIS_EXTENSION: u8 = b'X';

/// A member of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TarEntry {
    pub(super) name: Vec<u8>,
    pub(super) kind: MemberKind,
    /// Bytes of the member's content.
    pub(super) size: u64,
    /// Holes between those bytes.
    pub(super) sparse: Option<SparseMap>,
}

/// Kinds of members, as far as they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberKind {
    File,
    Directory,
    /// A file with holes, which are not in its bytes.
    Sparse,
    /// Symbolic or hard.
    Link,
    Other,
}

/// Values of the extensions before a member's header.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: Option<SparseMap>,
    /// The name is that of a sparse file.
    is_proper: bool,
    /// Extensions that can carry a name: readers do not agree on which of two counts.
    names: u32,
}

/// The members of an archive, one after the other.
pub(super) struct TarEntries<'a, R> {
    stream: Stream<'a, R>,
    /// Unread bytes of the last member, and the filling of its last block.
    left: u64,
    padding: u64,
    /// Headers that may still be read.
    headers: u32,
    /// The first header, if it was read before.
    first: Option<Header>,
}

impl<'a, R: Read + Seek + 'a> TarEntries<'a, R> {
    pub(super) fn new(stream: Stream<'a, R>, most_headers: u32) -> Self {
        Self { stream, left: 0, padding: 0, headers: most_headers, first: None }
    }

    /// The members of an archive whose first block was read before.
    pub(super) fn behind(first: &[u8; BLOCK], stream: Stream<'a, R>, most_headers: u32) -> Self {
        Self { first: Some(Header::from_byte_slice(first).clone()), ..Self::new(stream, most_headers) }
    }

    /// The next one; None behind the last.
    pub(super) fn next(&mut self) -> Result<Option<TarEntry>, BundleError> {
        let mut extensions = Extensions::default();
        loop {
            self.stream.skip(self.left.saturating_add(self.padding))?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else { return Ok(None) };
            let size = size_of(&header, &extensions)?;
            let flag = header.as_bytes()[156];
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK as u64;
            match header.entry_type() {
                EntryType::GNULongName => {
                    extensions.names += 1;
                    let mut name = self.extension()?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    extensions.name = Some(name);
                }
                // Where links lead to does not matter.
                EntryType::GNULongLink => drop(self.extension()?),
                EntryType::XHeader => {
                    extensions.names += 1;
                    extensions.take(&self.extension()?)?;
                }
                EntryType::XGlobalHeader => {
                    let mut global = Extensions::default();
                    global.take(&self.extension()?)?;
                    if global.name.is_some() || global.size.is_some() || global.sparse.is_some() {
                        return Err(BundleError::Refused("The tarball has one name or size for all of its members"));
                    }
                }
                _ if flag == SOLARIS_EXTENSION => {
                    return Err(BundleError::Refused("The tarball has an extension that only some programs know"));
                }
                _ if extensions.names > 1 => return Err(BundleError::Refused("A file in the tarball has two names")),
                kind => {
                    let name = extensions.name.unwrap_or_else(|| header.path_bytes().into_owned());
                    let mut sparse = extensions.sparse;
                    if kind == EntryType::GNUSparse {
                        let map = self.map(&header)?;
                        if sparse.replace(map).is_some() {
                            return Err(BundleError::damaged(DAMAGED));
                        }
                    }
                    let kind = kind_of(kind, &name, sparse.is_some());
                    // For some programs its content is the next members. Of those that go by the name, some go by the header's own.
                    let is_directory =
                        kind == MemberKind::Directory || flag == 0 && header.path_bytes().ends_with(b"/");
                    if is_directory && size > 0 {
                        return Err(BundleError::Refused("A directory in the tarball has content"));
                    }
                    return Ok(Some(TarEntry { name, kind, size, sparse }));
                }
            }
        }
    }

    /// The bytes of the member that was given last, if they are no more than that.
    pub(super) fn content(&mut self, most: u64) -> Result<Option<Vec<u8>>, BundleError> {
        let Some(size) = usize::try_from(self.left).ok().filter(|_| self.left <= most) else { return Ok(None) };
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes)?;
        self.left = 0;
        Ok(Some(bytes))
    }

    fn extension(&mut self) -> Result<Vec<u8>, BundleError> {
        self.content(MOST_EXTENSION)?.ok_or(BundleError::TooMuch("has a name or an attribute that is too long"))
    }

    /// The next header; None at the end, which is two empty blocks or, in some archives, nothing.
    fn header(&mut self) -> Result<Option<Header>, BundleError> {
        let Some(header) = self.block()? else { return Ok(None) };
        let is_empty = |block: &Header| block.as_bytes().iter().all(|byte| *byte == 0);
        if is_empty(&header) {
            let end = self.block()?.is_none_or(|second| is_empty(&second));
            return if end { Ok(None) } else { Err(BundleError::damaged(DAMAGED)) };
        }
        let good = header.cksum().is_ok_and(|said| sums(header.as_bytes()).contains(&i64::from(said)));
        if good { Ok(Some(header)) } else { Err(BundleError::damaged(DAMAGED)) }
    }

    fn block(&mut self) -> Result<Option<Header>, BundleError> {
        let many = BundleError::TooMuch("has too many files");
        self.headers = self.headers.checked_sub(1).ok_or(many)?;
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let mut header = Header::new_old();
        match self.stream.read(header.as_mut_bytes())? {
            0 => Ok(None),
            BLOCK => Ok(Some(header)),
            _ => Err(BundleError::Truncated),
        }
    }

    /// Reads the map of a GNU sparse file: four pieces in its header, the others between that and its bytes.
    fn map(&mut self, header: &Header) -> Result<SparseMap, BundleError> {
        let gnu = header.as_gnu().ok_or(BundleError::damaged(DAMAGED))?;
        let size = number(&gnu.realsize).ok_or(BundleError::damaged(DAMAGED))?;
        let mut map = SparseMap::of_size(size);
        for piece in &gnu.sparse {
            put_piece(&mut map, &piece.offset, &piece.numbytes);
        }
        let mut more = gnu.is_extended();
        while more {
            let block = self.block()?.ok_or(BundleError::Truncated)?;
            let (pieces, _) = block.as_bytes()[..504].as_chunks::<12>();
            pieces.chunks_exact(2).for_each(|piece| put_piece(&mut map, &piece[0], &piece[1]));
            more = block.as_bytes()[504] != 0;
        }
        Ok(map)
    }

    /// Unread bytes of the member that was given last.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// True if unwanted bytes are skipped, and not read.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain { .. })
    }

    /// The count of what is read and unpacked.
    pub(super) fn meter(&self) -> &'a Meter<'a> {
        self.stream.meter()
    }

    /// Skips bytes of the member that was given last.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), BundleError> {
        self.left = self.left.checked_sub(count).ok_or(BundleError::Truncated)?;
        self.stream.skip(count)
    }

    /// Feeds bytes of the member that was given last to inspectors.
    pub(super) fn feed(&mut self, inspectors: &mut [Inspector], mut count: u64) -> Result<(), BundleError> {
        self.left = self.left.checked_sub(count).ok_or(BundleError::damaged(DAMAGED))?;
        while count > 0 {
            match self.stream.feed(inspectors, count)? {
                0 => return Err(BundleError::Truncated),
                got => count -= got,
            }
        }
        Ok(())
    }

    /// Hands on bytes of the member that was given last, piece by piece.
    pub(super) fn copy(
        &mut self,
        piece: &mut [u8],
        mut count: u64,
        each: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BundleError> {
        self.left = self.left.checked_sub(count).ok_or(BundleError::damaged(DAMAGED))?;
        while count > 0 {
            let wanted = usize::try_from(count).map_or(piece.len(), |count| count.min(piece.len()));
            self.stream.read_exact(&mut piece[..wanted])?;
            each(&piece[..wanted]).map_err(BundleError::Io)?;
            count -= wanted as u64;
        }
        Ok(())
    }

    /// The next block of the content of the member that was given last.
    pub(super) fn content_block(&mut self) -> Result<[u8; BLOCK], BundleError> {
        let mut block = [0; BLOCK];
        self.left = self.left.checked_sub(BLOCK as u64).ok_or(BundleError::damaged(DAMAGED))?;
        self.stream.read_exact(&mut block)?;
        Ok(block)
    }
}

/// Adds a piece in a header to a map; an empty field ends the list.
fn put_piece(map: &mut SparseMap, place: &[u8; 12], length: &[u8; 12]) {
    if length[0] != 0 {
        map.add(number(place).zip(number(length)));
    }
}

impl Extensions {
    /// Reads POSIX's: `length name=value`, each with a line feed behind it. Values can have any bytes.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), BundleError> {
        let damaged = || BundleError::damaged(DAMAGED);
        while !bytes.is_empty() {
            let space = bytes.iter().take(8).position(|byte| *byte == b' ').ok_or_else(damaged)?;
            let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
            let (record, rest) = length.and_then(|length| bytes.split_at_checked(length)).ok_or_else(damaged)?;
            let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(damaged)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
            let (name, value) = (&record[..equals], &record[equals + 1..]);
            match name {
                // The name of a sparse file proper; `path` is then a made-up one.
                b"GNU.sparse.name" => {
                    self.sparse.get_or_insert_default();
                    (self.name, self.is_proper) = (Some(value.to_vec()), true);
                }
                b"path" if self.is_proper => {}
                b"path" => self.name = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value).ok_or_else(damaged)?),
                _ => {
                    if let Some(name) = name.strip_prefix(b"GNU.sparse.") {
                        self.sparse.get_or_insert_default().record(name, value);
                    }
                }
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// Bytes that follow a header. Links and devices have none, whatever the header says.
fn size_of(header: &Header, extensions: &Extensions) -> Result<u64, BundleError> {
    let flag = header.as_bytes()[156];
    if matches!(flag, b'1'..=b'4' | b'6') {
        return Ok(0);
    }
    let own = !matches!(flag, b'L' | b'K' | b'x' | b'g');
    let size = match extensions.size {
        Some(size) if own => Some(size),
        _ => number(&header.as_old().size),
    };
    size.filter(|size| i64::try_from(*size).is_ok()).ok_or(BundleError::damaged(DAMAGED))
}

/// Tells if a program may take these bytes for the header of a member: one whose sum is right, in whatever way it is written.
pub(super) fn may_be_header(head: &[u8]) -> bool {
    let Some(head) = head.first_chunk::<BLOCK>() else { return false };
    let field = &head[SUM];
    let octal =
        field.iter().filter(|byte| matches!(byte, b'0'..=b'7')).fold(0, |sum, digit| sum * 8 + i64::from(digit - b'0'));
    let binary = field[1..].iter().fold(0_i64, |sum, byte| sum.wrapping_mul(256) + i64::from(*byte));
    let found = sums(head);
    found.contains(&octal) || field[0] & 0x80 != 0 && found.contains(&binary)
}

/// The sum of a header's bytes, of which its own field counts as spaces; and of bytes with signs, as some programs add them.
fn sums(header: &[u8; BLOCK]) -> [i64; 2] {
    let others = || header.iter().enumerate().filter(|(at, _)| !SUM.contains(at)).map(|(_, byte)| *byte);
    let spaces = SUM.len() as i64 * i64::from(b' ');
    [spaces + others().map(i64::from).sum::<i64>(), spaces + others().map(|byte| i64::from(byte as i8)).sum::<i64>()]
}

fn kind_of(kind: EntryType, name: &[u8], sparse: bool) -> MemberKind {
    match kind {
        EntryType::Regular | EntryType::Continuous if sparse => MemberKind::Sparse,
        EntryType::GNUSparse => MemberKind::Sparse,
        // So directories were written once.
        EntryType::Regular if name.ends_with(b"/") => MemberKind::Directory,
        EntryType::Regular | EntryType::Continuous => MemberKind::File,
        EntryType::Directory => MemberKind::Directory,
        EntryType::Symlink | EntryType::Link => MemberKind::Link,
        _ => MemberKind::Other,
    }
}

/// A number in a header: octal digits, or 96 bits behind a mark.
fn number(field: &[u8; 12]) -> Option<u64> {
    if let [0x80, 0, 0, 0, rest @ ..] = field {
        return Some(u64::from_be_bytes(*rest));
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    text.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}
