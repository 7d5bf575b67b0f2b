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
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { declared, found } => {
                write!(f, "The format of the image is {}, but the bytes are {}.", declared.name(), found.name())
            }
            Self::Unsafe(danger) => write!(f, "The image is not safe to open: {danger}"),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Mismatch { declared, found } => Reason::FormatMismatch.about(declared.name()).and(found.name()),
            Refusal::Unsafe(danger) => Reason::UnsafeImage.about(danger),
        }
    }
}

/// Checks that an image may have these bytes under this format.
///
/// An image without a format is asked what a raw one is: it may have any bytes but dangerous ones, because a
/// program that uses it detects the format by itself. No bytes are fine for every format.
///
/// # Errors
/// The bytes are of another format than declared, or dangerous.
pub fn check(inspection: &Inspection, declared: Option<Format>, rules: &Rules) -> Result<(), Refusal> {
    let format = declared.unwrap_or(Format::Raw);
    if inspection.size == 0 || rules.off.contains(&format) {
        return Ok(());
    }
    let expected = match format {
        Format::Iso => Some(Detected::Iso),
        Format::Vhd => Some(Detected::Vhd),
        Format::Vhdx => Some(Detected::Vhdx),
        Format::Vdi => Some(Detected::Vdi),
        Format::Vmdk => Some(Detected::Vmdk),
        Format::Qcow2 => Some(Detected::Qcow2),
        Format::Raw => None,
        // Nothing that a hypervisor opens as a disk, or (ploop) in a form that names no files.
        Format::Ami | Format::Aki | Format::Ari | Format::Ploop | Format::Squashfs | Format::Tar => return Ok(()),
    };
    if expected.is_some_and(|expected| expected != inspection.format) {
        return Err(Refusal::Mismatch { declared: format, found: inspection.format });
    }
    inspection.danger.map_or(Ok(()), |danger| Err(Refusal::Unsafe(danger)))
}
