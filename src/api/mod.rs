//! The protocols. Each is a folder of translators: parse, call the registry, render. None knows another; what
//! they have to agree on about callers is in [`auth`].

pub mod auth;
#[cfg(test)]
mod errors_tests;
pub mod glance;
pub mod identity;
pub mod lxd;
pub mod simplestreams;
pub mod visor;

use crate::error::{Error, Result};

/// Does what waits for the disk on a thread that may wait. It is carried through when the client leaves.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    actix_web::web::block(work).await.map_err(|error| Error::internal(error.to_string()))?
}
