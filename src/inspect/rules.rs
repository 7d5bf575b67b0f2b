//! Rules for bytes before they are stored under a format.

use std::fmt;

use super::{Danger, Detected, Inspection};
use crate::error::{Error, Reason, Result};
use crate::image::Format;

/// Formats that the operator exempts from inspection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Formats whose images are taken as they come. `raw` stands for images without a format as well.
    pub off: Vec<Format>,
}

/// Reasons why bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A format other than the declared one.
    Mismatch {
        /// The declared format.
        declared: Format,
        /// The format of the bytes.
        found: Detected,
    },
    /// Bytes that are dangerous to open.
    Unsafe(Danger),
    /// Bytes that end before their own headers do.
    Short {
        /// Bytes of the file.
        size: u64,
        /// Bytes that it has to have, at least.
        least: u64,
    },
    /// No bytes, for a format that has some.
    Empty(Format),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { declared, found } => {
                write!(f, "The format of the image is {}, but the bytes are {}.", declared.name(), found.name())
            }
            Self::Unsafe(danger) => write!(f, "The image is not safe to open: {danger}"),
            Self::Short { size, least } => {
                write!(f, "The file ends early: it has {size} bytes, and by its own headers at least {least}.")
            }
            Self::Empty(format) => {
                write!(f, "The source has no bytes, and an image of format {} has some.", format.name())
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Mismatch { declared, found } => Reason::FormatMismatch.about(declared.name()).and(found.name()),
            Refusal::Unsafe(danger) => Reason::UnsafeImage.about(danger),
            Refusal::Short { size, least } => Reason::ImageIncomplete.about(size).and(least),
            Refusal::Empty(_) => Reason::FileEmpty.saying(refusal.to_string()),
        }
    }
}

/// Checks that an image may have these bytes under this format.
///
/// An image without a format is asked what a raw one is: it may have any bytes but dangerous ones, because a
/// program that uses it detects the format by itself, and the file has to be as long as its headers say. A raw image may
/// be cut anywhere. No bytes are fine for every format.
///
/// # Errors
/// The bytes are of another format than declared, dangerous, or not complete.
pub fn check(inspection: &Inspection, declared: Option<Format>, rules: &Rules) -> Result<(), Refusal> {
    let format = declared.unwrap_or(Format::Raw);
    let Inspection { size, least, danger, .. } = *inspection;
    if size == 0 || rules.off.contains(&format) {
        return Ok(());
    }
    let short = if size < least { Err(Refusal::Short { size, least }) } else { Ok(()) };
    let expected = match format {
        Format::Iso => Some(Detected::Iso),
        Format::Vhd => Some(Detected::Vhd),
        Format::Vhdx => Some(Detected::Vhdx),
        Format::Vdi => Some(Detected::Vdi),
        Format::Vmdk => Some(Detected::Vmdk),
        Format::Qcow2 => Some(Detected::Qcow2),
        Format::Raw => None,
        Format::Squashfs if inspection.format == Detected::Squashfs => return short,
        // Nothing that a hypervisor opens as a disk, or (ploop) in a form that names no files.
        Format::Ami | Format::Aki | Format::Ari | Format::Ploop | Format::Squashfs | Format::Tar => return Ok(()),
    };
    if expected.is_some_and(|expected| expected != inspection.format) {
        return Err(Refusal::Mismatch { declared: format, found: inspection.format });
    }
    let short = if declared == Some(Format::Raw) { Ok(()) } else { short };
    match danger {
        None => short,
        // What is missing may be what does not make sense.
        Some(Danger::Broken(_)) if short.is_err() => short,
        Some(danger) => Err(Refusal::Unsafe(danger)),
    }
}

/// Checks that something came, where an image of this format has bytes.
///
/// # Errors
/// No bytes came.
pub fn check_brought(size: u64, declared: Option<Format>, rules: &Rules) -> Result<(), Refusal> {
    match declared {
        // Bytes as they are may be none.
        None | Some(Format::Raw | Format::Ami | Format::Aki | Format::Ari) => Ok(()),
        Some(format) if size == 0 && !rules.off.contains(&format) => Err(Refusal::Empty(format)),
        Some(_) => Ok(()),
    }
}
