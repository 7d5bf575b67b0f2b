//! The task of a fill: asks for its bytes, again and again if need be, until they are here or there is no hope.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::core::Cache;
use super::entry::Head;
use super::fill::{End, Fill, Voucher};
use super::pump::{Pump, Pumped};
use super::resume::{Case, Condition, NextStep, judge};
use super::route::{Answered, HEAD_WITHIN, page, refusal};
use super::settings::Abandoned;
use super::settle::{Ended, First, settle};
use super::{fresh, hash, verify};
use crate::error::{Error, Reason};
use crate::fetch::{Exchange, Exchanged};

/// Tries without a byte after which there is no hope.
const BARREN_MAX: u32 = 5;

/// Failures at the place that a redirect led to, after which the first place is asked again.
const FAILURES_THERE_MAX: u32 = 2;

/// Other contents in the middle of a transfer, after which there is no hope.
const REPLACED_MAX: u32 = 3;

/// Longest transfer of a document: files wait for theirs.
const DOCUMENT_TIME: Duration = Duration::from_secs(300);

/// Runs a fill to its end, and those that come in its place when its content changes. `first` is an answer with its first bytes.
pub(super) fn run(
    cache: Arc<Cache>,
    fill: Arc<Fill>,
    earlier: Option<Head>,
    first: Option<First>,
) -> BoxFuture<'static, ()> {
    // Boxed by its type: a transfer asks for documents, which are transfers.
    async move {
        let mut next = Some((fill, earlier, first));
        let mut replaced = 0;
        while let Some((fill, earlier, first)) = next.take() {
            let _ended = EndGuard(&cache, &fill);
            let mut ended = Transfer::new(&cache, &fill, earlier).run(first).await;
            if matches!(ended, Ended::Replaced(_)) {
                replaced += 1;
                if replaced > REPLACED_MAX {
                    ended = Ended::Failed(Reason::UpstreamChanged.about(fill.key.shown()));
                }
            }
            next = settle(&cache, &fill, ended).await.map(|(fill, first)| (fill, None, first));
        }
    }
    .boxed()
}

/// Ends a fill whose task dies: its key would be dead otherwise.
struct EndGuard<'a>(&'a Cache, &'a Arc<Fill>);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if self.1.state.borrow().end.is_none() {
            self.0.slot(&self.1.key, |slot| slot.fill.take_if(|current| Arc::ptr_eq(current, self.1)));
            self.1.finish(End::Failed(Error::from(Reason::Interrupted).into()));
        }
    }
}

struct Transfer<'a> {
    cache: &'a Arc<Cache>,
    fill: &'a Arc<Fill>,
    /// Head of the content whose bytes are here.
    known: Option<Head>,
    /// Tries without a byte since the last one that brought some.
    barren: u32,
    failures_there: u32,
    /// True if an answer to a range could not be relied on.
    distrusted: bool,
}

/// Way on after an answer.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    /// All bytes are here.
    Whole,
    /// The next request follows at once.
    Now,
    /// The next request has to wait.
    Later,
}

/// A request for the rest.
struct Asked {
    answer: Answered,
    condition: Condition,
}

impl<'a> Transfer<'a> {
    fn new(cache: &'a Arc<Cache>, fill: &'a Arc<Fill>, known: Option<Head>) -> Self {
        Self { cache, fill, known, barren: 0, failures_there: 0, distrusted: false }
    }

    async fn run(mut self, first: Option<First>) -> Ended {
        let (cache, fill) = (Arc::clone(self.cache), Arc::clone(self.fill));
        if cache.settings.abandoned == Abandoned::Finish {
            fill.want();
        }
        let abandoned = fill.abandoned(cache.settings.linger);
        let late =
            || Reason::UpstreamDead.about(fill.key.shown()).and(format!("it is not here after {DOCUMENT_TIME:?}"));
        tokio::select! {
            biased;
            ended = self.bring(first) => ended,
            () = abandoned => Ended::Abandoned,
            () = tokio::time::sleep(DOCUMENT_TIME), if fill.document => Ended::Failed(late()),
            () = cache.offline.wait() => Ended::Abandoned,
        }
    }

    /// Brings all bytes and their digests. Dropped when it is abandoned: what was written so far stays.
    async fn bring(&mut self, first: Option<First>) -> Ended {
        self.fill.state.send_modify(|state| state.queued = true);
        let places = match self.cache.place(self.fill.key.host(), self.fill.document).await {
            Ok(places) => places,
            Err(error) => return Ended::Failed(error),
        };
        self.fill.state.send_modify(|state| state.queued = false);
        // Dropped with this future, and their tasks end then.
        let (mut looking, mut hashing) = (JoinSet::new(), JoinSet::new());
        let (cache, fill) = (Arc::clone(self.cache), Arc::clone(self.fill));
        looking.spawn(async move {
            // Documents of strangers are parsed in it. Without an end of it there is no verdict.
            if AssertUnwindSafe(verify::lookup(cache, Arc::clone(&fill))).catch_unwind().await.is_err() {
                let failure = Error::from(Reason::Interrupted).into();
                fill.state.send_modify(|state| state.proof = Voucher::Refused(failure));
            }
        });
        hashing.spawn(hash::follow(Arc::clone(self.fill)));
        if let Err(ended) = self.receive(first).await {
            return ended;
        }
        drop(places);
        self.fill.state.send_modify(|state| {
            state.complete = true;
            state.length = Some(state.extents.prefix());
        });
        match hashing.join_next().await {
            Some(Ok(Ok(sums))) => Ended::Whole(sums),
            Some(Ok(Err(error))) => Ended::Failed(Error::internal(error)),
            _ => Ended::Failed(Reason::Interrupted.into()),
        }
    }

