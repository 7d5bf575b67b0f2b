//! Maps of sparse members: which bytes of a file are in the archive, and where between them holes are.
//!
//! GNU tar writes them in four ways: behind the header, in one or in many records of POSIX's extensions, or before the bytes.
//! A disk in an archive is inspected as it is after unpacking, so all of them are read. Programs do not agree on a map that has no
//! whole form: for some the file has no holes then. No such map is read.

use super::BundleError;

/// Pieces of a file in a map, at most. A disk with more holes is not packed that way.
const PIECES_MAX: usize = 1 << 20;

/// A piece of a file: its place, and its length.
type Piece = (u64, u64);

/// The pieces of a sparse file that are in the archive.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SparseMap {
    form: Option<Form>,
    /// Version of the form, if the archive says it.
    major: Option<u64>,
    minor: Option<u64>,
    pieces: Vec<Piece>,
    /// Bytes of the file with its holes.
    size: Option<u64>,
    /// Number of the pieces, which records say before these.
    count: Option<u64>,
    /// Place of a piece whose length has not come yet.
    place: Option<u64>,
    /// The map makes no sense, which matters only to a reader of the file.
    fault: Option<Fault>,
}

/// Ways to write a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Header,
    /// Records for each piece.
    Pairs,
    /// One record.
    List,
    /// Before the bytes.
    Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Damaged,
    TooLong,
}

impl SparseMap {
    /// The map of an archive in GNU's old form: pieces follow.
    pub(super) fn of_size(size: u64) -> Self {
        Self { form: Some(Form::Header), size: Some(size), ..Self::default() }
    }

    /// True if the pieces stand before the bytes.
    pub(super) fn is_in_content(&self) -> bool {
        self.form == Some(Form::Content)
    }

    /// Bytes of the file with its holes.
    pub(super) fn size(&self) -> u64 {
        self.size.unwrap_or(0)
    }

    /// End of the last piece.
    fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |(place, length)| place + length)
    }

    fn is_complete(&self) -> bool {
        let (version, count) = ((self.major, self.minor), self.pieces.len() as u64);
        let is_whole = match self.form {
            None => false,
            Some(Form::Header) => true,
            // GNU tar drops the pieces beyond their number, or all of them where it is missing.
            Some(Form::Pairs | Form::List) => {
                matches!(version, (None, None) | (Some(0), Some(0 | 1)))
                    && self.count == Some(count)
                    && self.place.is_none()
            }
            Some(Form::Content) => version == (Some(1), Some(0)) && self.count.is_none(),
        };
        is_whole && self.size.is_some_and(|size| self.end() <= size)
    }

    /// The pieces.
    ///
    /// # Errors
    /// The map makes no sense, has no whole form, or is too long.
    pub(super) fn pieces(&self) -> Result<&[Piece], BundleError> {
        match self.fault {
            None if self.is_complete() => Ok(&self.pieces),
            None | Some(Fault::Damaged) => Err(BundleError::damaged("tarball")),
            Some(Fault::TooLong) => Err(BundleError::TooMuch("has a disk with too many holes")),
        }
    }

    /// Adds a piece, which has to lie behind all others and within the file.
    pub(super) fn add(&mut self, piece: Option<Piece>) {
        let begin = self.end();
        let ends_well = |end: u64| self.size.is_none_or(|size| end <= size) && i64::try_from(end).is_ok();
        let fits = |(place, length): &Piece| *place >= begin && place.checked_add(*length).is_some_and(ends_well);
        match piece.filter(fits) {
            None => self.fault = Some(Fault::Damaged),
            Some(_) if self.pieces.len() >= PIECES_MAX => self.fault = Some(Fault::TooLong),
            Some(piece) => self.pieces.push(piece),
        }
    }

    /// Takes a record of POSIX's extensions whose name began with `GNU.sparse.`. One that is not known means nothing to other
    /// programs, and so the file may have no holes for them.
    pub(super) fn record(&mut self, name: &[u8], value: &[u8]) {
        let number = decimal(value);
        let is_fine = match name {
            b"major" => once(&mut self.major, number) && (number != Some(1) || self.is_in(Form::Content)),
            b"minor" => once(&mut self.minor, number),
            b"size" | b"realsize" => once(&mut self.size, number),
            b"numblocks" => self.form.is_none() && once(&mut self.count, number),
            b"offset" => self.is_in(Form::Pairs) && once(&mut self.place, number),
            b"numbytes" => {
                let place = self.place.take();
                self.add(place.zip(number));
                self.is_in(Form::Pairs)
            }
            b"map" => {
                let is_first = self.form.is_none();
                let mut numbers = value.split(|byte| *byte == b',').map(decimal);
                while let Some(place) = numbers.next() {
                    self.add(place.zip(numbers.next().flatten()));
                }
                self.is_in(Form::List) && is_first
            }
            _ => false,
        };
        if !is_fine {
            self.fault = Some(Fault::Damaged);
        }
    }

    /// Begins with a form, and tells if there was no other one before.
    fn is_in(&mut self, form: Form) -> bool {
        *self.form.get_or_insert(form) == form
    }

    /// Reads the map that stands before the bytes: decimal numbers, each on a line, filled up to whole blocks. Returns the
    /// bytes that it took.
    pub(super) fn read(
        &mut self,
        mut block: impl FnMut() -> Result<[u8; 512], BundleError>,
    ) -> Result<u64, BundleError> {
        let (mut bytes, mut blocks) = (Vec::new(), 0);
        let mut number = || -> Result<u64, BundleError> {
            let mut text = Vec::new();
            loop {
                if bytes.is_empty() {
                    bytes = block()?.to_vec();
                    bytes.reverse();
                    blocks += 1;
                }
                match bytes.pop() {
                    Some(b'\n') => return decimal(&text).ok_or_else(|| BundleError::damaged("tarball")),
                    Some(digit) if digit.is_ascii_digit() && text.len() < 20 => text.push(digit),
                    _ => return Err(BundleError::damaged("tarball")),
                }
            }
        };
        for _ in 0..number()? {
            let (place, length) = (number()?, number()?);
            self.add(Some((place, length)));
        }
        Ok(blocks * 512)
    }
}

/// Sets a value that stands once: of two, programs take different ones.
fn once(value: &mut Option<u64>, number: Option<u64>) -> bool {
    value.is_none() && {
        *value = number;
        value.is_some()
    }
}

/// A decimal number.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}
