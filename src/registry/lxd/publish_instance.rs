//! Publishing: makes images of root file systems that the operator lends. Knows no protocol.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::ingest::{Expected, Pauses};
use crate::registry::Caller;
use crate::registry::lxd::instances::{Instance, pack};
use crate::registry::lxd::receive::{ImportOptions, IncomingImage};
use crate::registry::lxd::service::LxdImages;
use crate::registry::policy::{Action, On};

/// Pieces in transit from the packing thread to the storing one.
const PIECES: usize = 4;

impl LxdImages {
    /// Publishes a root file system as an image.
    ///
    /// # Errors
    /// As [`LxdImages::take_in`] and [`crate::registry::ReceivedImage::publish`]; `Internal` when the file system can't
    /// be read.
    pub async fn publish_instance(
        self: &Arc<Self>,
        who: &Caller,
        instance: Instance,
        wishes: &ImportOptions,
    ) -> Result<Image> {
        who.may(Action::PackInstance, On::Server)?;
        let arriving =
            IncomingImage { slot: self.slot()?, metadata: None, claim: Expected::default(), pauses: Pauses::default() };
        let (sender, receiver) = mpsc::channel(PIECES);
        let (now, wanted) = (self.core.now(), wishes.patch.clone());
        let packed = tokio::task::spawn_blocking(move || {
            let mut pipe = Pipe(sender);
            let outcome = pack(&instance, &wanted, now, &mut pipe);
            // The reader must not mistake a broken stream for a complete one.
            if let Err(error) = outcome {
                let _ = pipe.0.blocking_send(Err(error));
            }
        });
        let mut pieces = Box::pin(stream::unfold(receiver, async |mut pieces| Some((pieces.recv().await?, pieces))));
        let failed = |error: io::Error| Error::internal(error);
        let upload = self.take_in(who, arriving, &mut pieces, failed, |_| {}).await?;
        packed.await.map_err(Error::internal)?;
        let mut wishes = wishes.clone();
        // Given properties replace those in the image, as in LXD.
        wishes.patch.purge = !wishes.patch.properties.is_empty();
        upload.seal().await?.publish(&wishes).await
    }
}

/// Writer of packed bytes into a channel.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
