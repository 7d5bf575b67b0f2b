//! One blob on its way to the other side, piece by piece: the parts of an upload for S3, a staged file for HDFS. Whichever way it
//! ends, nothing of it is left but what was finished.

use bytes::Bytes;
use uuid::Uuid;

use super::hdfs::HdfsFiles;
use super::trouble::{Trouble, Why, told_why};
use super::{RemotePlace, RemoteStore, STAGING};
use crate::blob::StoreError;
use crate::image::BlobKey;

/// Bytes of a piece.
const PIECE_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of a piece when the length is unknown.
const PIECE_BYTES_UNTOLD: u64 = 16 * 1024 * 1024;

/// Pieces after which they become larger by as much as the first were: with 10,000 of them, which S3 takes, there is room for 1 TiB.
const PIECES_OF_A_SIZE: u64 = 800;

/// Pieces that an upload of known size is cut into at the most.
const PIECES_MAX: u64 = 9_000;

/// Pieces on their way to S3 at once: while one is waited for the next one is sent, and more gained nothing. What is held of an
/// upload is two pieces more, the one that is gathered and the one before it, which may be the only one.
const PIECES_AT_ONCE: usize = 2;

/// Uploads to one store that do so at the same time: many keep the other side busy as they are, and would hold too much.
const EAGER_UPLOADS_MAX: usize = 8;

/// Bytes of the next piece, after `pieces` with `bytes` in total.
pub(super) fn piece_bytes(size_hint: Option<u64>, pieces: u64, bytes: u64) -> usize {
    let size = match size_hint {
        Some(hint) if bytes < hint => hint.div_ceil(PIECES_MAX).next_multiple_of(1024 * 1024).max(PIECE_BYTES),
        // The end is unknown.
        _ => PIECE_BYTES_UNTOLD * (1 + pieces / PIECES_OF_A_SIZE),
    };
    size.try_into().unwrap_or(usize::MAX)
}

/// An upload that was begun.
pub(super) struct Upload {
    store: RemoteStore,
    key: BlobKey,
    /// There until it is finished or given up.
    to: Option<UploadTo>,
}

enum UploadTo {
    Object(opendal::Writer),
    File {
        staged: String,
        length: u64,
        /// There may be such a file.
        begun: bool,
    },
}

impl Upload {
    /// Begins an upload. On the other side nothing happens before the first piece.
    pub(super) async fn begin(store: &RemoteStore, key: &BlobKey) -> Result<Self, StoreError> {
        let to = match &store.0.place {
            RemotePlace::S3(_) => {
                let at_once = if store.under_way().len() < EAGER_UPLOADS_MAX { PIECES_AT_ONCE } else { 1 };
                let writer = store.0.operator.writer_with(key.as_str()).if_not_exists(true).concurrent(at_once);
                UploadTo::Object(writer.await.map_err(|error| store.told(&error))?)
            }
            RemotePlace::Hdfs(_) => {
                let staged = format!("{STAGING}{}.{}", store.0.boot, Uuid::new_v4());
                UploadTo::File { staged, length: 0, begun: false }
            }
        };
        store.under_way().push(key.clone());
        Ok(Self { store: store.clone(), key: key.clone(), to: Some(to) })
    }

    /// Sends a piece. After an error the upload is good for nothing but to be given up.
    pub(super) async fn put(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let sent = match (&mut self.to, &self.store.0.place) {
            (Some(UploadTo::Object(writer)), _) => writer.write(piece).await,
            (Some(UploadTo::File { staged, length, begun }), RemotePlace::Hdfs(files)) => {
                put_file(files, staged, length, begun, piece).await
            }
            _ => return Err(StoreError::broken("this upload is over")),
        };
        sent.map_err(|error| self.fault(&error))
    }

