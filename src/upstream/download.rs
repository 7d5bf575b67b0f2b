//! Files on their way here: one after the other in the order of the fingerprint, each as long as was announced and with the
//! digest that was announced.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use sha2::{Digest, Sha256};

use super::file::{File, Listed, Part};
use super::forms::{self, Form};
use super::server::{Server, file_name, is_text, said};
use super::{Files, Found};
use crate::digest::hex;
use crate::error::{Error, Reason, Result};
use crate::fetch::{Body, FetchError, Fetcher};
use crate::image::ImageKind;

/// The files of one image: either [`Part::Whole`], or [`Part::Metadata`] and then [`Part::Rootfs`].
pub struct Download {
    server: Server,
    /// The files come in one form, which can't be continued.
    is_form: bool,
    /// Bytes that may still come, of all files together.
    left: Option<u64>,
    source: DownloadSource,
}

enum DownloadSource {
    /// Several answers, the next of which is asked for when it is its turn.
    Listed { fetcher: Fetcher, rest: VecDeque<Listed>, now: Option<Box<Coming>> },
    /// One open answer. The file is taken when it is returned.
    Unified(Option<File>, BoxStream<'static, Result<Bytes, FetchError>>),
    /// One answer with two files in it.
    Split(Form, ImageKind),
    /// No more bytes, after an error.
    Broken,
}

/// A listed file whose bytes come.
struct Coming {
    listed: Listed,
    stream: BoxStream<'static, Result<Bytes, FetchError>>,
    left: Option<u64>,
    hash: Sha256,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("host", &self.server.host()).finish_non_exhaustive()
    }
}

impl Download {
    pub(super) fn listed(fetcher: Fetcher, server: Server, files: Vec<Listed>) -> Self {
        // Of these, each knows its own size.
        Self {
            server,
            is_form: false,
            left: None,
            source: DownloadSource::Listed { fetcher, rest: files.into(), now: None },
        }
    }

    pub(super) fn unified(server: &Server, found: &Found, body: Body) -> Result<Self> {
        if found.size.zip(body.length).is_some_and(|(announced, sent)| announced != sent) {
            return Err(server.failed(FetchError::WrongLength("the answer has another length than the image".into())));
        }
        let name = body.told.text("content-disposition").and_then(forms::file_name_in);
        let name = name.as_deref().and_then(file_name).unwrap_or(&found.filename).to_owned();
        let file = File { part: Part::Whole, name, size: body.length };
        let source = DownloadSource::Unified(Some(file), body.stream);
        Ok(Self { server: server.clone(), is_form: false, left: found.size, source })
    }

    pub(super) fn split(server: &Server, found: &Found, content_type: String, body: Body) -> Result<Self> {
        let form = Form::read(content_type, body.stream)?;
        let source = DownloadSource::Split(form, found.kind);
        Ok(Self { server: server.clone(), is_form: true, left: found.size, source })
    }

    /// Tells whether another download may have a better end than this one, which failed so: it could not go on where it stopped.
    pub fn is_worth_another(&self, error: &Error) -> bool {
        let repeats = !self.server.is_asked_once();
        repeats
            && FetchError::of(error).is_some_and(|error| match error {
                FetchError::Changed(_) => true,
                error => self.is_form && error.may_pass(),
            })
    }

    /// The next file. What is left of the one before is read and thrown away.
    ///
    /// # Errors
    /// `Upstream` when the server sends something else than was announced; after an error there is nothing more.
    pub async fn next_file(&mut self) -> Result<Option<File>> {
        while self.next_chunk().await?.is_some() {}
        self.begin().await.inspect_err(|_| self.source = DownloadSource::Broken)
    }

