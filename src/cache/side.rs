//! Side requests: one part far ahead of a fill, for a reader that would wait long for it. What they bring stays in the file.

use std::ops::Range;
use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use tokio::task::spawn_blocking;

use super::core::Cache;
use super::entry::Head;
use super::fill::Fill;
use super::fresh;
use super::route::{Answered, HEAD_WITHIN};
use crate::fetch::{ContentRange, Exchange};

/// Least that a request asks for.
const LEAST: u64 = 1 << 20;

/// Largest part that goes out before the verdict although it reaches to the end: a reader of it has no complete file.
pub(super) const SMALL: u64 = 1 << 20;

/// Seconds that a reader waits for the writer rather than having a request of its own.
const SOON: f64 = 2.0;

/// Begins a side request for a part, if the fill will not have it soon. The request goes on while the token lives.
pub(super) fn begin(cache: &Arc<Cache>, fill: &Arc<Fill>, part: &Range<u64>) -> Option<Arc<()>> {
    let span = {
        let state = fill.state.borrow();
        let (length, head) = (state.length?, state.head.as_ref().filter(|_| !state.undivided)?);
        let missing = part.start.checked_sub(state.extents.prefix())?;
        let is_near = missing as f64 <= fill.rate() * SOON;
        let is_coming = state.sides.iter().any(|side| side.contains(&part.start));
        if is_near || is_coming || state.extents.end_of(part.start).is_some() || head.strong().is_none() {
            return None;
        }
        part.start..part.end.max(part.start + LEAST).min(length)
    };
    let place = Arc::clone(&cache.sides).try_acquire_owned().ok()?;
    fill.state.send_modify(|state| state.sides.push(span.clone()));
    cache.counters.request("side");
    let token = Arc::new(());
    let (cache, fill, wanted) = (Arc::clone(cache), Arc::clone(fill), Arc::downgrade(&token));
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = bring(&cache, &fill, span.clone(), &wanted) => {}
            () = cache.offline.wait() => {}
        }
        fill.state.send_modify(|state| state.sides.retain(|side| *side != span));
    });
    Some(token)
}

/// Brings a span, as far as its server gives it. Readers that it does not reach wait for the writer.
async fn bring(cache: &Arc<Cache>, fill: &Arc<Fill>, span: Range<u64>, wanted: &Weak<()>) {
    let Some(head) = fill.state.borrow().head.clone() else { return };
    let Some(hop) = cache.hop_at(&head.url) else { return };
    let range = Some((span.start, Some(span.end)));
    let if_range = head.strong().map(str::to_owned);
    let shape = Exchange { range, if_range, via: fill.via.clone(), ..Exchange::default() };
    let Ok(answer) = cache.ask_at(&hop, &shape, HEAD_WITHIN).await else { return };
    if !is_part(&head, &answer, &span) {
        return;
    }
    let source = hop.source();
    let (mut at, mut stream) = (span.start, answer.exchanged.stream);
    while let Some(Ok(piece)) = stream.next().await {
        let end = at + piece.len() as u64;
        let is_wanted = wanted.strong_count() > 0 || at < span.start + LEAST;
        if end > span.end || !is_wanted || fill.state.borrow().end.is_some() {
            return;
        }
        cache.counters.bytes(source, piece.len() as u64);
        let writing = Arc::clone(fill);
        if !matches!(spawn_blocking(move || writing.write(at, &[piece])).await, Ok(Ok(()))) {
            return;
        }
        at = end;
    }
}

/// Tells whether an answer is a part of the content, as asked for.
fn is_part(head: &Head, answer: &Answered, span: &Range<u64>) -> bool {
    let told = fresh::head_of(&answer.exchanged);
    let Some(ContentRange { part: Some(part), total }) = answer.exchanged.told.content_range() else { return false };
    answer.exchanged.status == 206
        && part.start == span.start
        && part.end <= span.end
        && total == head.length
        && told.has_strong_tag_of(head)
}
