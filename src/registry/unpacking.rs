//! Unpacking on the way in: a sink that takes a compressed stream and passes on what is in it.
//!
//! Decoders read, and bytes are pushed: so a decoder has a thread of its own between two short queues. Knows no protocol.

use std::future::Future;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::archive::{BundleError, Content, Packing, unpack};
use crate::blob::StoreError;
use crate::blob::reader::Reading;
use crate::error::{Error, Reason, Result};
use crate::image::{Container, Declared, Format};
use crate::ingest::ByteSink;

/// Pieces that wait before a decoder, and behind it.
const WAITING_PIECES: usize = 2;

/// Tells if a compressed file is unpacked for such an image. Kernels, ramdisks and archives are packed by nature.
pub(in crate::registry) fn is_unpacked(declared: Declared) -> bool {
    let is_disk = match declared.format {
        Some(Format::Aki | Format::Ari | Format::Squashfs | Format::Tar) | None => false,
        Some(
            Format::Iso
            | Format::Vhd
            | Format::Vdi
            | Format::Vmdk
            | Format::Ami
            | Format::Qcow2
            | Format::Raw
            | Format::Vhdx
            | Format::Ploop,
        ) => true,
    };
    is_disk && matches!(declared.container, None | Some(Container::Bare | Container::Ami))
}

/// The words for a file that can't be unpacked.
pub(in crate::registry) fn cannot_unpack(error: BundleError) -> Error {
    match error {
        BundleError::Damaged(_, cause) => {
            let words = Reason::BadArchive.saying("The file can't be unpacked: it is damaged.");
            if let Some(cause) = cause { words.because(cause) } else { words }
        }
        other => other.into(),
    }
}

/// A sink before another one, for a stream that may be compressed.
pub(in crate::registry) struct Unpacking<S> {
    inner: S,
    state: State,
    content: Content,
    /// Packing that was found before, by all that tells it.
    found: Option<Packing>,
    /// Bytes that came, packed or not.
    taken: u64,
}

enum State {
    /// The first bytes, which tell the packing.
    Beginning(BytesMut),
    Plain,
    Packed(Decoder),
    /// The content ended; what is behind it is none of it.
    Ended,
}

/// A decoder on a thread. The thread ends when this is dropped.
struct Decoder {
    packed: mpsc::Sender<Result<Bytes, StoreError>>,
    /// Pieces of the content, and `None` behind the last: a decoder that dies has not come to its end.
    unpacked: mpsc::Receiver<Result<Option<Bytes>, BundleError>>,
}

impl Decoder {
    fn begin(packing: Packing, first: Bytes, content: Content) -> Result<Self> {
        let (packed, pieces) = mpsc::channel(WAITING_PIECES);
        let (sender, unpacked) = mpsc::channel(WAITING_PIECES);
        let reading = Reading::of_pieces(first, pieces, None);
        // Not of the blocking pool: it has work for as long as a sender sends.
        let thread = std::thread::Builder::new().name("unpack".into());
        let work = move || {
            let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
            let each = |piece: &[u8]| sender.blocking_send(Ok(Some(Bytes::copy_from_slice(piece)))).map_err(|_| gone());
            // Without a receiver, the transfer is over.
            let _ = sender.blocking_send(unpack(packing, reading, content, each).map(|()| None));
        };
        thread.spawn(work).map_err(Error::internal)?;
        Ok(Self { packed, unpacked })
    }
}

/// The next piece that a decoder sent; `None` at the end of the content.
fn piece_of(sent: Option<Result<Option<Bytes>, BundleError>>) -> Result<Option<Bytes>> {
    sent.ok_or_else(|| Error::internal("a decoder ended without a word"))?.map_err(cannot_unpack)
}

impl<S: ByteSink> Unpacking<S> {
    /// A sink that unpacks what is packed, or passes everything on as it comes.
    pub(in crate::registry) fn new(inner: S, unpacks: bool) -> Self {
        let state = if unpacks { State::Beginning(BytesMut::new()) } else { State::Plain };
        Self { inner, state, content: Content::Plain, found: None, taken: 0 }
    }

