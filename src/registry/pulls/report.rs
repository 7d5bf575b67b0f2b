//! Progress of a pull, told to a listener step by step.

use crate::error::shown;
use crate::registry::pulls::ask::{PullProgress, PullState, Pulled};
use crate::registry::pulls::provenance::Provenance;
use crate::vendor::Evidence;

/// Listener that is told of every step.
pub(in crate::registry) type Seen<'a> = &'a (dyn Fn(&PullProgress) + Send + Sync);

/// The progress of a pull, told to a listener.
pub(super) struct Report<'a> {
    pub(super) progress: PullProgress,
    pub(super) seen: Seen<'a>,
}

impl<'a> Report<'a> {
    /// The report of a pull that begins now.
    pub(super) fn begin(name: &str, seen: Seen<'a>) -> Self {
        Self { progress: PullProgress::of(&shown(name)), seen }
    }

    fn tell(&self) {
        (self.seen)(&self.progress);
    }

    /// Begins a stage.
    pub(super) fn state(&mut self, state: PullState) {
        (self.progress.state, self.progress.bytes, self.progress.of) = (state, None, None);
        self.tell();
    }

    /// Says how far the stage is.
    pub(super) fn bytes(&mut self, bytes: u64, of: Option<u64>) {
        (self.progress.bytes, self.progress.of) = (Some(bytes), of);
        self.tell();
    }

    /// Says how it ended.
    pub(super) fn end(&mut self, pulled: &Pulled) {
        if let Some(origin) = Provenance::of(&pulled.image) {
            self.knows(&origin.evidence);
            self.progress.name = origin.name;
        }
        (self.progress.change, self.progress.image) = (Some(pulled.change), Some(pulled.image.id.to_string()));
        self.state(PullState::Done);
    }

    /// Says how far the bytes are verified.
    pub(super) fn knows(&mut self, evidence: &Evidence) {
        (self.progress.verified, self.progress.words) = (Some(evidence.level), Some(evidence.words.clone()));
    }
}
