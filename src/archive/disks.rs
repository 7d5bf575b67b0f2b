//! Disks inside of other files: members of an archive, and what a compressed file has in it. They are inspected as they are
//! after unpacking, and never unpacked to a place where a program could open them.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, SeekFrom};
use std::slice;

use super::BundleError;
use super::meter::Meter;
use super::packing::Packing;
use super::sparse::{SparseMap, decimal};
use super::tar::{MOST_HEADERS, MemberKind, TarEntries, TarEntry, may_be_header};
use super::unpack::{ReadingWay, Stream};
use crate::inspect::{Inspection, Inspector};

/// Bytes of a disk that are unpacked in order to inspect it. What its headers say lies before that, except in larger disks
/// the proof that their last byte is there.
const UNPACKED_MAX: u64 = 4 << 30;

/// Inspects the members of an archive, packed in any way, and hands each inspection on; an error of `judge` ends the work.
/// A file that no program takes for an archive has no members.
///
/// # Errors
/// The archive is damaged, ends early, or unpacks to far more than it is; those of `judge`.
pub fn inspect_members<E: From<BundleError>>(
    mut file: impl Read + Seek,
    length: u64,
    go_on: &dyn Fn() -> bool,
    mut judge: impl FnMut(&Inspection) -> Result<(), E>,
) -> Result<(), E> {
    let head = read_head(&mut file)?;
    // A member may be called what other files begin with.
    let packing = if may_be_header(&head) { Some(Packing::Tar) } else { Packing::of(&head) };
    let packing = match packing {
        Some(packing) if !matches!(packing, Packing::Squashfs | Packing::Qcow2) => packing,
        _ => return Ok(()),
    };
    let meter = Meter::new(go_on);
    meter.allow(UNPACKED_MAX);
    let explained = |error| E::from(meter.explain(error));
    let stream = Stream::open(packing, ReadingWay::Whole, file, length, &meter).map_err(explained)?;
    let mut members = TarEntries::new(stream, MOST_HEADERS);
    let mut parts = Parts::default();
    while let Some(member) = members.next().map_err(explained)? {
        let part = part_of(&member.name);
        if let Some(joined) = parts.end_before(part) {
            judge(&joined.finish())?;
        }
        if let Some(part) = part {
            let mut both = [parts.joined(&member, part)?, Inspector::new()];
            members.inspect(&member, &mut both).map_err(explained)?;
            let [joined, own] = both;
            parts.begun = Some((part.0.to_vec(), part.1, joined));
            // One by itself has not all that its headers speak of.
            judge(&own.finish_early())?;
        } else if members.left() > 0 || member.sparse.is_some() {
            // What is of no known kind is a file for other programs.
            let mut one = [Inspector::new()];
            members.inspect(&member, &mut one).map_err(explained)?;
            let [inspector] = one;
            judge(&inspector.finish())?;
        }
    }
    parts.end_before(None).map_or(Ok(()), |joined| judge(&joined.finish()))
}

/// Parts of files: OVF splits large disks into `NAME.000000000` and so on. Some programs join them, and others may open one by
/// itself.
#[derive(Default)]
struct Parts {
    /// A file that parts were found of: its name, the number of the last part, and all of them as one.
    begun: Option<(Vec<u8>, u32, Inspector)>,
    /// Files whose parts were found, as sums of their names.
    all: HashSet<u64>,
    sums: RandomState,
}

impl Parts {
    /// Ends the file that was begun, if this is no part of it.
    fn end_before(&mut self, part: Option<(&[u8], u32)>) -> Option<Inspector> {
        let ended = self.begun.take_if(|(name, ..)| part.is_none_or(|(of, _)| of != name.as_slice()));
        ended.map(|(_, _, inspector)| inspector)
    }

    /// The inspector of the file that this is the next part of. Parts in another order, or of a second file of this name, would be
    /// joined in another way after unpacking.
    fn joined(&mut self, member: &TarEntry, (name, number): (&[u8], u32)) -> Result<Inspector, BundleError> {
        let next = match self.begun.take() {
            Some((_, last, inspector)) => (number == last + 1).then_some(inspector),
            None => (number == 0 && self.all.insert(self.sums.hash_one(name))).then(Inspector::new),
        };
        let is_file = matches!(member.kind, MemberKind::File | MemberKind::Sparse);
        next.filter(|_| is_file)
            .ok_or(BundleError::Refused("The parts of a file in the tarball are not in their order"))
    }
}

