//! Events: changes of operations, and objects that are made, changed or removed.
//!
//! Administrators and the account that an event is about receive it. A listener that does not keep up with the events that it
//! receives is disconnected (`socket.rs`); other events do not count.

pub(super) mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::operations::{Operation, is_operation};
use super::requestor::Requestor;
use super::time::time;
use crate::error::{Reason, Result};
use crate::jobs::{self, Event, EventQueue, Subject};
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

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
    caller.can(Action::SeeJob, On::HeldBy(event.owner.as_deref()))
}

/// Topic of an event; `None` for jobs that are no operation.
fn topic(event: &Event) -> Option<Topic> {
    match &event.subject {
        Subject::Job(job) => is_operation(job).then_some(Topic::Operation),
        Subject::Notice(notice) => notice.is::<Lifecycle>().then_some(Topic::Lifecycle),
    }
}

/// JSON of an event; `None` for jobs that are no operation.
fn written(event: &Event) -> Option<Value> {
    let metadata = match &event.subject {
        Subject::Job(job) => Operation::of(job)?.json(),
        Subject::Notice(notice) => notice.downcast_ref::<Lifecycle>()?.0.clone(),
    };
    Some(json!({
        "type": topic(event)?.name(),
        "timestamp": time(event.at),
        "metadata": metadata,
        "location": "none",
        "project": "default",
    }))
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

    /// Disconnects all listeners, each when no operation that it hears of runs any more.
    pub(super) fn end(&self) {
        self.0.ended.send_replace(true);
    }

    /// Registers a listener, which hears the events of these topics that its caller may receive.
    ///
    /// # Errors
    /// `Busy` when there are too many listeners.
    fn subscribe(&self, caller: &Caller, topics: &[Topic]) -> Result<Subscription> {
        let taken = self.0.listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |listeners| {
            (listeners < LISTENERS_MAX).then_some(listeners + 1)
        });
        if taken.is_err() {
            return Err(Reason::Busy.saying("too many listeners"));
        }
        let (caller, topics) = (caller.clone(), topics.to_vec());
        let hears =
            move |event: &Event| topic(event).is_some_and(|topic| topics.contains(&topic)) && is_for(event, &caller);
        let (queue, ended) = (self.0.stream.subscribe(hears), self.0.ended.subscribe());
        Ok(Subscription { queue, ended, hub: Arc::clone(&self.0) })
    }
}

/// The events that a listener receives.
struct Subscription {
    queue: EventQueue,
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
        let me = requestor(Caller::User("me".into()));
        let mut heard = events.subscribe(&me.caller, &Topic::ALL).unwrap();
        events.lifecycle(&me, "image-created", "/1.0/images/ab", &json!({ "type": "container" }));
        let event = heard.queue.try_next().unwrap();
        let text = written(&event).unwrap();
        assert_eq!((topic(&event), event.owner.as_deref()), (Some(Topic::Lifecycle), Some("me")));
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
        let subscribe = || events.subscribe(&Caller::Admin(None), &Topic::ALL);
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| subscribe().unwrap()).collect();
        assert_eq!(subscribe().map(|_| ()).unwrap_err().kind(), Kind::Busy);
        all.pop();
        assert!(subscribe().is_ok(), "one that left makes room");
    }

    /// A busy server does not cut off a listener that is told little.
    #[tokio::test]
    async fn events_that_a_listener_does_not_hear_do_not_count() {
        let jobs = Jobs::new(system_clock);
        let events = Events::new(jobs.events().clone());
        let (me, other) = (Caller::User("me".into()), requestor(Caller::User("you".into())));
        let mut mine = events.subscribe(&me, &Topic::ALL).unwrap();
        let mut lifecycle = events.subscribe(&Caller::Admin(None), &[Topic::Lifecycle]).unwrap();
        let mut too_slow = events.subscribe(&other.caller, &Topic::ALL).unwrap();
        for _ in 0..2000 {
            events.lifecycle(&other, "image-created", "/1.0/images/ab", &Value::Null);
            while lifecycle.queue.try_next().is_ok() {}
        }
        // Jobs of other protocols are no operations.
        for owner in ["me", "you"].repeat(1000) {
            drop(jobs.begin(jobs::Spec::new(jobs::JobKind::ImportUrl, Some(owner))).ok());
        }
        events.lifecycle(&requestor(me), "image-deleted", "/1.0/images/cd", &Value::Null);
        for heard in [&mut mine, &mut lifecycle] {
            let event = heard.queue.try_next().unwrap();
            assert_eq!(written(&event).unwrap()["metadata"]["action"], "image-deleted");
            assert_eq!(heard.queue.try_next().unwrap_err(), jobs::NoEvent::Yet);
        }
        let heard = std::iter::from_fn(|| too_slow.queue.try_next().ok()).count();
        assert!((500..2000).contains(&heard), "{heard}");
        assert_eq!(too_slow.queue.try_next().unwrap_err(), jobs::NoEvent::Missed);
    }
}
