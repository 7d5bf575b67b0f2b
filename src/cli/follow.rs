//! Follows a job of the server to its end, with a progress bar.

use std::time::Duration;

use serde_json::Value;

use super::failure::{Exit, Failure};
use super::progress::Bar;
use crate::client::{Client, Record, failure_of};

/// Time between two reads of a running job; its end is answered at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows a job and returns its final record. Ctrl-C ends the following, not the job.
pub(super) async fn follow(client: &Client, id: &str) -> Result<Record, Failure> {
    let bar = Bar::new();
    let progress = bar.progress();
    let mut length = None;
    let show = |job: &Record| {
        let number = |name: &str| job.get(name).and_then(Value::as_u64);
        if let Some(bytes) = number("bytes") {
            let total = number("bytes_total");
            if length != Some(total) {
                bar.length(total);
                length = Some(total);
            }
            progress(bytes);
        }
    };
    let words = format!("interrupted; the server goes on with it (visor jobs {id} --follow, visor jobs stop {id})");
    let ended = tokio::select! {
        ended = watch(client, id, show) => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, words)),
    };
    bar.done();
    ended
}

/// Reads a job until it ends, and returns its final record. `each` sees every one.
pub(super) async fn watch(client: &Client, id: &str, mut each: impl FnMut(&Record)) -> Result<Record, Failure> {
    loop {
        let job = client.job(id, Some(LOOK_EVERY)).await?;
        each(&job);
        match job.get("status").and_then(Value::as_str).unwrap_or_default() {
            "done" => return Ok(job),
            "failed" => {
                let unknown = || Failure::general("the job failed");
                return Err(failure_of(&job).map_or_else(unknown, Failure::from));
            }
            "stopped" => return Err(Failure::new(Exit::Interrupted, format!("the job {id} was stopped"))),
            _ => {}
        }
    }
}