    /// Error of an upload. Only a blob may be missing: any other missing object is a fault.
    fn fault(&self, error: &opendal::Error) -> StoreError {
        match self.store.told(error) {
            StoreError::NotFound => told_why(&self.store.0.name, Why::Odd),
            other => other,
        }
    }

    /// Sends the last piece, which may be empty or the only one, and gives the blob its name. `size` is that of all pieces.
    pub(super) async fn finish(mut self, last: Bytes, size: u64) -> Result<(), StoreError> {
        let done = match (&mut self.to, &self.store.0.place) {
            (Some(UploadTo::Object(writer)), _) => {
                let done = async {
                    writer.write(last).await?;
                    writer.close().await.map(drop)
                };
                done.await
            }
            (Some(UploadTo::File { staged, length, begun }), RemotePlace::Hdfs(files)) => {
                let done = async {
                    if !*begun || !last.is_empty() {
                        put_file(files, staged, length, begun, last).await?;
                    }
                    if files.length(staged).await? != size {
                        return Err(Trouble { why: Why::Cut, doubt: false }.into());
                    }
                    files.rename(staged, self.key.as_str(), size).await
                };
                done.await
            }
            _ => return Err(StoreError::broken("this upload is over")),
        };
        let Err(error) = done else {
            self.to = None;
            return Ok(());
        };
        let Trouble { why, doubt } = Trouble::of(&error);
        let error = self.fault(&error);
        // An answer to an earlier try was lost, and that try may have been the one that did it.
        if doubt
            && matches!(why, Why::Taken | Why::Gone)
            && self.store.found(&self.key).await.is_ok_and(|there| there.size == size)
        {
            self.to = None;
            return Ok(());
        }
        self.abort().await;
        Err(error)
    }

    /// Removes what there is of it on the other side.
    pub(super) async fn abort(mut self) {
        if let Some(to) = self.to.take() {
            discard(&self.store, to).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (store, key) = (self.store.clone(), self.key.clone());
        let forget = |store: &RemoteStore| {
            let mut under_way = store.under_way();
            if let Some(at) = under_way.iter().position(|other| *other == key) {
                under_way.swap_remove(at);
            }
        };
        match (self.to.take(), tokio::runtime::Handle::try_current()) {
            (Some(to), Ok(runtime)) => {
                forget(&store);
                runtime.spawn(async move { discard(&store, to).await });
            }
            _ => forget(&store),
        }
    }
}

async fn put_file(
    files: &HdfsFiles,
    staged: &str,
    length: &mut u64,
    begun: &mut bool,
    piece: Bytes,
) -> opendal::Result<()> {
    let size = piece.len() as u64;
    if std::mem::replace(begun, true) {
        files.append(staged, *length, &piece).await?;
    } else {
        files.operator.write(staged, piece).await?;
    }
    *length += size;
    Ok(())
}

async fn discard(store: &RemoteStore, to: UploadTo) {
    let outcome = match to {
        UploadTo::Object(mut writer) => writer.abort().await,
        UploadTo::File { begun: false, .. } => return,
        UploadTo::File { staged, .. } => store.0.operator.delete(&staged).await,
    };
    if let Err(error) = outcome {
        let why = Trouble::of(&error).why;
        log::warn!("an unfinished upload stays in the store {} until the next start: {why:?}", store.0.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_enough_for_the_largest_image() {
        const TIB: u64 = 1 << 40;
        for hint in [None, Some(1), Some(TIB)] {
            let (mut pieces, mut bytes) = (0, 0);
            while bytes < TIB {
                let size = piece_bytes(hint, pieces, bytes) as u64;
                assert!((8 << 20..=208 << 20).contains(&size), "{size}");
                bytes += size;
                pieces += 1;
            }
            assert!(pieces <= 10_000, "{hint:?}: {pieces}");
        }
        // All the same size when it is known how many bytes come, which some servers want.
        assert_eq!(piece_bytes(Some(50 << 30), 5000, 5000 * (8 << 20)), 8 << 20);
    }
}
