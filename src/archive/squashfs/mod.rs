//! A bounded look into a squashfs: what stands in its root directory, and the bytes of one small file there.
//!
//! Libraries for it read the tables of all files first, which are as many as the maker of the image liked. This reads what
//! leads to one file: the superblock, the root's inode, its directory, that file's inode and its blocks.

mod blocks;
mod lzo;

use std::io::{Read, Seek};

use self::blocks::{Blocks, Cursor};
use super::BundleError;
use super::contents::{Contents, Task};
use super::manifest::{MOST_BYTES, Manifest};
use super::meter::{Meter, Taken};
use super::tar::MemberKind;
use crate::inspect::{Inspection, Inspector};

/// An image's root directory has three or four names in it.
const MOST_DIRECTORY: u32 = 1 << 20;

/// Names whose inodes are read.
const MATTER: [&[u8]; 3] = [b"metadata.yaml", b"rootfs", b"rootfs.img"];

/// No fragment: the last bytes of a file have a block of their own.
const NO_FRAGMENT: u32 = u32::MAX;

fn damaged() -> BundleError {
    BundleError::damaged("squashfs")
}

/// Looks for what an image has in a squashfs of this length.
pub(super) fn search<R: Read + Seek>(
    file: Taken<'_, R>,
    length: u64,
    meter: &Meter<'_>,
    contents: &mut Contents,
) -> Result<(), BundleError> {
    let mut disk = Squashfs::open(Blocks::new(file, length, meter))?;
    for (name, place) in disk.root_directory()? {
        if !MATTER.contains(&name.as_slice()) {
            continue;
        }
        let inode = disk.inode(place)?;
        let kind = match inode {
            Inode::File(_) => MemberKind::File,
            Inode::Directory { .. } => MemberKind::Directory,
            Inode::Link => MemberKind::Link,
            Inode::Other => MemberKind::Other,
        };
        match (contents.member(&name, kind)?, inode) {
            (Task::Read, Inode::File(file)) => contents.manifest = Some(Manifest::parse(&disk.content(&file)?)?),
            (Task::Inspect, Inode::File(file)) => contents.disk = Some(disk.inspect(&file)?),
            _ => {}
        }
    }
    Ok(())
}

/// Place of an inode: of its block in the table, and within the block.
#[derive(Clone, Copy)]
struct BlockRange {
    block: u64,
    offset: u16,
}

/// Facts of an inode.
enum Inode {
    File(File),
    Directory { place: BlockRange, size: u32 },
    Link,
    Other,
}

struct File {
    /// Place of its first block.
    start: u64,
    size: u64,
    fragment: u32,
    /// Its place in the fragment.
    offset: u32,
    /// The sizes of its blocks as they are stored, of a small file.
    blocks: Vec<u32>,
    /// Place of its inode, and the bytes of that before the sizes of the blocks.
    inode: (BlockRange, usize),
}

struct Squashfs<'a, R> {
    blocks: Blocks<'a, R>,
    root: BlockRange,
    inodes: u64,
    directories: u64,
    fragments: u64,
    fragment_count: u32,
}

impl<'a, R: Read + Seek> Squashfs<'a, R> {
    fn open(mut blocks: Blocks<'a, R>) -> Result<Self, BundleError> {
        let head = blocks.stored(0, 96)?;
        let mut head = Cursor(&head);
        head.skip(12)?;
        let block_size = head.u32()?;
        let fragment_count = head.u32()?;
        let compression = head.u16()?;
        let block_log = head.u16()?;
        head.skip(4)?;
        let version = (head.u16()?, head.u16()?);
        let root = BlockRange::of(head.u64()?);
        head.skip(24)?;
        let (inodes, directories, fragments) = (head.u64()?, head.u64()?, head.u64()?);
        if version != (4, 0) || !(12..=20).contains(&block_log) || block_size != 1 << block_log {
            return Err(damaged());
        }
        blocks.set_form(compression, block_size)?;
        Ok(Self { blocks, root, inodes, directories, fragments, fragment_count })
    }

    /// The names in the root, and where their inodes are. They are in order, so none is there twice.
    fn root_directory(&mut self) -> Result<Vec<(Vec<u8>, BlockRange)>, BundleError> {
        let Inode::Directory { place, size } = self.inode(self.root)? else { return Err(damaged()) };
        // Three bytes stand for the two entries that are not written.
        let size = size.saturating_sub(3);
        if size > MOST_DIRECTORY {
            return Err(BundleError::TooMuch("has too many files in its root"));
        }
        let listing = self.table(self.directories, place, size as usize)?;
        let mut listing = Cursor(&listing);
        let mut names: Vec<(Vec<u8>, BlockRange)> = Vec::new();
        while !listing.0.is_empty() {
            let (count, block) = (listing.u32()?, listing.u32()?);
            listing.skip(4)?;
            // One more than is written, and no more than 256.
            for _ in 0..=count.min(255) {
                let offset = listing.u16()?;
                listing.skip(4)?;
                let length = usize::from(listing.u16()?) + 1;
                let name = listing.take(length)?;
                if name.contains(&b'/') || names.last().is_some_and(|(last, _)| last.as_slice() >= name) {
                    return Err(damaged());
                }
                names.push((name.to_vec(), BlockRange { block: u64::from(block), offset }));
            }
        }
        Ok(names)
    }

