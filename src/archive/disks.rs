//! Disks inside of other files: members of an archive, and what a compressed file has in it. They are inspected as they are
//! after unpacking, and never unpacked to a place where a program could open them.

use std::io::{self, Read, Seek, SeekFrom};

use super::BundleError;
use super::meter::Meter;
use super::packing::Packing;
use super::sparse::SparseMap;
use super::tar::{MOST_HEADERS, MemberKind, TarEntries, TarEntry};
use super::unpack::{ReadingWay, Stream};
use crate::inspect::{Inspection, Inspector};

/// Bytes of a disk that are unpacked in order to inspect it. What its headers say lies before that, except in larger disks
/// the proof that their last byte is there.
const UNPACKED_MAX: u64 = 4 << 30;

/// Bytes that are handed on at a time.
const UNPACKED_PIECE: usize = 256 << 10;

/// Inspects the members of an archive, packed in any way, and hands each inspection on; an error of `judge` ends the work.
/// A file that is no archive has no members.
///
/// # Errors
/// The archive is damaged, or ends early; those of `judge`.
pub fn inspect_members<E: From<BundleError>>(
    mut file: impl Read + Seek,
    length: u64,
    go_on: &dyn Fn() -> bool,
    mut judge: impl FnMut(&Inspection) -> Result<(), E>,
) -> Result<(), E> {
    let meter = Meter::new(go_on);
    let packing = match read_head(&mut file).map(|head| Packing::of(&head)) {
        Ok(Some(packing)) if !matches!(packing, Packing::Squashfs | Packing::Qcow2) => packing,
        Ok(_) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let explained = |error| E::from(meter.explain(error));
    let stream = Stream::open(packing, ReadingWay::Whole, file, length, &meter).map_err(explained)?;
    let mut members = TarEntries::new(stream, MOST_HEADERS);
    // Parts of one file, whose names differ in a number at the end.
    let mut parts: Option<(Vec<u8>, Inspector)> = None;
    while let Some(member) = members.next().map_err(explained)? {
        if !matches!(member.kind, MemberKind::File | MemberKind::Sparse) {
            continue;
        }
        let whole = part_of(&member.name).map(<[u8]>::to_vec);
        let inspector = match parts.take() {
            Some((name, begun)) if Some(&name) == whole.as_ref() => begun,
            before => {
                before.map_or(Ok(()), |(_, begun)| judge(&begun.finish()))?;
                Inspector::new()
            }
        };
        let inspected = members.inspect(&member, inspector, u64::MAX).map_err(explained)?;
        match whole {
            Some(name) => parts = Some((name, inspected)),
            None => judge(&inspected.finish())?,
        }
    }
    parts.map_or(Ok(()), |(_, begun)| judge(&begun.finish()))
}

/// Name of the file that a member is a part of: OVF splits large disks into `NAME.000000000` and so on.
fn part_of(name: &[u8]) -> Option<&[u8]> {
    let (name, number) = name.split_at_checked(name.len().checked_sub(10)?)?;
    (number[0] == b'.' && number[1..].iter().all(u8::is_ascii_digit)).then_some(name)
}

/// Inspects the content of a file that is compressed in a known way. `None` for any other file. When `in_time` says that it
/// takes too long, the end of the content is left out.
///
/// # Errors
/// The file is damaged, or ends early.
pub fn inspect_unpacked(
    mut file: impl Read + Seek,
    length: u64,
    go_on: &dyn Fn() -> bool,
    in_time: &dyn Fn() -> bool,
) -> Result<Option<Inspection>, BundleError> {
    let packing = match Packing::of(&read_head(&mut file)?) {
        Some(packing) if packing.is_compression() => packing,
        _ => return Ok(None),
    };
    let meter = Meter::new(go_on);
    meter.allow(u64::MAX);
    let inspected = Stream::open(packing, ReadingWay::Whole, file, length, &meter).and_then(|mut stream| {
        let mut inspector = Inspector::new();
        while stream.feed(&mut inspector, u64::MAX)? > 0 {
            if !in_time() {
                return Ok(inspector.finish_early());
            }
        }
        Ok(inspector.finish())
    });
    inspected.map(Some).map_err(|error| meter.explain(error))
}

/// Unpacks a compressed file, and hands on what is in it, piece by piece. How much comes out is for the caller to bound.
///
/// # Errors
/// The file is damaged, or ends early; those of `each`, as [`BundleError::Io`].
pub fn unpack(
    packing: Packing,
    file: impl Read + Seek,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BundleError> {
    let meter = Meter::new(&|| true);
    meter.allow(u64::MAX);
    let unpacked = Stream::open(packing, ReadingWay::Whole, file, u64::MAX, &meter).and_then(|mut stream| {
        let mut piece = vec![0; UNPACKED_PIECE];
        loop {
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                got => each(&piece[..got]).map_err(BundleError::Io)?,
            }
        }
    });
    unpacked.map_err(|error| meter.explain(error))
}

impl<'a, R: Read + Seek + 'a> TarEntries<'a, R> {
    /// Inspects the disk that the member given last is.
    pub(super) fn inspect_disk(&mut self, member: &TarEntry) -> Result<Inspection, BundleError> {
        let inspector = self.inspect(member, Inspector::new(), UNPACKED_MAX)?;
        // Unread bytes are still there for the next member.
        Ok(if self.left() == 0 { inspector.finish() } else { inspector.finish_early() })
    }

    /// Feeds the member given last to an inspector, up to `most` bytes of a packed one.
    fn inspect(&mut self, member: &TarEntry, inspector: Inspector, most: u64) -> Result<Inspector, BundleError> {
        self.allow(self.left().min(most));
        match &member.sparse {
            Some(map) => self.inspect_sparse(map.clone(), inspector),
            None => self.inspect_plain(inspector, most),
        }
    }

    fn inspect_plain(&mut self, mut inspector: Inspector, most: u64) -> Result<Inspector, BundleError> {
        // What is not packed is gone through in leaps; a part of a file that others precede is not.
        if self.is_plain() && inspector.is_new() {
            let (size, mut at) = (self.left(), 0);
            while let Some(wanted) = inspector.wants(size) {
                self.skip(wanted.start - at)?;
                inspector.skip_to(wanted.start);
                self.feed(&mut inspector, wanted.end - wanted.start)?;
                at = wanted.end;
            }
            self.skip(size - at)?;
            inspector.skip_to(size);
        } else {
            self.feed(&mut inspector, self.left().min(most))?;
        }
        Ok(inspector)
    }

    fn inspect_sparse(&mut self, mut map: SparseMap, mut inspector: Inspector) -> Result<Inspector, BundleError> {
        if map.is_in_content() {
            map.read(|| self.content_block())?;
        }
        let mut at = 0;
        for (place, length) in map.pieces()? {
            inspector.feed_zeros(place - at);
            self.feed(&mut inspector, *length)?;
            at = place + length;
        }
        inspector.feed_zeros(map.size().saturating_sub(at));
        Ok(inspector)
    }
}

impl<'a, R: Read + Seek + 'a> Stream<'a, R> {
    /// Feeds up to `most` of the next bytes to an inspector, and says how many. None are left where that is zero.
    pub(super) fn feed(&mut self, inspector: &mut Inspector, most: u64) -> Result<u64, BundleError> {
        let mut piece = [0; 8 << 10];
        let wanted = usize::try_from(most).map_or(piece.len(), |most| most.min(piece.len()));
        let got = self.read(&mut piece[..wanted])?;
        inspector.feed(&piece[..got]);
        Ok(got as u64)
    }
}

/// The first bytes of a file, which stands at its beginning again.
pub(super) fn read_head(file: &mut (impl Read + Seek)) -> Result<Vec<u8>, BundleError> {
    let mut head = Vec::with_capacity(Packing::HEAD);
    let start = file.by_ref().take(Packing::HEAD as u64).read_to_end(&mut head);
    start.and_then(|_| file.seek(SeekFrom::Start(0)).map(drop)).map_err(BundleError::Io)?;
    Ok(head)
}
