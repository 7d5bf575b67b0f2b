//! Opens the Keystone that the configuration names.

use std::sync::Arc;

use super::{Failure, bad_ca_file, read_ca_file};
use crate::cli::Exit;
use crate::config::Config;
use crate::fetch::{FetchRules, Fetcher};
use crate::keystone::{Keystone, KeystoneSettings, Roles, ServiceUser};

/// Opens it, without a connection: one that is down now may be up when it is needed.
pub(super) fn open(config: &Config) -> Result<Option<Arc<Keystone>>, Failure> {
    let identity = &config.identity;
    if !identity.is_elsewhere() {
        return Ok(None);
    }
    let mut fetcher = Fetcher::new(FetchRules::default());
    if let Some(pem) = read_ca_file(&identity.ca_file, "identity")? {
        let trusting = fetcher.trusting(&pem);
        fetcher = trusting.map_err(|error| bad_ca_file(&identity.ca_file, "identity", error.message()))?;
    }
    let settings = KeystoneSettings {
        url: identity.versioned_url(),
        public_url: identity.url_for_clients(),
        user: ServiceUser {
            name: identity.username.clone(),
            password: identity.password.clone(),
            domain: identity.user_domain.clone(),
            project: identity.project.clone(),
            project_domain: identity.project_domain.clone(),
        },
        keep: identity.cache.duration(),
        roles: Roles {
            admin: identity.admin_roles.clone(),
            reader: identity.reader_roles.clone(),
            service: identity.service_roles.clone(),
        },
    };
    let opened = Keystone::new(settings, &fetcher);
    let opened = opened.map_err(|_| Failure::new(Exit::Usage, format!("identity.url: {} is no URL", identity.url)))?;
    Ok(Some(Arc::new(opened)))
}
