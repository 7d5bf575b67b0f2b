//! Jobs: work that continues after the server's answer. Knows no terminal.

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Request, StatusCode};
use serde_json::Value;

use super::{Client, ClientError, Record, Result, checked, garbled, json, put_meta, record, refused};
use crate::error::{Kind, Reason};

/// Answer to a change that may take long.
#[derive(Debug)]
pub enum Started {
    /// Done: the record of the image.
    Done(Record),
    /// Running: the record of the job.
    Job(Record),
}

impl Client {
    /// Moves an image into another store. The server may continue as a job.
    ///
    /// # Errors
    /// As the server says.
    pub async fn start_move(&self, id: &str, store: &str) -> Result<Started> {
        let mut request = Request::new(Method::PUT, self.image(id)?);
        put_meta(request.headers_mut(), &[("store".to_owned(), store.to_owned())])?;
        request.headers_mut().insert("prefer", HeaderValue::from_static("respond-async"));
        let answer = checked(self.send(request).await?).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(Started::Job(record(json(answer, "job").await?)?)),
            _ => Ok(Started::Done(record(json(answer, "image").await?)?)),
        }
    }

    /// Jobs of the caller, newest first; for an administrator, all.
    ///
    /// # Errors
    /// As the server says.
    pub async fn jobs(&self) -> Result<Vec<Record>> {
        let answer = checked(self.send(Request::new(Method::GET, self.url("/jobs")?)).await?).await?;
        let Value::Array(jobs) = json(answer, "jobs").await? else { return Err(garbled()) };
        jobs.into_iter().map(record).collect()
    }

    /// Reads a job, now or when it has ended or `wait` is over.
    ///
    /// # Errors
    /// As the server says.
    pub async fn job(&self, id: &str, wait: Option<Duration>) -> Result<Record> {
        let mut url = self.named("jobs", id)?;
        if let Some(wait) = wait {
            url.query_pairs_mut().append_pair("wait", &format!("{}s", wait.as_secs()));
        }
        let answer = checked(self.send(Request::new(Method::GET, url)).await?).await?;
        record(json(answer, "job").await?)
    }

    /// Stops a job.
    ///
    /// # Errors
    /// `Conflict` for a job that can't be stopped; as the server says.
    pub async fn stop_job(&self, id: &str) -> Result<Record> {
        let answer = checked(self.send(Request::new(Method::DELETE, self.named("jobs", id)?)).await?).await?;
        record(json(answer, "job").await?)
    }
}

/// Error of a failed job, in the form of a request's.
pub fn failure_of(job: &Record) -> Option<ClientError> {
    let message = job.get("error")?.as_str()?.to_owned();
    let reason = job.get("reason").and_then(Value::as_str).and_then(Reason::of_code);
    if matches!(reason, Some(Reason::UrlRefused | Reason::ServerRefused)) {
        return Some(ClientError::Forbidden(message));
    }
    match reason.map(Reason::kind) {
        Some(Kind::Verification | Kind::DigestMismatch | Kind::BadContent) => {
            return Some(ClientError::Mismatch(message));
        }
        Some(Kind::Upstream) => return Some(ClientError::Interrupted(message)),
        _ => {}
    }
    let code = job.get("error_code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    Some(refused(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message))
}
