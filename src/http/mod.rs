//! Tools that all protocols share on actix-web: listeners, limits, conditions and ranges, request ids. They call the
//! service, and know no protocol.

pub mod accept;
pub mod addresses;
mod asked;
pub mod base;
pub mod body;
mod certificate;
pub mod conditional;
mod connection;
pub mod cors;
pub mod deliver;
mod disposition;
mod exchange;
pub mod guard;
pub mod headers;
pub mod json;
mod leftover;
mod linger;
pub mod observe;
pub mod origin;
mod parts;
pub mod peer;
pub mod protocol;
#[cfg(test)]
mod protocol_tests;
pub mod query;
pub mod refusal;
pub mod route;
pub mod server;
mod socket;
pub mod time;
pub mod tls;
pub mod traffic;
mod wire;
