//! `GET /events`: the WebSocket over which a client receives events. Knows nothing of their contents.
//!
//! Messages of a client only show that it is alive. A client that is silent, reads too slowly or is not trusted any more is
//! disconnected; all are when the server stops.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use tokio::time::{Instant, interval_at, sleep_until, timeout};

use super::{Subscription, Topic, written};
use crate::api::lxd::{Lxd, auth, error};
use crate::error::{Error, Result};
use crate::http::query::pairs;
use crate::jobs::{Event, NoEvent};
use crate::registry::Caller;

/// Time between two pings, as LXD's.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Longest silence of a client.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Longest time in which a client takes one event.
const SEND_PATIENCE: Duration = Duration::from_secs(20);

/// Longest wait for a client's close frame behind ours (RFC 6455, section 7.1).
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// Largest frame from a client: its messages carry nothing.
const FRAME_BYTES_MAX: usize = 4096;

/// `GET /events`
pub(in crate::api::lxd) async fn listen(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    let begin = async {
        let caller = lxd.trusted(&request).await?;
        let topics = topics(&request)?;
        // Before the answer is sent, so that no event after it is missed.
        let subscription = lxd.events.subscribe(&caller, &topics)?;
        let (response, session, stream) = actix_ws::handle(&request, payload)
            .map_err(|error| Error::invalid("This is heard on a WebSocket.").because(error.to_string()))?;
        let fingerprint = auth::shown(&request).map(|shown| shown.fingerprint.clone());
        let listener = Listener {
            lxd: Lxd::clone(&lxd),
            fingerprint,
            caller,
            topics,
            session,
            stream: stream.max_frame_size(FRAME_BYTES_MAX),
        };
        actix_web::rt::spawn(listener.run(subscription));
        Ok(response)
    };
    begin.await.unwrap_or_else(|failure| error::render(&request, &failure))
}

/// Topics that a client subscribes to.
fn topics(request: &HttpRequest) -> Result<Vec<Topic>> {
    let mut chosen = Vec::new();
    for (_, types) in pairs(request.query_string())?.iter().filter(|(name, _)| name == "type") {
        for name in types.split(',').filter(|name| !name.is_empty()) {
            let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
            chosen.push(
                topic.ok_or_else(|| {
                    Error::invalid(format!("'{}' isn't a supported event type", name.escape_default()))
                })?,
            );
        }
    }
    Ok(if chosen.is_empty() { Topic::ALL.to_vec() } else { chosen })
}

struct Listener {
    lxd: Lxd,
    fingerprint: Option<String>,
    caller: Caller,
    topics: Vec<Topic>,
    session: Session,
    stream: MessageStream,
}

impl Listener {
    /// Sends events until the connection ends.
    async fn run(mut self, mut heard: Subscription) {
        let reason = self.tell(&mut heard).await;
        // A client that does not take the close frame is gone, or will notice.
        let is_told = reason.is_some();
        let _ = timeout(SEND_PATIENCE, self.session.close(reason)).await;
        // Messages of a client that are on their way would reset the connection, and take the reason with them.
        let farewell = async {
            while let Some(Ok(message)) = self.stream.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
        };
        if is_told {
            let _ = timeout(FAREWELL_MAX, farewell).await;
        }
    }

    /// Sends events and returns the reason of the end; `None` when the client left.
    async fn tell(&mut self, heard: &mut Subscription) -> Option<CloseReason> {
        let mut stopping = false;
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut silent_until = Instant::now() + SILENCE_MAX;
        loop {
            if stopping && !self.awaits_an_end() {
                while let Ok(event) = heard.queue.try_next() {
                    self.send(&event).await?;
                }
                return Some(because(CloseCode::Away, "the server stops"));
            }
            // In this order: events before the server's end are still sent.
            tokio::select! {
                biased;
                _ = ping.tick() => {
                    // A removed account or certificate must receive nothing more.
                    if self.lxd.caller_with(self.fingerprint.as_deref()).ok().as_ref() != Some(&self.caller) {
                        return Some(because(CloseCode::Policy, "not authorized"));
                    }
                    timeout(SEND_PATIENCE, self.session.ping(b"")).await.ok()?.ok()?;
                }
                event = heard.queue.next() => match event {
                    Ok(event) => self.send(&event).await?,
                    Err(NoEvent::Missed) => return Some(because(CloseCode::Policy, "too slow")),
                    Err(_) => return Some(because(CloseCode::Away, "the server stops")),
                },
                message = self.stream.recv() => match message {
                    Some(Ok(Message::Ping(bytes))) => {
                        silent_until = Instant::now() + SILENCE_MAX;
                        timeout(SEND_PATIENCE, self.session.pong(&bytes)).await.ok()?.ok()?;
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => silent_until = Instant::now() + SILENCE_MAX,
                },
                () = sleep_until(silent_until) => return Some(because(CloseCode::Policy, "no sign of life")),
                _ = heard.ended.wait_for(|ended| *ended), if !stopping => stopping = true,
            }
        }
    }

    /// Sends an event; `None` when the client does not take it.
    async fn send(&mut self, event: &Event) -> Option<()> {
        let Some(text) = written(event) else { return Some(()) };
        timeout(SEND_PATIENCE, self.session.text(text.to_string())).await.ok()?.ok()
    }

    /// True if an operation runs whose end the client may be listening for.
    fn awaits_an_end(&self) -> bool {
        self.topics.contains(&Topic::Operation) && self.lxd.operations.go_on(&self.caller)
    }
}

fn because(code: CloseCode, description: &str) -> CloseReason {
    CloseReason { code, description: Some(description.to_owned()) }
}
