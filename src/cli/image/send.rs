//! Sends files: small ones in one request, large ones in pieces, which a repeated command resumes.

use std::fs::Metadata;
use std::path::Path;

use super::super::failure::Failure;
use super::super::progress::Bar;
use super::unfinished::Unfinished;
use crate::client::{Client, ClientError, Pieces, Record, Upload};

/// Size from which files are sent in pieces, so that a broken connection does not cost all of it.
const IN_PIECES_FROM: u64 = 64 << 20;

/// A file to send, and its image.
pub(super) struct Sending<'a> {
    pub(super) client: &'a Client,
    /// Image to change; `None` makes a new one.
    pub(super) into: Option<&'a str>,
    pub(super) meta: &'a [(String, String)],
    pub(super) file: Option<&'a Path>,
}

impl Sending<'_> {
    /// Sends it, with a progress bar if there is a file.
    pub(super) async fn send(self) -> Result<Record, Failure> {
        let Some(file) = self.file else { return Ok(self.at_once(None).await?) };
        let bar = Bar::new();
        let sent = self.send_file(file, &bar).await;
        bar.done();
        sent
    }

    async fn at_once(&self, file: Option<Upload>) -> Result<Record, ClientError> {
        match self.into {
            None => self.client.add(self.meta, file).await,
            Some(id) => self.client.update(id, self.meta, file).await,
        }
    }

    async fn send_file(&self, file: &Path, bar: &Bar) -> Result<Record, Failure> {
        if file == Path::new("-") {
            bar.length(None);
            return Ok(self.at_once(Some(Upload::of(tokio::io::stdin(), None, 0, bar.progress()))).await?);
        }
        let named = |error: std::io::Error| Failure::general(format!("{}: {error}", file.display()));
        let opened = tokio::fs::File::open(file).await.map_err(named)?;
        let about = opened.metadata().await.map_err(named)?;
        if about.is_dir() {
            return Err(Failure::general(format!("{} is a directory", file.display())));
        }
        let length = about.is_file().then_some(about.len());
        bar.length(length);
        if let Some(length) = length.filter(|length| *length > IN_PIECES_FROM)
            && let Some(record) = self.in_pieces(file, &about, length, bar).await?
        {
            return Ok(record);
        }
        Ok(self.at_once(Some(Upload::of(opened, length, 0, bar.progress()))).await?)
    }

    async fn in_pieces(
        &self,
        file: &Path,
        about: &Metadata,
        length: u64,
        bar: &Bar,
    ) -> Result<Option<Record>, ClientError> {
        let (server, account) = self.client.identity();
        let mut what = vec![server, account, self.into.unwrap_or_default()];
        what.extend(self.meta.iter().flat_map(|(name, value)| [name.as_str(), value]));
        let memory = Unfinished::of(file, about, &what);
        let pieces = Pieces { into: self.into, meta: self.meta, file, length, begun: memory.id() };
        let sent = self.client.send_in_pieces(pieces, |id| memory.remember(id), bar.progress()).await;
        match &sent {
            // The server keeps the received bytes for a day.
            Err(ClientError::Interrupted(_) | ClientError::Unreachable(_)) => {}
            Ok(_) => memory.forget(),
            Err(_) => {
                if let Some(id) = memory.id() {
                    // No client will resume the upload. It may be gone already.
                    let _ = self.client.cancel_pieces(&id).await;
                    memory.forget();
                }
            }
        }
        sent
    }
}