    fn inode(&mut self, place: BlockRange) -> Result<Inode, BundleError> {
        let kind = self.table(self.inodes, place, 16)?;
        let kind = Cursor(&kind).u16()?;
        let length = match kind {
            1 | 2 => 32,
            8 => 40,
            9 => 56,
            3 | 10 => return Ok(Inode::Link),
            _ => return Ok(Inode::Other),
        };
        let inode = self.table(self.inodes, place, length)?;
        let mut inode = Cursor(&inode);
        inode.skip(16)?;
        Ok(match kind {
            1 => {
                let block = inode.u32()?;
                inode.skip(4)?;
                let size = u32::from(inode.u16()?);
                Inode::Directory { place: BlockRange { block: u64::from(block), offset: inode.u16()? }, size }
            }
            8 => {
                inode.skip(4)?;
                let (size, block) = (inode.u32()?, inode.u32()?);
                inode.skip(6)?;
                Inode::Directory { place: BlockRange { block: u64::from(block), offset: inode.u16()? }, size }
            }
            2 => {
                let (start, fragment, offset) = (u64::from(inode.u32()?), inode.u32()?, inode.u32()?);
                let size = u64::from(inode.u32()?);
                self.file(File { start, size, fragment, offset, blocks: Vec::new(), inode: (place, length) })?
            }
            _ => {
                let (start, size) = (inode.u64()?, inode.u64()?);
                inode.skip(12)?;
                let (fragment, offset) = (inode.u32()?, inode.u32()?);
                self.file(File { start, size, fragment, offset, blocks: Vec::new(), inode: (place, length) })?
            }
        })
    }

    /// A file with the sizes of its blocks, which stand behind its inode. Of one that is too large to be read there are none.
    fn file(&mut self, mut file: File) -> Result<Inode, BundleError> {
        if file.size <= MOST_BYTES {
            let (place, behind) = file.inode;
            let block = u64::from(self.blocks.block_size());
            let count = if file.fragment == NO_FRAGMENT { file.size.div_ceil(block) } else { file.size / block };
            // No more than 256: a block has 4 KiB at the least.
            let count = usize::try_from(count).map_err(|_| damaged())?;
            let bytes = self.table(self.inodes, place, behind + 4 * count)?;
            let mut sizes = Cursor(&bytes);
            sizes.skip(behind)?;
            file.blocks = (0..count).map(|_| sizes.u32()).collect::<Result<_, _>>()?;
        }
        Ok(Inode::File(file))
    }

    /// Inspects a file of any size. Only the blocks that are wanted are unpacked.
    fn inspect(&mut self, file: &File) -> Result<Inspection, BundleError> {
        let block = u64::from(self.blocks.block_size());
        let whole = if file.fragment == NO_FRAGMENT { file.size.div_ceil(block) } else { file.size / block };
        let (place, behind) = file.inode;
        let mut sizes = self.rows(self.inodes, place)?;
        self.skip_rows(&mut sizes, behind)?;
        let (mut inspector, mut at) = (Inspector::new(), file.start);
        for number in 0..whole {
            let stored = self.next_row(&mut sizes)?;
            let begin = number * block;
            let length = block.min(file.size - begin);
            let mut bytes = None;
            while let Some(wanted) = inspector.wants(file.size).filter(|wanted| wanted.start < begin + length) {
                if bytes.is_none() {
                    bytes = Some(self.blocks.data(at, stored, length as usize)?);
                }
                let piece = bytes.as_deref().unwrap_or_default();
                let (from, to) = (wanted.start - begin, wanted.end.min(begin + length) - begin);
                inspector.skip_to(wanted.start);
                inspector.feed(piece.get(from as usize..to as usize).ok_or_else(damaged)?);
            }
            at = at.checked_add(u64::from(blocks::length(stored))).ok_or_else(damaged)?;
        }
        let rest = file.size.saturating_sub(whole.saturating_mul(block));
        if rest > 0 {
            let fragment = self.fragment(file.fragment)?;
            let from = usize::try_from(file.offset).map_err(|_| damaged())?;
            let rest = from.checked_add(rest as usize).and_then(|to| fragment.get(from..to)).ok_or_else(damaged)?;
            let begin = whole * block;
            while let Some(wanted) = inspector.wants(file.size) {
                inspector.skip_to(wanted.start);
                let (from, to) = (wanted.start.saturating_sub(begin), wanted.end - begin);
                inspector.feed(rest.get(from as usize..to as usize).ok_or_else(damaged)?);
            }
        }
        Ok(inspector.finish())
    }