    /// More bytes of the file; `None` at its end.
    ///
    /// # Errors
    /// As [`Download::next_file`]; `DigestMismatch` when the bytes are not those that were announced.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.piece().await.and_then(|chunk| self.count(chunk));
        chunk.inspect_err(|_| self.source = DownloadSource::Broken)
    }

    /// The bytes of the file as a stream, for a rate guard.
    pub fn chunks(&mut self) -> BoxStream<'_, Result<Bytes>> {
        let chunks = stream::unfold(self, |download| async move {
            let chunk = download.next_chunk().await.transpose()?;
            Some((chunk, download))
        });
        chunks.fuse().boxed()
    }

    async fn begin(&mut self) -> Result<Option<File>> {
        match &mut self.source {
            DownloadSource::Broken => Err(Reason::Upstream.saying("The download has broken off.")),
            DownloadSource::Unified(file, _) => Ok(file.take()),
            DownloadSource::Split(form, kind) => {
                form.next_file(*kind).await.map_err(|trouble| trouble.of(&self.server))
            }
            DownloadSource::Listed { fetcher, rest, now } => {
                let Some(listed) = rest.pop_front() else { return Ok(None) };
                let coming = now.insert(Box::new(Coming::open(fetcher, &self.server, listed).await?));
                Ok(Some(coming.listed.file.clone()))
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        match &mut self.source {
            DownloadSource::Broken | DownloadSource::Unified(Some(_), _) => Ok(None),
            DownloadSource::Unified(None, stream) => {
                stream.next().await.transpose().map_err(|error| self.server.failed(error))
            }
            DownloadSource::Split(form, _) => form.next_chunk().await.map_err(|trouble| trouble.of(&self.server)),
            DownloadSource::Listed { now, .. } => {
                let Some(coming) = now else { return Ok(None) };
                let chunk = coming.next(&self.server).await?;
                if chunk.is_none() {
                    *now = None;
                }
                Ok(chunk)
            }
        }
    }

    fn count(&mut self, chunk: Option<Bytes>) -> Result<Option<Bytes>> {
        if let (Some(left), Some(chunk)) = (&mut self.left, &chunk) {
            let more = || self.server.failed(FetchError::WrongLength("more bytes than announced".into()));
            *left = left.checked_sub(chunk.len() as u64).ok_or_else(more)?;
        }
        Ok(chunk)
    }
}

impl Coming {
    async fn open(fetcher: &Fetcher, server: &Server, listed: Listed) -> Result<Self> {
        let body = fetcher.open_again(&server.request(&listed.path)).await.map_err(|error| server.failed(error))?;
        let shown = server.shown(&listed.path);
        match body.status {
            200 => {}
            403 | 404 | 410 => return Err(Reason::UrlNotFound.saying(format!("There is nothing under {shown}."))),
            status => return Err(server.garbled("an image server", format!("{shown}: {status}"))),
        }
        // Where a digest is listed, that decides: servers of static files have all sorts of types for these.
        let is_text = |kind: &&str| listed.sha256.is_none() && is_text(kind);
        if let Some(kind) = body.told.text("content-type").filter(is_text) {
            return Err(server.garbled("an image server", format!("{shown}: {} for a file", said(kind))));
        }
        if listed.file.size.zip(body.length).is_some_and(|(announced, sent)| announced != sent) {
            return Err(server.failed(FetchError::WrongLength(format!("{shown}: not the length that is listed"))));
        }
        let left = listed.file.size;
        let size = left.or(body.length);
        let listed = Listed { file: File { size, ..listed.file }, ..listed };
        Ok(Self { listed, stream: body.stream, left, hash: Sha256::new() })
    }

    async fn next(&mut self, server: &Server) -> Result<Option<Bytes>> {
        let wrong = |what: &str| server.failed(FetchError::WrongLength(what.to_owned()));
        match self.stream.next().await.transpose().map_err(|error| server.failed(error))? {
            Some(chunk) => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(chunk.len() as u64).ok_or_else(|| wrong("more bytes than listed"))?;
                }
                if self.listed.sha256.is_some() {
                    self.hash.update(&chunk);
                }
                Ok(Some(chunk))
            }
            None if self.left.is_some_and(|left| left > 0) => Err(wrong("fewer bytes than listed")),
            None => {
                let sum: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
                match self.listed.sha256 {
                    Some(listed) if listed != sum => {
                        let shown = server.shown(&self.listed.path);
                        Err(Reason::RemoteMismatch.about(shown).and(hex(&sum)).and(hex(&listed)))
                    }
                    _ => Ok(None),
                }
            }
        }
    }
}

/// The one file under a URL, with the digest that it has to have.
pub(super) fn single(path: String, sha256: [u8; 32]) -> Files {
    let name = path.split('?').next().and_then(|path| path.rsplit('/').next()).and_then(file_name);
    let file = File { part: Part::Whole, name: name.unwrap_or_default().to_owned(), size: None };
    Files::Listed(vec![Listed { file, path, sha256: Some(sha256) }])
}
