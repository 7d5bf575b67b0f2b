//! Unpacking of a disk: out of a compressed file, and out of an archive with one disk in it. It is handed on piece by piece; a
//! place on a disk, and how much may come, are for the caller.

use std::io::{self, Read, Seek};

use super::BundleError;
use super::meter::{KEPT_MAX, Meter};
use super::packing::Packing;
use super::tar::{BLOCK, MOST_HEADERS, MemberKind, TarEntries, TarEntry, may_be_header};
use super::unpack::{ReadingWay, Stream};
use crate::inspect::{Detected, Inspector};

/// Bytes that are handed on at a time.
const UNPACKED_PIECE: usize = 256 << 10;

/// Form of the content that is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// As it comes out of the compression.
    Plain,
    /// Of an archive, the one file in it; of anything else, as it comes out of the compression.
    OneDisk,
}

/// Bytes that tell the format of a disk, in all formats that tell it at their beginning.
const TELLING: usize = 1 << 20;

/// Form of a file that may have a disk packed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrapping {
    /// Packing around the disk, if there is one: a compression, an archive, or one in the other.
    pub packing: Option<Packing>,
    /// True if the disk lies in an archive.
    pub in_archive: bool,
    /// Format of the disk, by its first bytes.
    pub disk: Detected,
    /// Reason for which it can't be a disk, if there is one.
    pub no_disk: Option<&'static str>,
}

impl Wrapping {
    fn of(packing: Option<Packing>, in_archive: bool, first: &[u8]) -> Self {
        let disk = told(first);
        // Some formats begin with text.
        let no_disk = why_no_disk(first).filter(|_| disk == Detected::Raw);
        Self { packing, in_archive, disk, no_disk }
    }
}

/// Tells the form of a file by its first bytes. `go_on` is asked for every piece that is read.
///
/// # Errors
/// The file is damaged, ends early, or is an archive with nothing in it; or it can't be read; the work was stopped.
pub fn sniff(mut file: impl Read + Seek, go_on: &dyn Fn() -> bool) -> Result<Wrapping, BundleError> {
    let head = super::disks::read_head(&mut file)?;
    let is_archive = |head: &[u8]| head.first_chunk::<BLOCK>().is_some_and(|head| may_be_header(head));
    let packing = if is_archive(&head) { Some(Packing::Tar) } else { Packing::of(&head) };
    let is_packed = |packing: &Packing| *packing == Packing::Tar || packing.is_proven_compression();
    let packing = packing.filter(is_packed);
    let mut first = Vec::new();
    let Some(packing) = packing else {
        file.take(TELLING as u64).read_to_end(&mut first).map_err(BundleError::Io)?;
        return Ok(Wrapping::of(None, false, &first));
    };
    let in_archive = packing == Packing::Tar || {
        let mut head = Vec::new();
        begin(packing, &mut file, (Content::Plain, go_on), BLOCK, &mut head)?;
        is_archive(&head)
    };
    begin(packing, &mut file, (Content::OneDisk, go_on), TELLING, &mut first)?;
    Ok(Wrapping::of(Some(packing), in_archive, &first))
}

/// Unpacks the first bytes of a file, from its beginning.
fn begin(
    packing: Packing,
    file: &mut (impl Read + Seek),
    (content, go_on): (Content, &dyn Fn() -> bool),
    most: usize,
    into: &mut Vec<u8>,
) -> Result<(), BundleError> {
    file.rewind().map_err(BundleError::Io)?;
    let unpacked = unpack_while(packing, file, content, go_on, |piece| {
        into.extend_from_slice(&piece[..piece.len().min(most - into.len())]);
        if into.len() < most { Ok(()) } else { Err(io::Error::other("this is enough")) }
    });
    // The work was ended from here.
    if into.len() == most { Ok(()) } else { unpacked }
}

