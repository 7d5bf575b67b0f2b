//! Events: changes of operations, and objects that are made, changed or removed.
//!
//! Administrators and the account that an event is about receive it. A listener that does not keep up is disconnected
//! (`socket.rs`).

pub(super) mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::operations::Operation;
use super::requestor::Requestor;
use super::time::time;
use crate::error::{Reason, Result};
use crate::jobs::{self, Event, Subject};
use crate::registry::Caller;

/// Concurrent listeners, at most.
const LISTENERS_MAX: usize = 512;

/// Type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// An operation's status or metadata changed.
    Operation,
    /// An object was made, changed or removed.
    Lifecycle,
    /// Log lines. Accepted in a subscription and never sent: our log is for the operator.
    Logging,
}

impl Topic {
    /// All topics, for a listener that names none.
    pub(super) const ALL: [Topic; 3] = [Topic::Operation, Topic::Lifecycle, Topic::Logging];

    pub(super) fn name(self) -> &'static str {
        match self {
            Topic::Operation => "operation",
            Topic::Lifecycle => "lifecycle",
            Topic::Logging => "logging",
        }
    }
}

/// A lifecycle event in LXD's form.
struct Lifecycle(Value);

/// True if a caller may receive an event.
fn is_for(event: &Event, caller: &Caller) -> bool {
    caller.is_admin() || (caller.account().is_some() && caller.account() == event.owner.as_deref())
}

/// Topic of an event and its JSON; `None` for jobs that are no operation.
fn written(event: &Event) -> Option<(Topic, Value)> {
    let (topic, metadata) = match &event.subject {
        Subject::Job(job) => (Topic::Operation, Operation::of(job)?.json()),
        Subject::Notice(notice) => (Topic::Lifecycle, notice.downcast_ref::<Lifecycle>()?.0.clone()),
    };
    let text = json!({
        "type": topic.name(),
        "timestamp": time(event.at),
        "metadata": metadata,
        "location": "none",
        "project": "default",
    });
    Some((topic, text))
}

#[derive(Debug)]
struct Hub {
    stream: jobs::EventStream,
    listeners: AtomicUsize,
    ended: watch::Sender<bool>,
}

/// The events of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct Events(Arc<Hub>);

impl Events {
    /// Events of this stream.
    pub fn new(stream: jobs::EventStream) -> Self {
        Self(Arc::new(Hub { stream, listeners: AtomicUsize::new(0), ended: watch::Sender::new(false) }))
    }

    /// Sends a lifecycle event: `action` in LXD's words (`image-created`), `source` the path of the object, `context`
    /// further fields. Administrators and the account of the request receive it.
    pub fn lifecycle(&self, requestor: &Requestor, action: &str, source: &str, context: &Value) {
        let metadata = || {
            Lifecycle(json!({
                "action": action,
                "source": source,
                "context": context,
                "requestor": {
                    "username": requestor.username,
                    "protocol": requestor.protocol,
                    "address": requestor.address,
                },
            }))
        };
        self.0.stream.notice(requestor.caller.account(), metadata);
    }

    /// Disconnects all listeners and refuses new ones.
    pub(super) fn end(&self) {
        self.0.ended.send_replace(true);
    }

    /// Registers a listener.
    ///
    /// # Errors
    /// `Busy` when there are too many listeners.
    fn subscribe(&self) -> Result<Subscription> {
        let taken = self.0.listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |listeners| {
            (listeners < LISTENERS_MAX).then_some(listeners + 1)
        });
        if taken.is_err() {
            return Err(Reason::Busy.saying("too many listeners"));
        }
        let (receiver, ended) = (self.0.stream.subscribe(), self.0.ended.subscribe());
        Ok(Subscription { receiver, ended, hub: Arc::clone(&self.0) })
    }
}

/// The events that a listener receives.
struct Subscription {
    receiver: broadcast::Receiver<Event>,
    ended: watch::Receiver<bool>,
    hub: Arc<Hub>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::jobs::Jobs;
    use crate::registry::system_clock;

    fn events() -> Events {
        Events::new(Jobs::new(system_clock).events().clone())
    }

    fn requestor(caller: Caller) -> Requestor {
        Requestor { username: "fp".into(), protocol: "tls", address: "127.0.0.1:9".into(), caller }
    }

    #[test]
    fn an_event_is_for_administrators_and_for_the_account_that_it_is_about() {
        let user = |name: &str| Caller::User(name.into());
        let everybody =
            [Caller::Admin(None), Caller::Admin(Some("root".into())), user("me"), user("you"), Caller::Anonymous];
        for (about, expected) in
            [(Some("me"), [true, true, true, false, false]), (None, [true, true, false, false, false])]
        {
            let (at, subject) = (system_clock(), Subject::Notice(Arc::new(())));
            let event = Event { at, owner: about.map(Into::into), subject };
            assert_eq!(everybody.each_ref().map(|caller| is_for(&event, caller)), expected, "{about:?}");
        }
    }

    #[test]
    fn lifecycle_events_have_lxds_form() {
        let events = events();
        let mut heard = events.subscribe().unwrap();
        let me = requestor(Caller::User("me".into()));
        events.lifecycle(&me, "image-created", "/1.0/images/ab", &json!({ "type": "container" }));
        let event = heard.receiver.try_recv().unwrap();
        let (topic, text) = written(&event).unwrap();
        assert_eq!((topic, event.owner.as_deref()), (Topic::Lifecycle, Some("me")));
        assert_eq!(
            (&text["type"], &text["location"], &text["project"]),
            (&"lifecycle".into(), &"none".into(), &"default".into())
        );
        let expected = json!({
            "action": "image-created",
            "source": "/1.0/images/ab",
            "context": { "type": "container" },
            "requestor": { "username": "fp", "protocol": "tls", "address": "127.0.0.1:9" },
        });
        assert_eq!(text["metadata"], expected);
    }

    #[test]
    fn there_are_so_many_listeners_and_no_more() {
        let events = events();
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| events.subscribe().unwrap()).collect();
        assert_eq!(events.subscribe().map(|_| ()).unwrap_err().kind(), Kind::Busy);
        all.pop();
        assert!(events.subscribe().is_ok(), "one that left makes room");
    }
}