    /// A sink for a stream whose packing is known: it is unpacked, and the one disk is taken out of an archive. Without one,
    /// everything is passed on.
    pub(in crate::registry) fn as_found(inner: S, packing: Option<Packing>) -> Self {
        Self { content: Content::OneDisk, found: packing, ..Self::new(inner, packing.is_some()) }
    }

    /// Number of bytes that came, packed or not.
    pub(in crate::registry) fn taken(&self) -> u64 {
        self.taken
    }

    /// Ends the stream: the sink has all of its content then.
    ///
    /// # Errors
    /// `BadContent` for a stream that is damaged or ends early, and those of the sink, which has to be abandoned then.
    pub(in crate::registry) async fn drain(&mut self) -> Result<()> {
        if let State::Beginning(first) = &mut self.state {
            let first = std::mem::take(first).freeze();
            self.begin(first).await?;
        }
        if let State::Packed(Decoder { packed, mut unpacked }) = std::mem::replace(&mut self.state, State::Ended) {
            drop(packed);
            while let Some(piece) = piece_of(unpacked.recv().await)? {
                self.inner.write(piece).await?;
            }
        }
        Ok(())
    }

    /// Ends the stream, and returns the sink that has all of its content.
    ///
    /// # Errors
    /// As [`Unpacking::drain`], but the sink is abandoned.
    pub(in crate::registry) async fn finish(mut self) -> Result<S> {
        match self.drain().await {
            Ok(()) => Ok(self.inner),
            Err(error) => {
                self.inner.abandon().await?;
                Err(error)
            }
        }
    }

    /// Decides by the first bytes.
    async fn begin(&mut self, first: Bytes) -> Result<()> {
        let told = || Packing::of(&first).filter(|packing| packing.is_proven_compression());
        match self.found.or_else(told) {
            Some(packing) => {
                self.state = State::Packed(Decoder::begin(packing, first, self.content)?);
                Ok(())
            }
            None => {
                self.state = State::Plain;
                if first.is_empty() { Ok(()) } else { self.inner.write(first).await }
            }
        }
    }
}