/// Tells why bytes that begin so are no disk: pages of errors, lists and notes come under names of disks, and a raw disk has no mark.
fn why_no_disk(first: &[u8]) -> Option<&'static str> {
    let sector = &first[..first.len().min(BLOCK)];
    let is_text = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\x0c'));
    match std::str::from_utf8(sector) {
        Ok("") => Some("it is empty"),
        Ok(text) if is_text(text) => Some("it is text"),
        // A letter may go on in the next sector.
        Err(error) if error.error_len().is_none() && sector.len() == BLOCK => {
            let text = std::str::from_utf8(&sector[..error.valid_up_to()]).unwrap_or_default();
            is_text(text).then_some("it is text")
        }
        _ => None,
    }
}

fn told(first: &[u8]) -> Detected {
    let mut inspector = Inspector::new();
    inspector.feed(first);
    inspector.finish_early().format
}

/// Unpacks a compressed file, and hands on what is in it, piece by piece. How much is handed on is for the caller to bound; what is
/// skipped has to be in proportion.
///
/// # Errors
/// The file is damaged, or ends early; an archive has another number of files than one; those of `each`, as
/// [`BundleError::Io`].
pub fn unpack(
    packing: Packing,
    file: impl Read + Seek,
    content: Content,
    each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BundleError> {
    unpack_while(packing, file, content, &|| true, each)
}

fn unpack_while(
    packing: Packing,
    file: impl Read + Seek,
    content: Content,
    go_on: &dyn Fn() -> bool,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BundleError> {
    let meter = Meter::new(go_on);
    meter.allow(KEPT_MAX);
    let mut each = |piece: &[u8]| {
        meter.allow(piece.len() as u64);
        each(piece)
    };
    let stream = Stream::open(packing, ReadingWay::Whole, file, u64::MAX, &meter);
    let unpacked = stream.and_then(|mut stream| {
        let mut piece = vec![0; UNPACKED_PIECE];
        let got = stream.read(&mut piece[..BLOCK])?;
        let head = piece.first_chunk::<BLOCK>().filter(|head| got == BLOCK && may_be_header(*head)).copied();
        match head.filter(|_| content == Content::OneDisk) {
            Some(head) => one_disk(TarEntries::behind(&head, stream, MOST_HEADERS), &mut piece, &mut each),
            None => rest(stream, got, &mut piece, &mut each),
        }
    });
    unpacked.map_err(|error| meter.explain(error))
}

/// Hands on the first bytes, which stand in the piece, and all that follow.
fn rest<'a, R: Read + Seek + 'a>(
    mut stream: Stream<'a, R>,
    first: usize,
    piece: &mut [u8],
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BundleError> {
    let mut got = first;
    while got > 0 {
        each(&piece[..got]).map_err(BundleError::Io)?;
        got = stream.read(piece)?;
    }
    Ok(())
}

/// Hands on the one file of an archive.
fn one_disk<'a, R: Read + Seek + 'a>(
    mut members: TarEntries<'a, R>,
    piece: &mut [u8],
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BundleError> {
    let mut found = false;
    while let Some(member) = members.next()? {
        let is_file = matches!(member.kind, MemberKind::File | MemberKind::Sparse);
        if !is_file || (members.left() == 0 && member.sparse.is_none()) {
            continue;
        }
        if std::mem::replace(&mut found, true) {
            return Err(BundleError::Refused("The archive has several files: one of them alone can be an image"));
        }
        members.hand_on(&member, piece, each)?;
    }
    if found { Ok(()) } else { Err(BundleError::Refused("The archive has no file in it that could be an image")) }
}

impl<'a, R: Read + Seek + 'a> TarEntries<'a, R> {
    /// Hands on the content of the member given last, with zeros for its holes.
    fn hand_on(
        &mut self,
        member: &TarEntry,
        piece: &mut [u8],
        each: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), BundleError> {
        let Some(mut map) = member.sparse.clone() else { return self.copy(piece, self.left(), each) };
        if map.is_in_content() {
            map.read(|| self.content_block())?;
        }
        let mut at = 0;
        for (place, length) in map.pieces()? {
            zeros(place - at, piece, each)?;
            self.copy(piece, *length, each)?;
            at = place + length;
        }
        zeros(map.size() - at, piece, each)?;
        if self.left() > 0 { Err(BundleError::damaged("tarball")) } else { Ok(()) }
    }
}

/// Hands on zeros.
fn zeros(mut count: u64, piece: &mut [u8], each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), BundleError> {
    piece.fill(0);
    while count > 0 {
        let length = usize::try_from(count).map_or(piece.len(), |count| count.min(piece.len()));
        each(&piece[..length]).map_err(BundleError::Io)?;
        count -= length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::archive::disk_tests::two;
    use crate::archive::fake::{PACKINGS, archive, member, pack};
    use crate::archive::tests::made;

    /// What comes out, and how it ended.
    fn unpacked(packing: Packing, bytes: &[u8], content: Content) -> (Vec<u8>, Result<(), BundleError>) {
        let mut whole = Vec::new();
        let pieces = |piece: &[u8]| {
            whole.extend_from_slice(piece);
            Ok(())
        };
        let outcome = unpack(packing, Cursor::new(bytes), content, pieces);
        (whole, outcome)
    }

    fn qcow2() -> Vec<u8> {
        let mut disk = two()[..200_000].to_vec();
        disk[299..].fill(0);
        disk
    }

    fn noise() -> Vec<u8> {
        (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    #[test]
    fn a_compressed_file_is_unpacked_piece_by_piece() {
        for packing in PACKINGS.into_iter().filter(|packing| packing.is_compression()) {
            let packed = pack(packing, &noise());
            for content in [Content::Plain, Content::OneDisk] {
                let (whole, outcome) = unpacked(packing, &packed, content);
                assert!(outcome.is_ok() && whole == noise(), "{packing:?}");
            }
            let cut = unpacked(packing, &packed[..packed.len() / 2], Content::Plain).1;
            assert!(matches!(cut, Err(BundleError::Truncated)), "{packing:?} {cut:?}");
            let gone = unpack(packing, Cursor::new(&packed), Content::Plain, |_| Err(io::Error::other("gone")));
            assert!(matches!(gone, Err(BundleError::Io(_))), "{packing:?} {gone:?}");
        }
    }

    #[test]
    fn the_one_disk_of_an_archive_comes_out() {
        let folder = member("images/", b'5', b"");
        let empty = member("images/.keep", b'0', b"");
        let whole = archive(&[folder, empty, member("images/disk.raw", b'0', &noise()), member("latest", b'2', b"")]);
        for packing in PACKINGS {
            let packed = pack(packing, &whole);
            let (disk, outcome) = unpacked(packing, &packed, Content::OneDisk);
            assert!(outcome.is_ok() && disk == noise(), "{packing:?} {outcome:?}");
            assert!(unpacked(packing, &packed, Content::Plain).0 == whole, "it was not asked for: {packing:?}");
            let cut = unpacked(packing, &packed[..packed.len() / 2], Content::OneDisk).1;
            assert!(matches!(cut, Err(BundleError::Truncated)), "{packing:?} {cut:?}");
        }
    }

    #[test]
    fn the_first_bytes_tell_what_is_in_a_file() {
        let disk = qcow2();
        let in_archive = archive(&[member("a/", b'5', b""), member("a/disk.img", b'0', &disk)]);
        for packing in PACKINGS {
            let found = sniff(Cursor::new(pack(packing, &in_archive)), &|| true).unwrap();
            if packing == Packing::Lzma {
                assert_eq!(found.packing, None, "what begins like it is no proof of it");
                continue;
            }
            assert_eq!(
                found,
                Wrapping { packing: Some(packing), in_archive: true, disk: Detected::Qcow2, no_disk: None }
            );
            if packing.is_compression() && packing != Packing::Lzma {
                let found = sniff(Cursor::new(pack(packing, &disk)), &|| true).unwrap();
                assert_eq!(
                    found,
                    Wrapping { packing: Some(packing), in_archive: false, disk: Detected::Qcow2, no_disk: None }
                );
            }
        }
        for (bytes, disk) in [(disk.as_slice(), Detected::Qcow2), (&[0; 600], Detected::Raw)] {
            let found = sniff(Cursor::new(bytes), &|| true).unwrap();
            assert_eq!(found, Wrapping { packing: None, in_archive: false, disk, no_disk: None });
        }
        assert!(sniff(Cursor::new(&pack(Packing::Gzip, &noise())[..100]), &|| true).is_err());
    }

    #[test]
    fn text_and_nothing_are_no_disks() {
        let page = b"<!DOCTYPE html>\n<title>404 Not Found</title>\r\n".to_vec();
        let long = "\u{e9}".repeat(2000).into_bytes();
        for (bytes, expected) in [
            (Vec::new(), Some("it is empty")),
            (page.clone(), Some("it is text")),
            (long[..].to_vec(), Some("it is text")),
            ([b"a", &long[..]].concat(), Some("it is text")),
            (vec![0; 4096], None),
            (noise(), None),
        ] {
            assert_eq!(why_no_disk(&bytes), expected, "{:?}", &bytes[..bytes.len().min(20)]);
        }
        let packed = sniff(Cursor::new(pack(Packing::Gzip, &page)), &|| true).unwrap();
        assert_eq!(packed.no_disk, Some("it is text"));
        let readme = archive(&[member("readme", b'0', &page)]);
        assert_eq!(sniff(Cursor::new(readme), &|| true).unwrap().no_disk, Some("it is text"));
    }

    /// A disk may be all zeros, and its taker bounds it. Only this rule bounds the bytes that are skipped.
    #[test]
    fn what_is_skipped_has_to_be_in_proportion() {
        let zeros = vec![0; 200 << 20];
        let disk = archive(&[member("disk.raw", b'0', &zeros)]);
        let mut length = 0;
        let count = |piece: &[u8]| {
            length += piece.len();
            Ok(())
        };
        unpack(Packing::Gzip, Cursor::new(pack(Packing::Gzip, &disk)), Content::OneDisk, count).unwrap();
        assert_eq!(length, zeros.len());
        let skipped = pack(Packing::Gzip, &archive(&[member("label", b'V', &zeros), member("disk.raw", b'0', b"x")]));
        let outcome = unpack(Packing::Gzip, Cursor::new(&skipped), Content::OneDisk, |_| Ok(()));
        assert!(matches!(outcome, Err(BundleError::TooMuch(_))), "{outcome:?}");
        assert!(sniff(Cursor::new(&skipped), &|| true).is_err());
        let stopped = sniff(Cursor::new(&skipped), &|| false);
        assert!(matches!(stopped, Err(BundleError::Stopped)), "{stopped:?}");
    }

    #[test]
    fn holes_come_out_as_zeros() {
        for (name, bytes) in [
            made!("two-gnu.tar.gz"),
            made!("two-oldgnu.tar.gz"),
            made!("two-0.0.tar.gz"),
            made!("two-0.1.tar.gz"),
            made!("two-1.0.tar.gz"),
        ] {
            let (disk, outcome) = unpacked(Packing::Gzip, bytes, Content::OneDisk);
            assert!(disk == two(), "{name}");
            assert!(matches!(outcome, Err(BundleError::Refused(_))), "a description stands behind it: {outcome:?}");
        }
    }

    #[test]
    fn an_archive_that_leaves_a_choice_is_refused() {
        let (one, two) = (member("a.raw", b'0', b"one"), member("b.raw", b'0', b"two"));
        for (members, why) in [
            (vec![one.clone(), two], "several files"),
            (vec![one, member("a.raw", b'0', b"again")], "several files"),
            (vec![member("folder/", b'5', b"")], "no file"),
            (vec![member("empty.raw", b'0', b"")], "no file"),
        ] {
            let refused = unpacked(Packing::Tar, &archive(&members), Content::OneDisk).1.unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
