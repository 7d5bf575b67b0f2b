//! The gate: the one place that lets bytes become an image's own. Every way in passes it, and a part with the main bytes of an
//! image is made nowhere else.
//!
//! The bytes were inspected while they came; here their inspection meets what the image says of them. Where the image says that
//! disks are inside of the bytes (an OVA, a compressed disk), these are looked at as well.
//!
//! Knows no protocol.

use super::core::Core;
use super::looks::{LookEnd, LookTime};
use super::unpacking::cannot_unpack;
use crate::archive::{Bundle, BundleError, inspect_members, inspect_unpacked};
use crate::blob::BlobBody;
use crate::blob::reader::Reading;
use crate::error::{Error, Reason, Result};
use crate::image::{Container, Declared, Digests, Format, Image, Location, Part, PartKind};
use crate::ingest::intake::Received;
use crate::inspect::{Inspection, Rules, check, check_brought};

/// Ways by which bytes become an image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayIn {
    /// The body of one request.
    Upload,
    /// The bodies of several requests.
    Pieces,
    /// Bytes that were staged before.
    Staged,
    /// Bytes that this server fetched from a URL.
    Fetched,
    /// A file that the cache brought, of a vendor's or under a URL.
    Pulled,
    /// An image in LXD's form: sent, pushed by another server, copied from one, or packed here.
    Bundle,
    /// A file of the operator's that is registered where it lies.
    File,
    /// A URL that is registered: its bytes may change at any time, and are read for their digests at most.
    Url,
    /// Bytes that are here already, whose image says something else of them from now on.
    SaidAnew,
}

impl WayIn {
    /// Every way.
    pub const ALL: [Self; 9] = [
        Self::Upload,
        Self::Pieces,
        Self::Staged,
        Self::Fetched,
        Self::Pulled,
        Self::Bundle,
        Self::File,
        Self::Url,
        Self::SaidAnew,
    ];

    /// True if nothing at all is a failure of the source, and not a client's choice.
    fn has_to_bring(self) -> bool {
        match self {
            Self::Staged | Self::Fetched | Self::Pulled | Self::Bundle | Self::File => true,
            Self::Upload | Self::Pieces | Self::Url | Self::SaidAnew => false,
        }
    }
}

/// The permission to be an image's bytes. Only the gate gives it.
#[derive(Debug)]
pub(in crate::registry) struct Admitted {
    declared: Declared,
    virtual_size: Option<u64>,
    /// A look inside is still due.
    is_wrapped: bool,
}

/// Lets bytes in, as far as they themselves are concerned; [`Admitted::look_inside`] has to follow.
///
/// # Errors
/// `BadContent`: the bytes are of another format than declared, dangerous, incomplete, or none came.
pub(in crate::registry) fn admit(
    way: WayIn,
    inspection: &Inspection,
    declared: Declared,
    rules: &Rules,
) -> Result<Admitted> {
    if way.has_to_bring() {
        check_brought(inspection.size, declared.format, rules)?;
    }
    let format = declared.of_bytes();
    check(inspection, format, rules)?;
    let is_exempt = rules.off.contains(&declared.format.unwrap_or(Format::Raw));
    let is_wrapped = declared.holds_disks() && !is_exempt && inspection.size > 0;
    Ok(Admitted { declared, virtual_size: inspection.virtual_size(format), is_wrapped })
}

/// Bytes that have arrived, with the permission to be an image's.
pub(in crate::registry) type Arrived = (Received, Admitted);

/// Lets received bytes in, as [`admit`]. Refused ones are removed when this returns.
///
/// # Errors
/// `BadContent`.
pub(in crate::registry) async fn let_in(
    core: &Core,
    way: WayIn,
    received: Received,
    declared: Declared,
) -> Result<Arrived> {
    match admit(way, &received.inspection, declared, &core.limits.inspect) {
        Ok(admitted) => Ok((received, admitted)),
        Err(error) => {
            received.writer.abort().await;
            Err(error)
        }
    }
}

/// Lets a registered URL be: the bytes under it are not read here, and may be other ones in a minute.
pub(in crate::registry) fn unread(declared: Declared) -> Admitted {
    Admitted { declared, virtual_size: None, is_wrapped: false }
}

/// Lets the disk in an image of LXD's in. LXD takes a disk of any format that it can tell, so it is asked what an image
/// without a format is.
///
/// # Errors
/// `BadContent`: the disk is dangerous, or incomplete.
pub(in crate::registry) fn admit_disk(bundle: &Bundle, rules: &Rules) -> Result<()> {
    bundle.disk.as_ref().map_or(Ok(()), |disk| check(disk, None, rules)).map_err(Error::from)
}

impl Admitted {
    /// Size of the disk in the bytes.
    pub(in crate::registry) fn virtual_size(&self) -> Option<u64> {
        self.virtual_size
    }

    /// True if the bytes have to be read again, for what is inside.
    pub(in crate::registry) fn is_wrapped(&self) -> bool {
        self.is_wrapped
    }

    /// Looks at the disks inside of the bytes, where the image says that there are some.
    ///
    /// # Errors
    /// `BadContent`: a disk is of another format than declared, dangerous, or incomplete; or what is around it is.
    pub(in crate::registry) async fn look_inside(&mut self, core: &Core, body: BlobBody) -> Result<()> {
        if !self.is_wrapped {
            return Ok(());
        }
        let reading = Reading::in_order(body).await?;
        let (declared, rules) = (self.declared, core.limits.inspect.clone());
        core.disks.run(reading, not_looked, move |reading, time| inside(reading, declared, &rules, time)).await?;
        self.is_wrapped = false;
        Ok(())
    }

    /// Checks that an image still says of its bytes what it said when they were let in.
    ///
    /// # Errors
    /// `Precondition`.
    pub(in crate::registry) fn check_said(&self, image: &Image) -> Result<()> {
        if self.declared == image.declared() { Ok(()) } else { Err(Reason::ChangedMeanwhile.about(image.id)) }
    }

    /// The main part of an image.
    ///
    /// # Errors
    /// `Internal` for bytes that were not looked into.
    pub(in crate::registry) fn part(&self, location: Location, size: Option<u64>, digests: Digests) -> Result<Part> {
        if self.is_wrapped {
            return Err(Error::internal("disks inside of an image were not looked at"));
        }
        Ok(Part { kind: PartKind::Main, location, size, virtual_size: self.virtual_size, digests, etag: None })
    }
}

/// Looks at the disks in a file. Blocks.
fn inside(reading: Reading, declared: Declared, rules: &Rules, time: &LookTime) -> Result<(), LookEnd> {
    let (length, own) = (reading.length(), time.clone());
    let judge =
        |found: &Inspection, format| check(found, format, rules).map_err(|error| LookEnd::Refused(error.into()));
    if declared.container == Some(Container::Compressed) {
        let reading = reading.asking(move || own.is_wanted());
        let found = inspect_unpacked(reading, length, &|| time.is_wanted(), &|| time.is_left())?;
        return found.map_or(Ok(()), |found| judge(&found, declared.format));
    }
    let reading = reading.asking(move || own.is_wanted() && own.is_left());
    inspect_members(reading, length, &|| time.is_wanted() && time.is_left(), |found| judge(found, None))
}

/// The words for disks that were not looked at.
fn not_looked(error: BundleError) -> Error {
    match error {
        BundleError::Stopped => Reason::BadArchive.saying("The disks in the file were not inspected in time."),
        other => cannot_unpack(other),
    }
}
