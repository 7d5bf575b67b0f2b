//! A connection's current request and its answer: facts that the request leaves for the end of the connection. Knows no
//! socket.

use std::cell::Cell;
use std::rc::Rc;

/// The current exchange of a connection. Clones share it.
#[derive(Clone, Default)]
pub(super) struct CurrentExchange(Rc<Course>);

#[derive(Default)]
struct Course {
    asked: Cell<bool>,
    open: Cell<bool>,
    rest: Cell<Option<Rest>>,
}

/// Bytes of a request that its client may send after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// At most the announced length.
    Announced(u64),
    /// Any number: the request announced no length, or its framing is broken.
    Unknown,
}

impl CurrentExchange {
    /// Begins with a request.
    pub(super) fn begin(&self) {
        self.0.asked.set(true);
        self.0.open.set(true);
        self.0.rest.set(None);
    }

    /// Ends with the answer to the request, of which a rest may follow.
    pub(super) fn answered(&self, rest: Option<Rest>) {
        self.0.open.set(false);
        self.0.rest.set(rest);
    }

    /// True after the first request.
    pub(super) fn asked(&self) -> bool {
        self.0.asked.get()
    }

    /// True while a request has no answer.
    pub(super) fn is_open(&self) -> bool {
        self.0.open.get()
    }

    /// The rest of the last request, if it was answered before its end.
    pub(super) fn rest(&self) -> Option<Rest> {
        self.0.rest.get()
    }
}
