//! Identity API v3, as far as OpenStack's clients need it to get a token and find the image service:
//! `docs/protocols/identity.md`. Each account is a user and a project of one name. Nothing here changes an account
//! (`visor account` does).

mod directory;
pub(in crate::api) mod error;
mod holder;
mod login;
mod token_request;
mod tokens;
mod wire;

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use self::error::{no_method, no_path, render};
use self::holder::TokenHolder;
use super::Setup;
use super::auth::{AUTH_TOKEN, AuthRules, header, no_token};
use crate::error::{Reason, Result};
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, Route, RouteTable, delete, post, read};
use crate::registry::policy::Action;
use crate::registry::{RateLimits, Registry};

/// The identity API.
pub(super) static PROTOCOL: Protocol = Protocol { name: "identity", covers, tables, render, no_path };

/// Makes the API of a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    Box::new(Identity { registry: Arc::clone(&setup.registry), auth: setup.auth.clone(), patience: setup.patience })
}

impl Service for Identity {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn share(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.clone()));
    }
}

fn covers(path: &str) -> bool {
    ["v3", "identity"].contains(&path.split('/').nth(1).unwrap_or_default())
}

/// State of the handlers, shared by its clones.
#[derive(Clone)]
pub struct Identity {
    /// Provides the clock.
    registry: Arc<Registry>,
    /// Accounts and tokens.
    auth: AuthRules,
    /// Limits on slow bodies.
    patience: RateLimits,
}

impl Identity {
    /// Checks that tokens are given here.
    ///
    /// # Errors
    /// `NotFound`, with the address of the Keystone that gives them.
    fn gives_tokens(&self) -> Result<()> {
        match &self.auth.keystone {
            None => Ok(()),
            Some(keystone) => Err(Reason::TokensElsewhere.about(keystone.public_url())),
        }
    }

    /// The holder of a request's token.
    fn sender(&self, request: &HttpRequest) -> Result<TokenHolder> {
        self.gives_tokens()?;
        if self.auth.is_open()? {
            return self.open_holder(header(request, &AUTH_TOKEN).unwrap_or_default());
        }
        let token = header(request, &AUTH_TOKEN)?.ok_or_else(no_token)?;
        self.holder(token)?.ok_or_else(no_token)
    }

    /// Answers a request that has a valid token with the JSON of `show`.
    fn answer(&self, request: &HttpRequest, show: impl FnOnce(&TokenHolder) -> Result<Value>) -> HttpResponse {
        let shown = self.sender(request).and_then(|holder| show(&holder));
        shown.map_or_else(|error| render(request, &error), |shown| wire::ok(&shown))
    }
}

const ANSWERS: Answers = Answers { no_method: Some(no_method), no_path: Some(no_path) };

/// Tables for `/v3`, and for `/identity/v3`, the path in other clouds.
fn tables() -> Vec<RouteTable> {
    let choices = || {
        let versions = |request: HttpRequest| async move { wire::choices(&request) };
        ["", "/"].map(|path| read(path, Action::Discover, versions))
    };
    vec![
        RouteTable::below("/v3", ANSWERS, routes()),
        RouteTable::below("/identity/v3", ANSWERS, routes()),
        RouteTable::below("/identity", ANSWERS, choices().into()),
    ]
}

fn routes() -> Vec<Route> {
    let version = |request: HttpRequest| async move { wire::ok(&wire::version(&request)) };
    let own = Action::SeeAccount;
    vec![
        read("", Action::Discover, version),
        read("/", Action::Discover, version),
        delete("/auth/tokens", Action::UseToken, tokens::revoke),
        read("/auth/tokens", Action::UseToken, tokens::show),
        post("/auth/tokens", Action::LogIn, tokens::create),
        read("/auth/catalog", own, tokens::catalog),
        read("/auth/projects", own, tokens::projects),
        read("/auth/domains", own, tokens::domains),
        read("/auth/system", own, tokens::system),
        read("/projects", own, directory::projects),
        read("/projects/{id}", own, directory::project),
        read("/users", own, directory::users),
        read("/users/{id}", own, directory::user),
        read("/users/{id}/projects", own, directory::projects_of),
        read("/domains", own, directory::domains),
        read("/domains/{id}", own, directory::domain),
        read("/roles", own, directory::roles),
        read("/roles/{id}", own, directory::role),
        read("/role_assignments", own, directory::assignments),
    ]
}
