//! Re-inspection: checks stored bytes again when their image says something else of them. Knows no protocol.

use futures_util::StreamExt;

use super::Caller;
use super::core::Core;
use super::download::Downloads;
use super::gate::{WayIn, admit};
use crate::blob::stream;
use crate::error::{Error, Result};
use crate::image::{Image, Location, Status};
use crate::ingest::intake::Ingest;
use crate::inspect::Inspector;

/// Checks that the bytes of an image are what it says of them, and records the size of the disk in them. Reads a few MiB at
/// most, and all of them only where disks are inside; bytes under a URL are not read.
///
/// # Errors
/// `BadContent`; as [`Downloads::open`].
pub(in crate::registry) async fn check_kept(
    core: &Core,
    downloads: &Downloads,
    ingest: &Ingest,
    image: &mut Image,
) -> Result<()> {
    let Some(part) = image.main().filter(|part| !matches!(part.location, Location::Http { .. })) else {
        return Ok(());
    };
    // Withheld bytes are inspected too.
    let open = Image { status: Status::Available, ..image.clone() };
    let (mut inspector, size) = (Inspector::sparing(), part.size.unwrap_or(0));
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
    let mut admitted = admit(WayIn::SaidAnew, &inspector.finish(), image.declared(), &core.limits.inspect)?;
    if admitted.is_wrapped() {
        let body = downloads.open(&Caller::Admin(None), &open, None).await?;
        admitted.look_inside(core, body).await?;
    }
    image.parts.iter_mut().for_each(|part| part.virtual_size = admitted.virtual_size());
    Ok(())
}
