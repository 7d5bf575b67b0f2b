//! Files of one directory in HDFS: appended to, and renamed when they are complete.

use bytes::Bytes;
use http::Request;
use opendal::{Buffer, HttpTransport, Operator};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;

use super::HdfsSettings;
use super::transport::Transport;
use super::trouble::{Trouble, Why};
use crate::percent::RESERVED_IN_PATHS;

/// Tries to append bytes that did not arrive.
const APPENDS_MAX: usize = 4;

/// Files of one directory of HDFS's.
#[derive(Debug)]
pub(super) struct HdfsFiles {
    pub(super) operator: Operator,
    pub(super) transport: Transport,
    /// Up to the path of the directory.
    pub(super) endpoint: String,
    /// The directory, with `/` at both ends.
    pub(super) root: String,
}

impl HdfsFiles {
    /// Puts the parts of URLs together from the settings.
    pub(super) fn new(settings: &HdfsSettings, operator: Operator, transport: Transport, root: &str) -> Self {
        let endpoint = format!("{}/webhdfs/v1", settings.endpoint.trim_end_matches('/'));
        let root = if root.is_empty() { "/".to_owned() } else { format!("/{root}/") };
        Self { operator, transport, endpoint, root }
    }

    /// Length of a file.
    pub(super) async fn length(&self, path: &str) -> opendal::Result<u64> {
        Ok(self.operator.stat(path).await?.content_length())
    }

    /// Adds bytes to a file of `length` bytes. Whether a try that came to nothing was heard all the same is seen by the file.
    pub(super) async fn append(&self, path: &str, length: u64, bytes: &Bytes) -> opendal::Result<()> {
        let mut tries = 0;
        loop {
            // Not to be kept: another try has to find out anew where it may go on.
            let mut appender = self.operator.writer_with(path).append(true).await?;
            let error = match appender.write(bytes.clone()).await {
                Ok(()) => return appender.close().await.map(drop),
                Err(error) => error,
            };
            tries += 1;
            let why = Trouble::of(&error).why;
            let now = self.length(path).await?;
            if now == length + bytes.len() as u64 {
                return Ok(());
            }
            if now != length || tries >= APPENDS_MAX || !(why.may_pass() || why == Why::Cut) {
                return Err(error);
            }
            log::debug!("bytes are appended again: {why:?}");
        }
    }

    /// Gives a complete file of `size` bytes its name, unless that is taken.
    pub(super) async fn rename(&self, from: &str, to: &str, size: u64) -> opendal::Result<()> {
        #[derive(Deserialize)]
        struct Done {
            boolean: bool,
        }
        let odd = |why| opendal::Error::from(Trouble { why, doubt: false });
        let encoded = |path: &str| utf8_percent_encode(&format!("{}{path}", self.root), RESERVED_IN_PATHS).to_string();
        let url = format!("{}{}?op=RENAME&destination={}", self.endpoint, encoded(from), encoded(to));
        let request = Request::put(url).body(Buffer::new()).map_err(|_| odd(Why::Odd))?;
        let answer = self.transport.fetch(request).await?;
        if !answer.status().is_success() {
            return Err(odd(Why::Odd));
        }
        let bytes = answer.into_body().to_buffer().await?.to_vec();
        let done: Done = serde_json::from_slice(&bytes).map_err(|_| odd(Why::Odd))?;
        if done.boolean {
            return Ok(());
        }
        // Either there is a file of this name, or an answer to an earlier try was lost.
        match (self.length(from).await, self.length(to).await) {
            (Err(gone), Ok(there)) if gone.kind() == opendal::ErrorKind::NotFound && there == size => Ok(()),
            (_, Ok(_)) => Err(odd(Why::Taken)),
            _ => Err(odd(Why::Odd)),
        }
    }
}
