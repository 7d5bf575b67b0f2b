//! Callers of LXD's API: the certificate whose key a connection proved stands for an account. Of the headers only
//! `Authorization` counts, and only for reading.

use std::sync::Arc;

use actix_web::{HttpMessage as _, HttpRequest};

use super::Lxd;
use super::error::not_authorized;
use super::operations::Owner;
use super::projects::DEFAULT;
use super::requestor::Requestor;
use crate::account::trust::Standing;
use crate::api::auth::{caller_of, plain_reader};
use crate::error::{Reason, Result};
use crate::http::cors::FromPage;
use crate::http::peer::{Arrival, Peer, ShownCertificate};
use crate::registry::Caller;

/// The certificate that a request's connection showed. None for a web page: the browser shows its user's, unasked.
pub(super) fn shown(request: &HttpRequest) -> Option<&Arc<ShownCertificate>> {
    if request.extensions().contains::<FromPage>() {
        return None;
    }
    request.conn_data::<Peer>().and_then(|peer| peer.certificate.as_ref())
}

impl Lxd {
    /// The caller of a request. On a server without accounts every caller is an administrator. With accounts, a caller
    /// whose certificate stands for none, or is not for the one project, is `Anonymous`.
    ///
    /// # Errors
    /// `Internal` when accounts or certificates can't be read, like every method here.
    pub async fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        let caller = self.caller_with(shown(request).map(|shown| shown.fingerprint.as_str()))?;
        match caller {
            Caller::Anonymous => {
                Ok(plain_reader(request, &self.auth, self.registry.now()).await?.unwrap_or(Caller::Anonymous))
            }
            caller => Ok(caller),
        }
    }

    /// The caller with the certificate of this fingerprint.
    pub(super) fn caller_with(&self, fingerprint: Option<&str>) -> Result<Caller> {
        if self.auth.is_open()? {
            return Ok(Caller::Admin(None));
        }
        let standing = self.standing(fingerprint)?.filter(|standing| standing.restriction.admits(DEFAULT));
        Ok(standing.map_or(Caller::Anonymous, |standing| caller_of(standing.account)))
    }

    /// Rights of the certificate of this fingerprint: none while there are no accounts.
    pub(super) fn standing(&self, fingerprint: Option<&str>) -> Result<Option<Standing>> {
        match fingerprint {
            Some(fingerprint) => self.trust.standing(fingerprint, &self.auth.accounts, self.registry.now()),
            None => Ok(None),
        }
    }

    /// The caller of a request that only trusted clients may make.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn trusted(&self, request: &HttpRequest) -> Result<Caller> {
        match self.caller(request).await? {
            Caller::Anonymous => Err(not_authorized()),
            caller => Ok(caller),
        }
    }

    /// The caller of a request that reads public images: also `Anonymous`, if the operator lets every client read.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn reader(&self, request: &HttpRequest) -> Result<Caller> {
        match self.caller(request).await? {
            // Daemons fetch public images without credentials, and their users read the words of this refusal.
            Caller::Anonymous if !self.auth.public_read => Err(Reason::AnonymousRead.into()),
            caller => Ok(caller),
        }
    }

    /// A caller as the owner of work that is left for later.
    pub fn owner(&self, caller: &Caller) -> Result<Owner> {
        Ok(Owner { caller: caller.clone(), account: self.auth.account_of(caller)?.map(|account| account.id) })
    }

    /// The owner of work that was left for later, as a caller of today: its account may have been removed, or have lost
    /// its administrator rights. `None` if it would be refused now.
    pub fn renewed(&self, owner: &Owner) -> Result<Option<Caller>> {
        match owner.account {
            None if owner.caller != Caller::Admin(None) => Ok(None),
            // Work of a restricted certificate stays without its account's administrator rights.
            Some(id) if !owner.caller.is_admin() => {
                Ok(self.auth.accounts.with_id(id)?.map(|account| caller_of(account.without_admin())))
            }
            account => self.auth.renewed(account),
        }
    }

    /// The sender of a request, as events name it.
    pub fn requestor(&self, request: &HttpRequest, caller: &Caller) -> Requestor {
        let secure = request.conn_data::<Arrival>().is_some_and(|arrival| arrival.secure);
        let shown = shown(request).map(|shown| shown.fingerprint.clone());
        Requestor {
            username: shown.or_else(|| caller.account().map(ToOwned::to_owned)).unwrap_or_default(),
            protocol: if secure { "tls" } else { "http" },
            address: request.peer_addr().map(|address| address.to_string()).unwrap_or_default(),
            caller: caller.clone(),
        }
    }
}
