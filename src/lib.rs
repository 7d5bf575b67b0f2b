//! lib
pub mod account;
pub mod api;
pub mod blob;
pub mod catalog;
pub mod config;
pub mod error;
pub mod fetch;
pub mod http;
pub mod image;
pub mod registry;
