//! The embedded catalogue: one writer, a journal as the truth, and how both are opened.
//!
//! Knows rows and the engine seam; knows nothing of queries.

pub(super) mod compaction;
pub(super) mod database;
pub(super) mod journal;
pub(super) mod open;
pub(super) mod prepare;
pub(super) mod retired_ids;
pub(super) mod shape;
pub(super) mod state;
pub(super) mod writer;
