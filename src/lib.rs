//! lib
pub mod error;
pub mod image;
