//! Uploads: in one request, in pieces, and staged for an import. Knows no protocol.
//!
//! Each holds its image in the state *saving* until its bytes are durable and verified.

pub(super) mod append;
pub(super) mod completing;
pub(super) mod concat;
pub(super) mod joins;
pub(super) mod lock;
pub(super) mod one_shot;
pub(super) mod progress;
pub(super) mod publish;
pub(super) mod resumable;
pub(super) mod service;
pub(super) mod session;
pub(super) mod staging;