    /// Reads the whole file.
    fn content(&mut self, file: &File) -> Result<Vec<u8>, BundleError> {
        if file.size > MOST_BYTES {
            return Err(BundleError::TooMuch("has a metadata.yaml of more than 1 MiB"));
        }
        let size = usize::try_from(file.size).map_err(|_| damaged())?;
        let block = self.blocks.block_size() as usize;
        let mut content = Vec::with_capacity(size);
        let mut at = file.start;
        for stored in &file.blocks {
            let wanted = block.min(size - content.len());
            let bytes = self.blocks.data(at, *stored, wanted)?;
            at = at.checked_add(u64::from(blocks::length(*stored))).ok_or_else(damaged)?;
            content.extend(bytes.get(..wanted).ok_or_else(damaged)?);
        }
        let rest = size - content.len();
        if rest > 0 {
            let fragment = self.fragment(file.fragment)?;
            let from = usize::try_from(file.offset).map_err(|_| damaged())?;
            let rest = from.checked_add(rest).and_then(|to| fragment.get(from..to));
            content.extend(rest.ok_or_else(damaged)?);
        }
        Ok(content)
    }

    /// A block that has the last bytes of several files in it.
    fn fragment(&mut self, number: u32) -> Result<Vec<u8>, BundleError> {
        // Each entry has 16 bytes, and a block of them 8 KiB; where the blocks are stands in a table as it is.
        if number >= self.fragment_count {
            return Err(damaged());
        }
        let at = self.fragments.checked_add(u64::from(number / 512) * 8).ok_or_else(damaged)?;
        let table = self.blocks.stored(at, 8)?;
        let place = BlockRange { block: 0, offset: (number % 512 * 16) as u16 };
        let entry = self.table(Cursor(&table).u64()?, place, 16)?;
        let mut entry = Cursor(&entry);
        let (start, stored) = (entry.u64()?, entry.u32()?);
        let most = self.blocks.block_size() as usize;
        self.blocks.data(start, stored, most)
    }

    /// Reads `length` bytes of a table that is stored in blocks of 8 KiB.
    fn table(&mut self, table: u64, place: BlockRange, length: usize) -> Result<Vec<u8>, BundleError> {
        let mut at = table.checked_add(place.block).ok_or_else(damaged)?;
        let mut from = usize::from(place.offset);
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let (block, next) = self.blocks.metadata(at)?;
            let there = block.get(from..).filter(|there| !there.is_empty()).ok_or_else(damaged)?;
            bytes.extend(&there[..there.len().min(length - bytes.len())]);
            (at, from) = (next, 0);
        }
        Ok(bytes)
    }
}

/// A walk along the words of a table.
struct Rows {
    block: Vec<u8>,
    from: usize,
    next: u64,
}

impl<R: Read + Seek> Squashfs<'_, R> {
    fn rows(&mut self, table: u64, place: BlockRange) -> Result<Rows, BundleError> {
        let at = table.checked_add(place.block).ok_or_else(damaged)?;
        let (block, next) = self.blocks.metadata(at)?;
        Ok(Rows { block, from: usize::from(place.offset), next })
    }

    fn skip_rows(&mut self, rows: &mut Rows, mut bytes: usize) -> Result<(), BundleError> {
        loop {
            let there = rows.block.len().checked_sub(rows.from).ok_or_else(damaged)?;
            if bytes <= there {
                rows.from += bytes;
                return Ok(());
            }
            bytes -= there;
            self.next_block(rows)?;
        }
    }

    fn next_block(&mut self, rows: &mut Rows) -> Result<(), BundleError> {
        (rows.block, rows.next) = self.blocks.metadata(rows.next)?;
        rows.from = 0;
        if rows.block.is_empty() { Err(damaged()) } else { Ok(()) }
    }

    /// The next word, which may begin in one block and end in the next.
    fn next_row(&mut self, rows: &mut Rows) -> Result<u32, BundleError> {
        let mut word = [0; 4];
        for byte in &mut word {
            if rows.from >= rows.block.len() {
                self.next_block(rows)?;
            }
            *byte = rows.block[rows.from];
            rows.from += 1;
        }
        Ok(u32::from_le_bytes(word))
    }
}

impl BlockRange {
    /// Out of the superblock: 48 bits, the lowest 16 of which say where in the block.
    fn of(reference: u64) -> Self {
        Self { block: reference >> 16, offset: (reference & 0xffff) as u16 }
    }
}
