//! A compaction of the journal, as the writer tells of it.

/// The last compaction of the journal, or the one that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compaction {
    /// True while it goes on.
    pub running: bool,
    /// Bytes of the journal before it.
    pub from: u64,
    /// Bytes of the journal after it.
    pub to: u64,
    /// Error that it ended with, for the log.
    pub error: Option<String>,
}
