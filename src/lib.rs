//! Visor keeps virtual-machine and container images and serves them to every tool in the protocol that the tool speaks.
//!
//! The rooms, from the bottom up; ARCHITECTURE.md has the table of their imports, which a test compares with the source:
//!
//! - [`error`]: the one error of the core
//! - [`percent`]: characters that a URL has as they are
//! - [`digest`]: hashers: MD5 and SHA-256 in one pass, several streams at once
//! - [`image`]: the record: attributes, states, changes and queries; values only
//! - [`certificate`]: X.509 certificates, read: fingerprint, name and dates
//! - [`inspect`]: disk headers: the format of bytes, and their dangers
//! - [`archive`]: tar, squashfs and the metadata in them; the head of a qcow2; packing a directory
//! - [`catalog`]: metadata: rows and indexes over an engine, a journal as the truth (`migrations/` is its history)
//! - [`blob`]: bytes: the seam that every store implements, the local directory
//! - [`ingest`]: receiving bytes: digests beside the writing, expectations, rates
//! - [`jobs`]: work behind an answer, and the server's own: progress, stop, wait, events
//! - [`fetch`]: the one guarded way out to other servers
//! - [`vendor`]: vendors' names, lists, sums and signatures; no I/O
//! - [`cache`]: vendors' files, fetched once, verified, and kept
//! - [`upstream`]: other image servers, as their client
//! - [`account`]: accounts, their credentials and tokens
//! - [`keystone`]: the Keystone of an existing cloud, asked about the tokens of callers
//! - [`metadefs`]: metadata definitions: a dictionary that is stored and served, and that no rule here uses
//! - [`registry`]: the service: operations on images, and the policy; never heard of HTTP
//! - [`http`]: what all protocols share on actix-web
//! - [`api`]: the protocols, a folder of translators each
//! - [`client`]: the client library
//! - [`config`], [`cli`]: configuration and command line

pub mod account;
pub mod api;
pub mod archive;
pub mod blob;
pub mod cache;
pub mod catalog;
pub mod certificate;
pub mod cli;
pub mod client;
pub mod config;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod http;
pub mod image;
pub mod ingest;
pub mod inspect;
pub mod jobs;
pub mod keystone;
pub mod metadefs;
pub mod percent;
pub mod registry;
pub mod upstream;
pub mod vendor;