/// The file that a member is a part of, without its folder, and the number of the part.
fn part_of(name: &[u8]) -> Option<(&[u8], u32)> {
    let name = name.rsplit(|byte| *byte == b'/').next()?;
    let (name, number) = name.split_at_checked(name.len().checked_sub(10)?)?;
    let number = number.strip_prefix(b".").and_then(decimal)?;
    Some((name, u32::try_from(number).ok()?))
}

/// Inspects the content of a file that is compressed in a known way. `None` for any other file. When `in_time` says that it
/// takes too long, or when far more comes out than went in, the end of the content is left out.
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
    meter.allow(UNPACKED_MAX);
    let inspected = Stream::open(packing, ReadingWay::Whole, file, length, &meter).and_then(|mut stream| {
        let mut inspector = Inspector::new();
        loop {
            match stream.feed(slice::from_mut(&mut inspector), u64::MAX) {
                Ok(0) => return Ok(inspector.finish()),
                Ok(_) if in_time() => {}
                Err(error) if !meter.is_excessive() => return Err(error),
                Ok(_) | Err(_) => return Ok(inspector.finish_early()),
            }
        }
    });
    inspected.map(Some).map_err(|error| meter.explain(error))
}

impl<'a, R: Read + Seek + 'a> TarEntries<'a, R> {
    /// Inspects the disk that the member given last is.
    pub(super) fn inspect_disk(&mut self, member: &TarEntry) -> Result<Inspection, BundleError> {
        let mut one = [Inspector::new()];
        self.meter().allow(self.left().min(UNPACKED_MAX));
        match &member.sparse {
            None if !self.is_plain() => self.feed(&mut one, self.left().min(UNPACKED_MAX))?,
            _ => self.inspect(member, &mut one)?,
        }
        let [inspector] = one;
        // Unread bytes are still there for the next member.
        Ok(if self.left() == 0 { inspector.finish() } else { inspector.finish_early() })
    }

    /// Feeds the member given last to inspectors.
    fn inspect(&mut self, member: &TarEntry, inspectors: &mut [Inspector]) -> Result<(), BundleError> {
        match (&member.sparse, inspectors) {
            (Some(map), inspectors) => self.inspect_sparse(map.clone(), inspectors),
            // What is not packed is gone through in leaps; a part of a file is not.
            (None, [inspector]) if self.is_plain() => self.inspect_in_leaps(inspector),
            (None, inspectors) => self.feed(inspectors, self.left()),
        }
    }

    fn inspect_in_leaps(&mut self, inspector: &mut Inspector) -> Result<(), BundleError> {
        let (size, mut at) = (self.left(), 0);
        while let Some(wanted) = inspector.wants(size) {
            self.skip(wanted.start - at)?;
            inspector.skip_to(wanted.start);
            self.feed(slice::from_mut(inspector), wanted.end - wanted.start)?;
            at = wanted.end;
        }
        self.skip(size - at)?;
        inspector.skip_to(size);
        Ok(())
    }

    fn inspect_sparse(&mut self, mut map: SparseMap, inspectors: &mut [Inspector]) -> Result<(), BundleError> {
        if map.is_in_content() {
            map.read(|| self.content_block())?;
        }
        let meter = self.meter();
        let hole = |inspectors: &mut [Inspector], bytes| {
            inspectors.iter_mut().try_for_each(|inspector| inspector.feed_zeros(bytes, || meter.ask()))
        };
        let mut at = 0;
        for (place, length) in map.pieces()? {
            hole(inspectors, place - at)?;
            self.feed(inspectors, *length)?;
            at = place + length;
        }
        hole(inspectors, map.size() - at)?;
        // Bytes that the map has no place for are the file, for a program that does not know the map.
        if self.left() > 0 { Err(BundleError::damaged("tarball")) } else { Ok(()) }
    }
}

impl<'a, R: Read + Seek + 'a> Stream<'a, R> {
    /// Feeds up to `most` of the next bytes to inspectors, and says how many. None are left where that is zero.
    pub(super) fn feed(&mut self, inspectors: &mut [Inspector], most: u64) -> Result<u64, BundleError> {
        let mut piece = [0; 8 << 10];
        let wanted = usize::try_from(most).map_or(piece.len(), |most| most.min(piece.len()));
        let got = self.read(&mut piece[..wanted])?;
        inspectors.iter_mut().for_each(|inspector| inspector.feed(&piece[..got]));
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
