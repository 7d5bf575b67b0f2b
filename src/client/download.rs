//! Downloads: resumed where an earlier one broke off, verified, and named by us.
//!
//! A file grows as `<name>.part`, with the entity tag of its bytes in `<name>.part.etag`, and gets its name when all
//! of it is there and right. Nothing from the network is part of a name but a format out of letters and digits.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use md5::Md5;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::{Client, ClientError, Progress, Record, Result, checked, record_of};
use crate::digest::hex;

/// Destinations of a download.
pub enum Target {
    /// A file `<id>.<format>` in this directory.
    Directory(PathBuf),
    /// A writer, such as standard output. Can't be resumed.
    Writer(Box<dyn Write + Send>),
}

/// A finished download.
#[derive(Debug)]
pub struct Downloaded {
    /// Path of the file, if the destination is one.
    pub path: Option<PathBuf>,
    /// Bytes of the image.
    pub bytes: u64,
    /// The digest that was compared with the server's, besides the length.
    pub verified: &'static str,
}

/// Hashes what passes.
#[derive(Default)]
struct Check {
    md5: Md5,
    sha256: Sha256,
    bytes: u64,
}

impl Check {
    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Compares with what the server announced.
    fn finish(self, announced: &Announced) -> Result<&'static str> {
        if let Some(size) = announced.size.filter(|size| *size != self.bytes) {
            let text = format!("the download ended at {} of {size} bytes", self.bytes);
            return Err(ClientError::Interrupted(text));
        }
        let wrong = |what| Err(ClientError::Mismatch(format!("{what} mismatch: the bytes differ from the image")));
        match (&announced.sha256, &announced.md5) {
            (Some(expected), _) if *expected != hex(&self.sha256.finalize()) => wrong("sha256"),
            (Some(_), _) => Ok("sha256"),
            (None, Some(expected)) if *expected != hex(&self.md5.finalize()) => wrong("md5"),
            (None, Some(_)) => Ok("md5"),
            (None, None) => Ok("length"),
        }
    }
}

/// The server's headers about the whole file.
struct Announced {
    size: Option<u64>,
    sha256: Option<String>,
    md5: Option<String>,
    etag: Option<String>,
}

fn text(headers: &HeaderMap, name: impl reqwest::header::AsHeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}

impl Announced {
    fn of(answer: &Response) -> Self {
        let digits = |text: &String, count| text.len() == count && text.bytes().all(|b| b.is_ascii_hexdigit());
        let headers = answer.headers();
        let etag = text(headers, ETAG);
        // What stands for an image at a URL was chosen by that server, and says nothing about the bytes.
        let ours = headers.get("x-image-meta-store").is_none_or(|store| store != "http");
        let sha256 = etag.as_ref().map(|tag| tag.trim_matches('"').to_owned());
        let sha256 = sha256.filter(|tag| ours && digits(tag, 64));
        let md5 = text(headers, "x-image-meta-checksum").filter(|sum| ours && digits(sum, 32));
        let whole = text(headers, CONTENT_RANGE).and_then(|range| range.rsplit('/').next()?.parse().ok());
        let length = text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let size = if answer.status() == StatusCode::PARTIAL_CONTENT { whole } else { length };
        Self { size, sha256, md5, etag }
    }
}

impl Client {
    /// Downloads an image's file. `begin` is told the record and the size before the first byte.
    ///
    /// # Errors
    /// `Interrupted` (call again to resume), `Mismatch`, `Conflict` when the file is there already, `NotFound` when
    /// the image has no file, and what the server says.
    pub async fn download(
        &self,
        id: &str,
        target: Target,
        begin: impl FnOnce(&Record, Option<u64>),
        progress: Progress,
    ) -> Result<Downloaded> {
        match target {
            Target::Writer(mut writer) => {
                let answer = self.fetch(id, None).await?;
                let (announced, record) = (Announced::of(&answer), record_of(&answer));
                has_file(&record)?;
                begin(&record, announced.size);
                let mut check = Check::default();
                copy(answer, &mut check, &mut *writer, Path::new("standard output"), &progress).await?;
                writer.flush().map_err(|error| ClientError::from_file(Path::new("standard output"), &error))?;
                let bytes = check.bytes;
                Ok(Downloaded { path: None, bytes, verified: check.finish(&announced)? })
            }
            Target::Directory(dir) => self.download_to(id, &dir, begin, progress).await,
        }
    }

