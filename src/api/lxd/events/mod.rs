//! What happens, told to whoever listens: operations that go on, and things that are made and removed.
//!
//! An event is for those who may know of it: administrators, and the account that it is about. A listener that does not
//! keep up is not waited for, and not told half: it is sent away (`socket.rs`).

mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

pub(super) use self::socket::listen;
use super::requestor::Requestor;
use super::time::time;
use crate::error::{Reason, Result};
use crate::registry::{Caller, Clock};

/// So many events a listener may be behind.
const BEHIND_MAX: usize = 512;

/// Listeners at the same time.
const LISTENERS_MAX: usize = 512;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// An operation has another status, or something new to say.
    Operation,
    /// Something was made, changed or removed.
    Lifecycle,
    /// Lines of a log. Asked for by those who ask for everything, and never sent: ours is for the operator.
    Logging,
}

impl Topic {
    /// All of them, which is what a listener gets that does not choose.
    pub(super) const ALL: [Topic; 3] = [Topic::Operation, Topic::Lifecycle, Topic::Logging];

    pub(super) fn name(self) -> &'static str {
        match self {
            Topic::Operation => "operation",
            Topic::Lifecycle => "lifecycle",
            Topic::Logging => "logging",
        }
    }
}

/// An event, written once for all who hear it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    topic: Topic,
    /// The account that it is about. Nobody's are for administrators.
    account: Option<Arc<str>>,
    text: Arc<str>,
}

impl Event {
    /// Whether a caller may hear of it.
    fn is_for(&self, caller: &Caller) -> bool {
        caller.is_admin() || (caller.account().is_some() && caller.account() == self.account.as_deref())
    }
}

#[derive(Debug)]
struct Hub {
    sender: broadcast::Sender<Event>,
    listeners: AtomicUsize,
    clock: Clock,
    ended: watch::Sender<bool>,
}

/// The events of a server. Clones are the same.
#[derive(Debug, Clone)]
pub struct Events(Arc<Hub>);

impl Events {
    /// Where nothing has happened yet.
    pub fn new(clock: Clock) -> Self {
        let hub = Hub {
            sender: broadcast::Sender::new(BEHIND_MAX),
            listeners: AtomicUsize::new(0),
            clock,
            ended: watch::Sender::new(false),
        };
        Self(Arc::new(hub))
    }

    /// Tells that something was made, changed or removed: `action` in LXD's words (`image-created`), `source` its path,
    /// `context` whatever else is to be known. Told to administrators, to whoever asked for it, and to nobody else.
    pub fn lifecycle(&self, requestor: &Requestor, action: &str, source: &str, context: &Value) {
        let metadata = json!({
            "action": action,
            "source": source,
            "context": context,
            "requestor": {
                "username": requestor.username,
                "protocol": requestor.protocol,
                "address": requestor.address,
            },
        });
        self.send(Topic::Lifecycle, requestor.caller.account(), || metadata);
    }

    /// Tells something that is about an account. `metadata` is only asked for if somebody listens.
    pub(super) fn send(&self, topic: Topic, account: Option<&str>, metadata: impl FnOnce() -> Value) {
        if self.0.sender.receiver_count() == 0 {
            return;
        }
        let event = json!({
            "type": topic.name(),
            "timestamp": time((self.0.clock)()),
            "metadata": metadata(),
            "location": "none",
            "project": "default",
        });
        // The last listener may have left meanwhile.
        let _ = self.0.sender.send(Event { topic, account: account.map(Into::into), text: event.to_string().into() });
    }

    /// Sends every listener away, and lets nobody in any more.
    pub(super) fn end(&self) {
        self.0.ended.send_replace(true);
    }

    /// A place among the listeners.
    ///
    /// # Errors
    /// `Busy` when there are too many.
    fn subscribe(&self) -> Result<Subscription> {
        let taken = self.0.listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |listeners| {
            (listeners < LISTENERS_MAX).then_some(listeners + 1)
        });
        if taken.is_err() {
            return Err(Reason::Busy.saying("too many listeners"));
        }
        let (receiver, ended) = (self.0.sender.subscribe(), self.0.ended.subscribe());
        Ok(Subscription { receiver, ended, hub: Arc::clone(&self.0) })
    }
}

#[cfg(test)]
impl Events {
    /// All that an administrator hears from now on, each time it is asked what is new.
    pub(super) fn overhear(&self) -> impl FnMut() -> Vec<Value> {
        let mut heard = self.0.sender.subscribe();
        move || {
            std::iter::from_fn(|| heard.try_recv().ok())
                .map(|event| serde_json::from_str(&event.text).unwrap())
                .collect()
        }
    }
}

/// What a listener hears.
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
    use crate::registry::system_clock;

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
            let event = Event { topic: Topic::Operation, account: about.map(Into::into), text: "".into() };
            assert_eq!(everybody.each_ref().map(|caller| event.is_for(caller)), expected, "{about:?}");
        }
    }

    #[test]
    fn lifecycle_events_have_lxds_form() {
        let events = Events::new(system_clock);
        let mut heard = events.subscribe().unwrap();
        let me = requestor(Caller::User("me".into()));
        events.lifecycle(&me, "image-created", "/1.0/images/ab", &json!({ "type": "container" }));
        let event = heard.receiver.try_recv().unwrap();
        let text: Value = serde_json::from_str(&event.text).unwrap();
        assert_eq!((event.topic, event.account.as_deref()), (Topic::Lifecycle, Some("me")));
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
        let events = Events::new(system_clock);
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| events.subscribe().unwrap()).collect();
        assert_eq!(events.subscribe().map(|_| ()).unwrap_err().kind(), Kind::Busy);
        all.pop();
        assert!(events.subscribe().is_ok(), "one that left makes room");
    }
}