impl<S: ByteSink + Send> ByteSink for Unpacking<S> {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.taken += chunk.len() as u64;
        match &mut self.state {
            State::Plain => self.inner.write(chunk).await,
            State::Beginning(first) => {
                first.extend_from_slice(&chunk);
                if first.len() < Packing::HEAD {
                    return Ok(());
                }
                let first = std::mem::take(first).freeze();
                self.begin(first).await
            }
            State::Ended => Ok(()),
            State::Packed(decoder) => loop {
                let sent = tokio::select! {
                    // Bytes that are ready go first, or both queues could be full.
                    biased;
                    sent = decoder.unpacked.recv() => sent,
                    place = decoder.packed.reserve() => {
                        if let Ok(place) = place {
                            place.send(Ok(chunk));
                        }
                        return Ok(());
                    }
                };
                let Some(piece) = piece_of(sent)? else {
                    self.state = State::Ended;
                    return Ok(());
                };
                self.inner.write(piece).await?;
            },
        }
    }

    fn interrupted(&mut self) -> impl Future<Output = Error> + Send {
        self.inner.interrupted()
    }

    async fn abandon(&mut self) -> Result<()> {
        self.state = State::Plain;
        self.inner.abandon().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::error::Kind;

    /// Keeps what comes, up to a bound.
    #[derive(Default)]
    struct Kept {
        bytes: Vec<u8>,
        most: Option<usize>,
        abandoned: bool,
    }

    impl ByteSink for Kept {
        async fn write(&mut self, chunk: Bytes) -> Result<()> {
            self.bytes.extend_from_slice(&chunk);
            match self.most.is_some_and(|most| self.bytes.len() > most) {
                true => Err(Reason::FileTooLarge.about(self.bytes.len())),
                false => Ok(()),
            }
        }

        async fn abandon(&mut self) -> Result<()> {
            self.abandoned = true;
            Ok(())
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn noise(count: u32) -> Vec<u8> {
        (0..count).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    async fn through(bytes: &[u8], piece: usize, unpacks: bool) -> Result<Kept> {
        let mut sink = Unpacking::new(Kept::default(), unpacks);
        for chunk in bytes.chunks(piece) {
            sink.write(Bytes::copy_from_slice(chunk)).await?;
        }
        assert_eq!(sink.taken(), bytes.len() as u64);
        sink.finish().await
    }

    #[tokio::test]
    async fn what_is_packed_comes_out_unpacked() {
        for bytes in [noise(500_000), b"short".to_vec(), Vec::new(), vec![0; 40 << 20]] {
            let packed = gzip(&bytes);
            for piece in [1 << 20, 700, 3] {
                if piece < 700 && packed.len() > 100_000 {
                    continue;
                }
                assert!(through(&packed, piece, true).await.unwrap().bytes == bytes, "{piece}");
                assert!(through(&packed, piece, false).await.unwrap().bytes == packed, "it was not asked for");
                assert!(through(&bytes, piece.max(100), true).await.unwrap().bytes == bytes, "it is not packed");
            }
        }
    }

    #[tokio::test]
    async fn what_can_not_be_unpacked_is_refused() {
        let packed = gzip(&noise(500_000));
        let mut damaged = packed.clone();
        damaged[900_000..900_100].fill(0xaa);
        for (bytes, why) in [
            (&packed[..packed.len() - 9], "The image file ends early."),
            (&packed[..600], "The image file ends early."),
            (&damaged, "The file can't be unpacked: it is damaged."),
        ] {
            let refused = through(bytes, 65_536, true).await.err().unwrap();
            assert_eq!(refused.message(), why);
        }
    }

    /// Packing and passing on are decided once: by the one that looked at the whole beginning.
    #[tokio::test]
    async fn a_packing_that_was_found_is_taken() {
        // Of a program that wrote no `ustar` yet.
        let mut header = tar::Header::new_old();
        header.set_path("disk.raw").unwrap();
        header.set_size(4000);
        header.set_cksum();
        let mut old = [header.as_bytes().as_slice(), &noise(1000)].concat();
        old.resize(old.len().next_multiple_of(512) + 1024, 0);
        let mut properties = b"\x5d\0\0".to_vec();
        properties.extend(noise(1000));
        for (bytes, packing, expected) in [
            (old.as_slice(), Some(Packing::Tar), noise(1000)),
            (old.as_slice(), None, old.clone()),
            (properties.as_slice(), None, properties.clone()),
        ] {
            let mut sink = Unpacking::as_found(Kept::default(), packing);
            sink.write(Bytes::copy_from_slice(bytes)).await.unwrap();
            assert!(sink.finish().await.unwrap().bytes == expected, "{packing:?}");
        }
    }

    /// Its bytes so far are the beginning of an image, and no image.
    #[tokio::test]
    async fn a_decoder_that_dies_ends_no_image() {
        let dead = || {
            let ((packed, _), (sender, unpacked)) = (mpsc::channel(1), mpsc::channel(1));
            sender.try_send(Ok(Some(Bytes::from_static(b"begin")))).unwrap();
            let state = State::Packed(Decoder { packed, unpacked });
            Unpacking { inner: Kept::default(), state, content: Content::Plain, found: None, taken: 0 }
        };
        let refused = dead().finish().await.err().unwrap();
        assert_eq!(refused.kind(), Kind::Internal);
        let refused = dead().write(Bytes::from_static(b"more")).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Internal);
    }

    /// A small file may be any number of bytes: the sink's own bound holds.
    #[tokio::test]
    async fn a_sink_that_takes_no_more_ends_it() {
        let packed = gzip(&vec![0; 64 << 20]);
        let mut sink = Unpacking::new(Kept { most: Some(1 << 20), ..Kept::default() }, true);
        let mut outcome = Ok(());
        for chunk in packed.chunks(1000) {
            outcome = sink.write(Bytes::copy_from_slice(chunk)).await;
            if outcome.is_err() {
                break;
            }
        }
        let refused = match outcome {
            Err(error) => {
                sink.abandon().await.unwrap();
                assert!(sink.inner.abandoned);
                error
            }
            Ok(()) => sink.finish().await.err().unwrap(),
        };
        assert_eq!(refused.reason(), Reason::FileTooLarge);
    }
}
