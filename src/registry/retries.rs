//! Fetches of a job: a pause before a request is sent again is shown by the job, and is no silence of the sender. Knows no
//! protocol.

use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::fetch::{Backoff, Body, Fetcher, Retries, RetryEvent};
use crate::ingest::Pauses;
use crate::jobs::Handle;

/// The reports of a fetch: to its job, and to the meter of its bytes. Clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::registry) struct FetchReport {
    pub(in crate::registry) handle: Handle,
    pub(in crate::registry) pauses: Pauses,
}

impl FetchReport {
    /// Reports to a job.
    pub(in crate::registry) fn to(handle: &Handle) -> Self {
        Self { handle: handle.clone(), pauses: Pauses::default() }
    }

    /// Opens the bytes under a URL, again and again while its server can't answer; a body that breaks off is continued.
    ///
    /// # Errors
    /// As [`Fetcher::get_again`]; that of a stop of the job, which does not wait for a server that can't answer.
    pub(in crate::registry) async fn get(&self, fetcher: &Fetcher, url: &str) -> Result<Body> {
        let fetcher = fetcher.telling(self.listener());
        tokio::select! {
            body = fetcher.get_again(url) => body.map_err(|error| error.of_file(url)),
            () = self.handle.stopped() => Err(Handle::stop_error()),
        }
    }

    /// Listener that takes the events between the requests of a client.
    pub(in crate::registry) fn listener(&self) -> impl Fn(RetryEvent<'_>) + Send + Sync + 'static {
        let report = self.clone();
        move |event| match event {
            RetryEvent::Pause(error, _) => {
                report.pause(&format!("The other server {}; it is asked again.", error.words()));
            }
            RetryEvent::Going => report.go_on(),
        }
    }

    /// Ends the pause: bytes come again.
    pub(in crate::registry) fn go_on(&self) {
        self.pauses.end();
    }

    /// Begins a pause after a trouble, in words for the job's owner.
    pub(in crate::registry) fn pause(&self, trouble: &str) {
        self.pauses.begin();
        self.handle.retry(trouble);
    }

    /// Waits before work is begun anew after this error. False if it is not to be.
    pub(in crate::registry) async fn begins_anew(&self, error: &Error, backoff: &mut Backoff) -> bool {
        let Some(pause) = backoff.pause(None) else { return false };
        log::info!("beginning anew in {pause:?}: {}", error.logged());
        self.pause(&format!("{error} It is begun anew."));
        sleep(pause).await;
        self.pauses.end();
        true
    }
}

/// Bounds on work that is begun anew: each time, all that has come is thrown away.
pub(in crate::registry) fn anew(rules: Retries) -> Backoff {
    Backoff::new(Retries { tries: rules.tries.min(3), ..rules })
}
