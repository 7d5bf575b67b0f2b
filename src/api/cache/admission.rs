//! Callers at the door. This machine's users need no account: they could fetch every file themselves. All others do, unless the
//! operator opens it, and then for the hosts that he lists: it never fetches for strangers whatever they name.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::Door;
use crate::api::auth::{AUTH_TOKEN, bearer};
use crate::cache::{Cache, Key};
use crate::error::Result;
use crate::http::base::PublicUrl;
use crate::http::peer::Arrival;
use crate::registry::Caller;
use crate::registry::policy::{Action, On};

impl Door {
    /// Checks that a request may have the file of a key.
    ///
    /// # Errors
    /// `Unauthenticated`; `Forbidden` for a host that is served to accounts only; those of proofs that are wrong.
    pub(super) async fn admit(&self, request: &HttpRequest, cache: &Cache, key: &Key) -> Result<()> {
        if is_of_this_machine(request) || self.auth.is_open()? {
            return Ok(());
        }
        let proves = request.headers().contains_key(AUTHORIZATION) || request.headers().contains_key(AUTH_TOKEN);
        if !proves && cache.is_public() {
            return cache.serves_all(key);
        }
        let caller = if proves { bearer(request, &self.auth, self.registry.now()).await? } else { Caller::Anonymous };
        caller.may(Action::ReadCache, On::Server)
    }
}

/// Tells whether a request comes from a program of this machine: it arrived at a loopback address, and no proxy stands before that.
fn is_of_this_machine(request: &HttpRequest) -> bool {
    let arrival = request.conn_data::<Arrival>();
    let is_proxied = request.app_data::<PublicUrl>().is_some();
    let is_near = request.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
    is_near && !is_proxied && arrival.is_some_and(|arrival| arrival.local.ip().is_loopback())
}
