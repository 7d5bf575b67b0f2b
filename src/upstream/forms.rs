//! An answer with both files of an image, one after the other, read by `actix-multipart`.
//!
//! Its reader may not leave its thread, so it has a thread for as long as the answer lasts, and passes on what it reads. Tasks
//! that wait for a download are then free to move.

use actix_multipart::{Multipart, MultipartError};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, ContentDisposition, HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::file::{File, Part};
use super::server::{Server, file_name};
use crate::error::{Error, Result};
use crate::fetch::FetchError;
use crate::image::ImageKind;

/// Pieces, of at most 64 KiB each, that wait to be taken.
const PIECES_WAITING: usize = 4;

/// A form in the making.
pub(super) struct Form {
    events: mpsc::Receiver<Result<FormEvent, FormTrouble>>,
    /// An event that ended the bytes before it.
    ahead: Option<FormEvent>,
    files: usize,
}

enum FormEvent {
    /// A part begins: its name, and that of its file.
    Part(String, String),
    /// Bytes of it.
    Bytes(Bytes),
    /// There are no more parts.
    End,
}

/// Reasons why a form can't be read on.
pub(super) enum FormTrouble {
    /// The bytes do not come.
    Fetch(FetchError),
    /// A body that is no such form.
    Malformed(String),
}

impl FormTrouble {
    pub(super) fn of(self, server: &Server) -> Error {
        match self {
            Self::Fetch(error) => server.failed(error),
            Self::Malformed(text) => {
                server.garbled("an LXD or Incus server", format!("invalid multipart image: {text}"))
            }
        }
    }
}

impl From<MultipartError> for FormTrouble {
    fn from(error: MultipartError) -> Self {
        match error {
            // What we put in ourselves, below.
            MultipartError::Payload(PayloadError::Io(error)) => match error.downcast::<FetchError>() {
                Ok(error) => Self::Fetch(error),
                Err(error) => Self::Malformed(error.to_string()),
            },
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// Tells whether a media type is that of a form.
pub(super) fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The file name in a `Content-Disposition`.
pub(super) fn file_name_in(header: &str) -> Option<String> {
    let header = HeaderValue::from_str(header).ok()?;
    let parsed = ContentDisposition::from_raw(&header).ok()?;
    parsed.get_filename().map(ToOwned::to_owned)
}

impl Form {
    /// Begins to read.
    pub(super) fn read(content_type: String, stream: BoxStream<'static, Result<Bytes, FetchError>>) -> Result<Self> {
        let content_type = HeaderValue::try_from(content_type).map_err(Error::internal)?;
        let (sender, events) = mpsc::channel(PIECES_WAITING);
        let reader = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let outcome = match runtime {
                Ok(runtime) => runtime.block_on(pass_on(content_type, stream, &sender)),
                Err(error) => Err(FormTrouble::Malformed(format!("nothing to read it with: {error}"))),
            };
            if let Err(trouble) = outcome {
                // The reader of the form gets it, or is gone.
                let _ = sender.blocking_send(Err(trouble));
            }
        };
        std::thread::Builder::new().name("multipart".into()).spawn(reader).map_err(Error::internal)?;
        Ok(Self { events, ahead: None, files: 0 })
    }

    /// The next file, if the form has the two that an image of this kind has. What comes before must have been read.
    pub(super) async fn next_file(&mut self, kind: ImageKind) -> Result<Option<File>, FormTrouble> {
        let event = match self.ahead.take() {
            Some(event) => event,
            None => self.next().await?,
        };
        let rootfs = if kind == ImageKind::VirtualMachine { "rootfs.img" } else { "rootfs" };
        let (part, file) = match (event, self.files) {
            (FormEvent::Part(name, file), 0) if name == "metadata" => (Part::Metadata, file),
            (FormEvent::Part(name, file), 1) if name == rootfs => (Part::Rootfs, file),
            (FormEvent::End, 2) => {
                self.ahead = Some(FormEvent::End);
                return Ok(None);
            }
            (FormEvent::Part(..), _) => return Err(FormTrouble::Malformed("other parts than an image has".into())),
            _ => return Err(FormTrouble::Malformed("fewer parts than an image has".into())),
        };
        self.files += 1;
        Ok(Some(File { part, name: file_name(&file).unwrap_or_default().to_owned(), size: None }))
    }

    /// More bytes of the file.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, FormTrouble> {
        if self.ahead.is_some() {
            return Ok(None);
        }
        match self.next().await? {
            FormEvent::Bytes(bytes) => Ok(Some(bytes)),
            other => {
                self.ahead = Some(other);
                Ok(None)
            }
        }
    }

    async fn next(&mut self) -> Result<FormEvent, FormTrouble> {
        let gone = || Err(FormTrouble::Malformed("its reader has ended".into()));
        self.events.recv().await.unwrap_or_else(gone)
    }
}

/// Reads a form to its end. What the server writes behind that is not looked at: LXD writes the last line twice.
async fn pass_on(
    content_type: HeaderValue,
    stream: BoxStream<'static, Result<Bytes, FetchError>>,
    to: &mpsc::Sender<Result<FormEvent, FormTrouble>>,
) -> Result<(), FormTrouble> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type);
    let stream = stream.map(|piece| piece.map_err(|error| PayloadError::Io(std::io::Error::other(error))));
    let mut form = Multipart::new(&headers, stream);
    while let Some(mut field) = form.next().await.transpose()? {
        let file = field.content_disposition().and_then(|header| header.get_filename()).unwrap_or_default();
        let part = FormEvent::Part(field.name().unwrap_or_default().to_owned(), file.to_owned());
        if to.send(Ok(part)).await.is_err() {
            return Ok(());
        }
        while let Some(bytes) = field.next().await.transpose()? {
            if to.send(Ok(FormEvent::Bytes(bytes))).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = to.send(Ok(FormEvent::End)).await;
    Ok(())
}