    async fn receive(&mut self, mut first: Option<First>) -> Result<(), Ended> {
        loop {
            let before = self.fill.prefix();
            let flow = match first.take() {
                Some(First { answer, copied }) => self.start(answer, copied).await?,
                None => self.try_once(before).await?,
            };
            match flow {
                Flow::Whole => return Ok(()),
                Flow::Now if self.fill.prefix() > before => self.barren = 0,
                Flow::Now if self.barren < BARREN_MAX => self.barren += 1,
                Flow::Now | Flow::Later => self.pause(before).await?,
            }
        }
    }

    async fn try_once(&mut self, before: u64) -> Result<Flow, Ended> {
        match self.ask(before).await {
            Ok(asked) => self.take(asked, before).await,
            Err(error) => {
                log::info!("{} goes on later: {}", self.fill.key.shown(), error.logged());
                self.failed(error)
            }
        }
    }

    /// Goes on after a request without an answer that helps, or gives up.
    fn failed(&mut self, error: Error) -> Result<Flow, Ended> {
        let there = self.known.is_some() && self.failures_there < FAILURES_THERE_MAX;
        self.failures_there += 1;
        if self.fill.state.borrow().head.is_some() {
            return Ok(Flow::Later);
        }
        // Of an earlier run's bytes the place may be one that was good for minutes; the first place knows a new one.
        self.failures_there += FAILURES_THERE_MAX;
        if there { Ok(Flow::Now) } else { Err(Ended::Failed(error)) }
    }

