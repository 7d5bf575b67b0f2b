//! Export: opens the files of images for LXD and Incus, and makes the frame around a disk while it is read. Knows no
//! protocol.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, stream as streams};

use crate::archive::Packing;
use crate::blob::{BlobBody, peek, stream};
use crate::error::Result;
use crate::image::Image;
use crate::registry::Caller;
use crate::registry::lxd::files::{LxdFile, head_of};
use crate::registry::lxd::service::LxdImages;

/// Bytes of a frame's head that are made at a time: what a connection holds for a client that stops reading.
const STRETCH: u64 = 32 << 10;

impl LxdImages {
    /// Opens a file of an image, or a range of it (the end is exclusive, and within the file).
    ///
    /// # Errors
    /// As [`crate::registry::Downloads::open`].
    pub async fn open_file(
        &self,
        who: &Caller,
        image: &Image,
        file: &LxdFile,
        range: Option<Range<u64>>,
    ) -> Result<BlobBody> {
        let part = self.downloads.part_for(who, image, file.part)?;
        let Some(frame) = &file.frame else { return self.downloads.bytes_of(image, part, range).await };
        let Range { start, end } = range.unwrap_or(0..file.size);
        let (head, behind) = (frame.head(), file.size - frame.padding());
        let cut = |place: u64| place.clamp(head, behind) - head;
        let (frame, front) = (*frame, start.min(head)..end.min(head));
        let front = streams::iter(front.clone().step_by(STRETCH as usize)).map(move |at| {
            let stretch = at..(at + STRETCH).min(front.end);
            Ok(head_of(&frame, stretch))
        });
        let middle = self.downloads.bytes_of(image, part, Some(cut(start)..cut(end))).await?;
        // The padding is less than a cluster.
        let zeros = vec![0; usize::try_from(end.max(behind) - start.max(behind)).unwrap_or(0)];
        let zeros = streams::iter((!zeros.is_empty()).then(|| Ok(Bytes::from(zeros))));
        let stream = front.chain(stream(middle, &self.ingest.buffers)).chain(zeros).boxed();
        Ok(BlobBody::Stream { stream, length: Some(end - start) })
    }

    /// Opens a file of an image, or a range of it, once, and tells its compression by the first bytes. A range behind them
    /// does not have them: another request to the store, for a name, is not worth its time.
    ///
    /// # Errors
    /// As [`crate::registry::Downloads::open`].
    pub async fn open_packed(
        &self,
        who: &Caller,
        image: &Image,
        file: &LxdFile,
        range: Option<Range<u64>>,
    ) -> Result<(BlobBody, Option<Packing>)> {
        let begins = range.as_ref().is_none_or(|range| range.start == 0);
        let body = self.open_file(who, image, file, range).await?;
        if !begins {
            return Ok((body, None));
        }
        let (first, body) = peek(body, Packing::HEAD, &self.ingest.buffers).await?;
        Ok((body, Packing::of(&first)))
    }
}
