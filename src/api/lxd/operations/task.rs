//! Operations that do something.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Aborted, abortable};
use serde_json::Value;
use tokio::time::Instant;

use super::{About, Class, Entry, Operation, Operations, Status, merge};
use crate::api::lxd::wording::told;
use crate::error::{Error, Reason, Result};
use crate::http::observe::report;
use crate::registry::Caller;

/// Listeners are told of progress no more often than that.
const TELL_EVERY: Duration = Duration::from_millis(250);

impl Operations {
    /// Does `work` as an operation of `owner`, on the thread that this is called on. What it returns is laid over the
    /// operation's metadata; its error is what the operation failed for, and what was said before stays.
    ///
    /// The work is dropped where it waits when a client stops it, if it is `cancellable`, and when the server ends.
    ///
    /// # Errors
    /// `Busy` when too much goes on.
    pub fn run<W, F>(&self, owner: &Caller, about: About, work: W) -> Result<Operation>
    where
        W: FnOnce(Progress) -> F + 'static,
        F: Future<Output = Result<Value>> + 'static,
    {
        let entry = self.insert(owner, Class::Task, about, None)?;
        let running = Running::begin(self.clone(), Arc::clone(&entry));
        let progress = Progress { operations: self.clone(), entry: Arc::clone(&entry) };
        let (work, abort) = abortable(async move { work(progress).await });
        self.change(&entry, |state| {
            state.abort = Some(abort);
            state.shown.status = Status::Running;
        });
        actix_web::rt::spawn(async move {
            // The work is gone before anybody is told that it has ended.
            let outcome = work.await;
            running.finish(outcome);
        });
        Ok(entry.show())
    }
}

/// A task, whose end is told however it comes: when this is dropped, it has failed.
struct Running {
    operations: Operations,
    entry: Arc<Entry>,
}

impl Running {
    fn begin(operations: Operations, entry: Arc<Entry>) -> Self {
        operations.0.running.send_modify(|running| *running += 1);
        Self { operations, entry }
    }

    fn finish(&self, outcome: Result<Result<Value>, Aborted>) {
        let (status, metadata, err) = match outcome {
            Ok(Ok(metadata)) => (Status::Success, metadata, String::new()),
            Ok(Err(error)) => {
                report(None, &error);
                (Status::Failure, Value::Null, told(&error).1)
            }
            Err(Aborted) => (Status::Cancelled, Value::Null, String::new()),
        };
        self.operations.change(&self.entry, |state| {
            state.shown.status = status;
            state.shown.err = err;
            merge(&mut state.shown.metadata, metadata);
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !*self.entry.done.borrow() {
            let error = match std::thread::panicking() {
                true => Error::internal("a task panicked"),
                false => Reason::Stopping.saying("The server stopped before this was done."),
            };
            self.finish(Ok(Err(error)));
        }
        self.operations.0.running.send_modify(|running| *running -= 1);
    }
}

/// By which work says how far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    operations: Operations,
    entry: Arc<Entry>,
}

impl Progress {
    /// Says something in the operation's metadata. Others are told at once, or with what is said next if this comes often.
    pub fn say(&self, name: &str, value: impl Into<Value>) {
        let (name, value) = (name.to_owned(), value.into());
        let mut state = self.entry.state();
        if state.shown.status.is_final() {
            return;
        }
        state.shown.metadata.insert(name, value);
        state.shown.updated_at = self.operations.now();
        if Instant::now().saturating_duration_since(state.told) >= TELL_EVERY {
            self.operations.tell(&self.entry, &mut state);
        }
    }

    /// Says which image the operation is about, as soon as that is known.
    pub fn image(&self, fingerprint: &str) {
        self.operations.change(&self.entry, |state| state.shown.images = vec![fingerprint.to_owned()]);
    }
}
