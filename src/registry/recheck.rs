//! Re-inspection: checks stored bytes again when the declared format of their image changes. Knows no protocol.

use futures_util::StreamExt;

use super::Caller;
use super::download::Downloads;
use crate::blob::stream;
use crate::error::{Error, Result};
use crate::image::{Image, Location, Status};
use crate::ingest::intake::Ingest;
use crate::inspect::{Inspector, check};

/// Checks that the bytes of an image fit its format, and records the size of the disk in them. Reads a few hundred KiB
/// at most; bytes under a URL are not read.
///
/// # Errors
/// `BadContent`; as [`Downloads::open`].
pub(in crate::registry) async fn check_kept(downloads: &Downloads, ingest: &Ingest, image: &mut Image) -> Result<()> {
    let Some(part) = image.main().filter(|part| !matches!(part.location, Location::Http { .. })) else {
        return Ok(());
    };
    // Withheld bytes are inspected too.
    let open = Image { status: Status::Available, ..image.clone() };
    let (mut inspector, size) = (Inspector::new(), part.size.unwrap_or(0));
    while let Some(wanted) = inspector.wants(size) {
        inspector.skip_to(wanted.start);
        let body = downloads.open(&Caller::Admin(None), &open, Some(wanted.clone())).await?;
        let (mut bytes, mut missing) = (stream(body, &ingest.buffers), wanted.end - wanted.start);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            missing = missing.saturating_sub(chunk.len() as u64);
            inspector.feed(&chunk);
        }
        if missing > 0 {
            return Err(Error::internal("bytes of an image ended early"));
        }
    }
    let (found, format) = (inspector.finish(), image.format_of_bytes());
    check(&found, format, &ingest.limits.inspect)?;
    image.parts.iter_mut().for_each(|part| part.virtual_size = found.virtual_size(format));
    Ok(())
}