    /// Waits before the next try, the longer the more tries brought nothing.
    async fn pause(&mut self, before: u64) -> Result<(), Ended> {
        if self.fill.prefix() > before {
            self.barren = 0;
            self.failures_there = 0;
        } else {
            self.barren += 1;
        }
        if self.barren >= BARREN_MAX {
            let words = "it broke off again and again";
            return Err(Ended::Failed(Reason::UpstreamDead.about(self.fill.key.shown()).and(words)));
        }
        let first = self.cache.settings.retry_after;
        let pause = first.saturating_mul(4u32.saturating_pow(self.barren)).min(first * 60);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Asks for the rest.
    async fn ask(&mut self, here: u64) -> Result<Asked, Error> {
        let digest = self.fill.state.borrow().has_digest();
        let first_place = self.failures_there >= FAILURES_THERE_MAX;
        let condition = self.condition(digest, first_place);
        let if_range = (condition == Condition::Guarded).then(|| self.known.as_ref()?.if_range()).flatten();
        let range = (condition != Condition::Whole && here > 0).then_some((here, None));
        let shape = Exchange { range, if_range, via: self.fill.via.clone(), ..Exchange::default() };
        let insist = self.fill.state.borrow().head.is_some();
        let there = self.known.as_ref().filter(|_| here > 0 && !first_place);
        let answer = match there.and_then(|known| self.cache.hop_at(&known.url)) {
            Some(there) => {
                let asked = self.cache.ask_at(&there, &shape, HEAD_WITHIN).await;
                asked.map_err(|error| self.cache.explain(&self.fill.key, error))?
            }
            // A transfer that has readers waiting goes on trying; one that has none yet says at once what is wrong.
            None => self.cache.ask(&self.fill.key, &shape, digest, insist).await?,
        };
        Ok(Asked { answer, condition })
    }

    fn condition(&self, digest: bool, first_place: bool) -> Condition {
        let Some(known) = self.known.as_ref().filter(|_| self.fill.prefix() > 0 && !self.distrusted) else {
            return Condition::Whole;
        };
        let dated = known.has_old_date() && known.length.is_some();
        // The answer may come from elsewhere, with tags of its own.
        let has_others = known.url != self.fill.key.url() || self.cache.hops(&self.fill.key, digest).len() > 1;
        match known.if_range() {
            _ if first_place && has_others && (digest || dated) => Condition::Loose,
            Some(_) => Condition::Guarded,
            None if digest => Condition::Loose,
            None => Condition::Whole,
        }
    }

    /// Takes an answer.
    async fn take(&mut self, asked: Asked, here: u64) -> Result<Flow, Ended> {
        let Asked { answer, condition } = asked;
        let Some(known) = &mut self.known else {
            return self.start(answer, 0).await;
        };
        let head = fresh::head_of(&answer.exchanged);
        let digest = self.fill.state.borrow().has_digest();
        let range = answer.exchanged.told.content_range();
        let status = answer.exchanged.status;
        let total = range.as_ref().and_then(|range| range.total);
        match judge(&Case { known, here, condition, digest, status, range, head: &head }) {
            NextStep::Go(end) => {
                let is_same = known.has_strong_tag_of(&head);
                if condition == Condition::Loose && !is_same {
                    self.fill.state.send_modify(|state| _ = state.loose_from.get_or_insert(here));
                }
                known.length = known.length.or(total);
                self.confirm();
                self.pump(answer, (here, Some(end)), 0).await
            }
            NextStep::Compare => {
                let is_same = known.has_strong_tag_of(&head);
                if !is_same && self.fill.is_scattered() {
                    // What lies behind a gap can't be compared, and may be of another content.
                    return Err(Ended::Replaced(Some(Box::new(First { answer, copied: 0 }))));
                }
                self.fill.state.send_modify(|state| state.undivided |= !is_same);
                known.length = known.length.or(head.length);
                let until = known.length;
                self.confirm();
                self.pump(answer, (0, until), here).await
            }
            NextStep::Complete(length) => {
                known.length = Some(length);
                self.confirm();
                Ok(Flow::Whole)
            }
            NextStep::Replaced => Err(Ended::Replaced(Some(Box::new(First { answer, copied: 0 })))),
            NextStep::Changed => Err(Ended::Replaced(None)),
            NextStep::Distrusted(why) => {
                log::info!("{}: {why}", self.fill.key.shown());
                self.distrusted = true;
                Ok(Flow::Later)
            }
            NextStep::Refused => {
                let refused = refusal(&self.fill.key, &answer);
                // Counts twice: a place that refuses is not asked a second time.
                self.failures_there += 1;
                self.failed(refused)
            }
        }
    }

    /// Begins a content with its whole answer, of which the first bytes are copied already.
    async fn start(&mut self, answer: Answered, copied: u64) -> Result<Flow, Ended> {
        let head = self.head_of(&answer)?;
        self.begin(head).await?;
        self.pump(answer, (copied, None), 0).await
    }

    /// The head of the content that an answer has: only a whole one is one.
    fn head_of(&self, answer: &Answered) -> Result<Head, Ended> {
        match answer.exchanged.status {
            200 => {
                let head = fresh::head_of(&answer.exchanged);
                match head.is_page() && !self.fill.document && fresh::is_file(&self.fill.key) {
                    true => Err(Ended::Failed(page(&self.fill.key, answer))),
                    false => Ok(head),
                }
            }
            _ => Err(Ended::Failed(refusal(&self.fill.key, answer))),
        }
    }

    /// Begins a content.
    async fn begin(&mut self, head: Head) -> Result<(), Ended> {
        if let Some(length) = head.length {
            if length > self.fill.bytes_max {
                return Err(Ended::Failed(Reason::FileTooLarge.about(self.fill.bytes_max)));
            }
            self.cache.reserve(self.fill, length).await.map_err(Ended::Failed)?;
        }
        self.known = Some(head);
        self.confirm();
        Ok(())
    }

    /// Lets readers know the head: its server stands by it now.
    fn confirm(&mut self) {
        let Some(known) = &self.known else { return };
        self.fill.state.send_if_modified(|state| {
            let is_new = state.head.is_none();
            if is_new {
                state.length = known.length;
                state.head = Some(Arc::new(known.clone()));
            }
            is_new
        });
    }

    /// Takes the bytes of an answer in.
    async fn pump(&mut self, answer: Answered, span: (u64, Option<u64>), compared: u64) -> Result<Flow, Ended> {
        let Answered { exchanged, hop } = answer;
        let source = hop.source();
        let Exchanged { status, url, told, length, stream } = exchanged;
        let mut pump = Pump::new(self.cache, self.fill, span, compared, source);
        let end = match pump.run(stream).await.map_err(Ended::Failed)? {
            Pumped::End(end) => end,
            Pumped::Ahead => return Ok(self.flow()),
            Pumped::Broken(error) => {
                log::info!("{} broke off: {error}", self.fill.key.shown());
                self.failures_there += 1;
                return Ok(Flow::Later);
            }
            Pumped::Differs(copied, stream) => {
                let exchanged = Exchanged { status, url, told, length, stream };
                return Err(Ended::Replaced(Some(Box::new(First { answer: Answered { exchanged, hop }, copied }))));
            }
        };
        let is_all = self.known.as_ref().is_some_and(|known| known.length.is_none()) && span.1.is_none();
        match is_all {
            // The end of a body without a length is the end of the content, unless more is here than came.
            true if end >= self.fill.prefix() => Ok(Flow::Whole),
            true => Ok(Flow::Later),
            false => Ok(self.flow()),
        }
    }

    fn flow(&self) -> Flow {
        let length = self.known.as_ref().and_then(|known| known.length);
        if length.is_some_and(|length| self.fill.prefix() >= length) { Flow::Whole } else { Flow::Now }
    }
}