    async fn download_to(
        &self,
        id: &str,
        dir: &Path,
        begin: impl FnOnce(&Record, Option<u64>),
        progress: Progress,
    ) -> Result<Downloaded> {
        let record = self.head(id).await?;
        has_file(&record)?;
        let path = dir.join(file_name(id, &record));
        if path.exists() {
            return Err(ClientError::Conflict(format!("{} already exists", path.display())));
        }
        let named = |error: std::io::Error| ClientError::from_file(&path, &error);
        let part = DownloadPart::of(&path);
        let (mut check, resume) = part.what_is_there().map_err(named)?;
        let answer = self.fetch(id, resume.as_deref().map(|etag| (check.bytes, etag))).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            check = Check::default();
        }
        let announced = Announced::of(&answer);
        let mut file = part.open(check.bytes, announced.etag.as_deref()).map_err(named)?;
        begin(&record, announced.size);
        progress(check.bytes);
        copy(answer, &mut check, &mut file, &path, &progress).await?;
        file.sync_all().map_err(named)?;
        let bytes = check.bytes;
        let verified = check.finish(&announced).inspect_err(|error| {
            // What is only short is kept for the next try; what is wrong is of no use.
            if matches!(error, ClientError::Mismatch(_)) {
                part.remove();
            }
        })?;
        part.publish(&path).map_err(named)?;
        Ok(Downloaded { path: Some(path), bytes, verified })
    }

    /// Requests the file, or the rest after the present bytes if its tag is unchanged.
    async fn fetch(&self, id: &str, resume: Option<(u64, &str)>) -> Result<Response> {
        let mut request = Request::new(Method::GET, self.image(id)?);
        if let Some((at, etag)) = resume
            && let Ok(tag) = HeaderValue::from_str(etag)
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={at}-"))
        {
            request.headers_mut().insert(IF_RANGE, tag);
            request.headers_mut().insert(RANGE, range);
        }
        let again = request.try_clone();
        let answer = self.send(request).await?;
        match (answer.status(), again) {
            // All of it is there already, or more than all: the whole file tells.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(mut again)) => {
                again.headers_mut().remove(RANGE);
                again.headers_mut().remove(IF_RANGE);
                checked(self.send(again).await?).await
            }
            _ => checked(answer).await,
        }
    }
}

fn has_file(record: &Record) -> Result<()> {
    match record.get("status").and_then(|status| status.as_str()) {
        Some("available") => Ok(()),
        status => {
            Err(ClientError::NotFound(format!("the image has no file yet: it is {}", status.unwrap_or("locked"))))
        }
    }
}

/// `<id>.<format>`, as the original names it.
fn file_name(id: &str, record: &Record) -> String {
    let format = record.get("format").and_then(|format| format.as_str());
    let format = format.filter(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    format!("{id}.{}", format.unwrap_or("none"))
}

async fn copy(
    answer: Response,
    check: &mut Check,
    into: &mut (dyn Write + Send),
    name: &Path,
    progress: &Progress,
) -> Result<()> {
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| {
            ClientError::Interrupted(format!(
                "the download broke off after {} bytes; repeat the command to resume",
                check.bytes
            ))
        })?;
        into.write_all(&chunk).map_err(|error| ClientError::from_file(name, &error))?;
        check.update(&chunk);
        progress(check.bytes);
    }
    Ok(())
}

/// A file in the making.
struct DownloadPart {
    file: PathBuf,
    etag: PathBuf,
}

impl DownloadPart {
    fn of(path: &Path) -> Self {
        let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        Self { file: with(".part"), etag: with(".part.etag") }
    }

    /// Hashes what an earlier download left; with its entity tag, if it can be resumed.
    fn what_is_there(&self) -> std::io::Result<(Check, Option<String>)> {
        let mut check = Check::default();
        let (Ok(etag), Ok(mut file)) = (std::fs::read_to_string(&self.etag), std::fs::File::open(&self.file)) else {
            return Ok((check, None));
        };
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => check.update(&buffer[..read]),
            }
        }
        let resumes = check.bytes > 0 && !etag.is_empty();
        Ok((check, resumes.then_some(etag)))
    }

    /// Opens the file for what comes behind `at`, and notes whose bytes they are.
    fn open(&self, at: u64, etag: Option<&str>) -> std::io::Result<std::fs::File> {
        use std::io::Seek;
        std::fs::write(&self.etag, etag.unwrap_or_default())?;
        let mut file = std::fs::File::options().write(true).create(true).truncate(false).open(&self.file)?;
        file.set_len(at)?;
        file.seek(std::io::SeekFrom::Start(at))?;
        Ok(file)
    }

    /// Gives the file its name, unless something has it by now.
    fn publish(&self, path: &Path) -> std::io::Result<()> {
        match std::fs::hard_link(&self.file, path) {
            Ok(()) => self.remove(),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(error),
            // A file system without links, such as a memory stick's.
            Err(_) => {
                std::fs::rename(&self.file, path)?;
                std::fs::remove_file(&self.etag)?;
            }
        }
        Ok(())
    }

    fn remove(&self) {
        for file in [&self.file, &self.etag] {
            if let Err(error) = std::fs::remove_file(file) {
                log::warn!("{}: {error}", file.display());
            }
        }
    }
}
