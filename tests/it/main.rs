//! One test binary: one link instead of a dozen, and modules share the harness. Each module is named by what it is
//! about; those that speak HTTP write raw requests, so that a client library can't hide what is on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod again;
mod architecture;
mod asked;
mod auth;
mod bombs;
mod bucket;
mod bundles;
mod cache;
mod certificates;
mod client;
mod cors;
mod crash;
mod data_dir;
mod dependencies;
mod downloads;
mod early_refusals;
mod errors;
#[path = "../../src/fetch/fake.rs"]
#[allow(dead_code, reason = "the tests of the fetcher use all of it")]
mod fake;
mod gem;
mod glance;
mod glance_limits;
mod glance_tasks;
mod glance_urls;
mod glance_v1;
mod harness;
mod hyperkit;
mod identity;
mod images;
mod import_glance;
mod inspection;
mod jobs;
mod keystone;
mod links;
mod lxd_copies;
mod lxd_events;
mod lxd_images;
mod lxd_instances;
mod lxd_liars;
mod lxd_names;
mod lxd_operations;
mod lxd_push;
mod lxd_refresh;
mod lxd_sent;
mod lxd_sources;
mod lxd_stopped;
mod lxd_tenants;
mod lxd_tls;
mod lxd_trust;
mod metadefs;
mod named_files;
mod policy;
mod policy_cases;
mod policy_routes;
mod program;
mod pull_through;
mod pulls;
mod refusals;
mod resumable;
mod secure;
mod simplestreams;
mod status;
mod stores;
mod tenants;
mod upload_parts;
mod uploads;
#[allow(dead_code, reason = "a fixture that other tests use more of")]
mod upstream;
mod url_images;
mod vendors;
mod ways_in;
mod words;
mod words_of_heads;
mod words_told;
