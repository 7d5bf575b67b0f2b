//! Visor keeps virtual-machine and container images and serves them to every tool in the language it already speaks.
//!
//! The rooms, from the bottom up; who may use whom is a table in ARCHITECTURE.md, which a test compares with the source:
//!
//! - [`error`]: the one error of the core
//! - [`image`]: the domain, pure: the record, its states and attributes, queries, digests
//! - [`catalog`]: metadata: rows and indexes over an engine, a journal as the truth (`migrations/` is its history)
//! - [`blob`]: bytes: the seam that every store implements, the local directory
//! - [`fetch`]: the one guarded way out to other servers
//! - [`upstream`]: other image servers, as their client
//! - [`account`]: who may use the service
//! - [`metadefs`]: metadata definitions: a dictionary that is stored and served, and acted on by nobody here
//! - [`registry`]: the service: what can be done with images, and who may do it; never heard of HTTP
//! - [`http`]: what all protocols share on actix-web
//! - [`api`]: the protocols, a folder of translators each
//! - [`client`]: the client library
//! - [`config`], [`cli`]: configuration and command line

pub mod account;
pub mod api;
pub mod blob;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod config;
pub mod error;
pub mod fetch;
pub mod http;
pub mod image;
pub mod metadefs;
pub mod registry;
pub mod upstream;
