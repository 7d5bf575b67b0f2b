//! `visor trust`: certificates that stand for accounts, beside a running server or without one.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::{Globals, print};
use crate::account::trust::{Applicant, Client, Restriction, Trust};
use crate::account::{Account, Accounts};
use crate::api;
use crate::certificate::Certificate;
use crate::config::Config;
use crate::config::DataDir;
use crate::http::addresses::Reachable;
use crate::http::time::rfc_3339;
use crate::http::tls;
use crate::registry::system_clock;

/// Longest lifetime of a trust token; one that is valid longer would be a key.
const LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Commands about trusted certificates.
#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Trust a certificate: its holder gets an account's rights
    Add {
        /// The certificate (PEM), such as ~/.config/lxc/client.crt
        certificate: PathBuf,
        /// Name of the certificate [default: the name in it]
        #[arg(long)]
        name: Option<String>,
        /// Account whose rights it gets
        #[arg(long)]
        account: Option<String>,
        /// Give it an ordinary account's rights only, and none over other certificates
        #[arg(long)]
        restricted: bool,
    },
    /// List certificates and their trust
    List,
    /// Remove a certificate
    Remove {
        /// Fingerprint, or its beginning
        fingerprint: String,
    },
    /// Print a token for one new client: lxc remote add NAME TOKEN
    Token {
        /// Name of the client's certificate [default: the name in it]
        #[arg(long)]
        name: Option<String>,
        /// Account whose rights the client gets
        #[arg(long)]
        account: Option<String>,
        /// Give the client an ordinary account's rights only, and none over other certificates
        #[arg(long)]
        restricted: bool,
        /// Lifetime of the token
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
        expires: Duration,
        /// Address of this server for clients [default: its HTTPS addresses] (repeatable)
        #[arg(long, value_name = "HOST:PORT")]
        address: Vec<String>,
    },
}

/// Runs a command.
pub(super) fn run(globals: &Globals, command: TrustCommand) -> Result<(), Failure> {
    let config = globals.load()?;
    let keys = DataDir::keys(&config.data_dir()?);
    let (trust, accounts) = (Trust::open(&keys)?, Accounts::open(&keys)?);
    match command {
        TrustCommand::Add { certificate, name, account, restricted } => {
            let account = holder(&accounts, account.as_deref())?;
            let der = tls::first_certificate(&certificate).map_err(Failure::general)?;
            let (certificate, restriction) = (Certificate::read(&der)?, bounds(restricted));
            let applicant = Applicant { certificate, name, restriction, has_key: false };
            let client = trust.add(&applicant, account.as_ref(), system_clock())?;
            match globals.json {
                true => print::line(shown(&client, &accounts)?),
                false => print::line(format!("Added {} ({}).", client.fingerprint, client.name)),
            }
        }
        TrustCommand::List => {
            let mut clients = trust.list()?.into_iter();
            clients.try_for_each(|client| match globals.json {
                true => print::line(shown(&client, &accounts)?),
                false => print::line(row(&client, &accounts)?),
            })
        }
        TrustCommand::Remove { fingerprint } => {
            let client = trust.remove(&fingerprint, |_| true)?;
            match globals.json {
                true => print::line(shown(&client, &accounts)?),
                false => print::line(format!("Removed {} ({}).", client.fingerprint, client.name)),
            }
        }
        TrustCommand::Token { name, account, restricted, expires, address } => {
            let account = holder(&accounts, account.as_deref())?;
            let token = TokenAnswer { name, account, restriction: bounds(restricted), expires, address };
            issue(globals, &config, &trust, token)
        }
    }
}

/// The bounds that a command asks for. There is one project, which LXD's clients call `default`.
fn bounds(restricted: bool) -> Restriction {
    let projects = if restricted { vec![api::LXD_PROJECT.to_owned()] } else { Vec::new() };
    Restriction { restricted, projects }
}

/// Looks up the account that a command names. With accounts, the name is required: the rights of a certificate are never guessed.
fn holder(accounts: &Accounts, name: Option<&str>) -> Result<Option<Account>, Failure> {
    match name {
        Some(name) => match accounts.get(name)? {
            Some(account) => Ok(Some(account)),
            None => Err(Failure::new(
                Exit::NotFound,
                format!("account {name} not found; 'visor account list' lists all accounts"),
            )),
        },
        None if accounts.is_empty()? => Ok(None),
        None => Err(Failure::new(Exit::Usage, "this server has accounts: give --account for the rights of the client")),
    }
}

/// Tells the account that a certificate stands for, or the reason why it stands for none.
fn standing(client: &Client, accounts: &Accounts) -> Result<(Option<String>, &'static str), Failure> {
    let Some(holder) = &client.holder else {
        return Ok(match accounts.is_empty()? {
            true => (None, "trusted, like every client of a server without accounts"),
            false => (None, "untrusted: it was accepted without an account"),
        });
    };
    let (validity, now) = (client.certificate.validity, system_clock());
    Ok(match accounts.with_id(holder.id)? {
        None => (Some(holder.access_key.clone()), "untrusted: its account was removed"),
        Some(account) if validity.holds_at(now) => {
            (Some(account.access_key), if client.restriction.restricted { "trusted, restricted" } else { "trusted" })
        }
        Some(account) if now < validity.from => (Some(account.access_key), "untrusted: it is not valid yet"),
        Some(account) => (Some(account.access_key), "untrusted: it has expired"),
    })
}

fn shown(client: &Client, accounts: &Accounts) -> Result<Value, Failure> {
    let (account, state) = standing(client, accounts)?;
    Ok(json!({
        "fingerprint": client.fingerprint,
        "name": client.name,
        "account": account,
        "trusted": state.starts_with("trusted"),
        "restricted": client.restriction.restricted,
        "projects": client.restriction.projects,
        "added_at": rfc_3339(client.added_at),
        "not_before": rfc_3339(client.certificate.validity.from),
        "not_after": rfc_3339(client.certificate.validity.until),
    }))
}

fn row(client: &Client, accounts: &Accounts) -> Result<String, Failure> {
    let (account, state) = standing(client, accounts)?;
    let short = client.fingerprint.get(..12).unwrap_or(&client.fingerprint);
    Ok(format!("{short}  {:<24} {:<16} {state}", client.name, account.as_deref().unwrap_or("-")))
}

struct TokenAnswer {
    name: Option<String>,
    account: Option<Account>,
    restriction: Restriction,
    expires: Duration,
    address: Vec<String>,
}

fn issue(globals: &Globals, config: &Config, trust: &Trust, token: TokenAnswer) -> Result<(), Failure> {
    if token.expires.is_zero() || token.expires > LIFETIME_MAX {
        return Err(Failure::new(Exit::Usage, "--expires must be greater than zero, and at most a year"));
    }
    let server = &config.server;
    let addresses = match token.address.is_empty() {
        true => {
            let (listeners, names) = (server.listen_tls.clone(), server.names.clone());
            Reachable { listeners, names, public_url: server.public_url.clone() }.now()
        }
        false => token.address,
    };
    if addresses.is_empty() {
        let text = "no client can connect: server.listen_tls is empty; give the address of this server with --address";
        return Err(Failure::new(Exit::Usage, text));
    }
    let now = system_clock();
    // Clients compare the fingerprint with the server's, so the certificate is made even before the first start.
    let keys = DataDir::keys(&config.data_dir()?);
    let own = tls::open(&keys, &server.names, &server.listen_tls, now)
        .map_err(|error| Failure::general(format!("cannot use the certificate: {error}")))?;
    let (secret, expires_at) =
        trust.issue(token.name.as_deref(), token.account.as_ref(), token.restriction, token.expires, now)?;
    let expires_at = rfc_3339(expires_at).unwrap_or_default();
    // LXD's clients take a token without a name for an address.
    let name = token.name.or_else(|| token.account.map(|account| account.access_key));
    let text = json!({
        "client_name": name.as_deref().unwrap_or("client"),
        "fingerprint": own.fingerprint,
        "addresses": addresses,
        "secret": secret.reveal(),
        "expires_at": expires_at,
    });
    let text = base64::engine::general_purpose::STANDARD.encode(text.to_string());
    if globals.json {
        return print::line(json!({ "token": text, "addresses": addresses, "expires_at": expires_at }));
    }
    print::line(&text)?;
    eprintln!("Valid for one client until {expires_at}, at {}:", addresses.join(", "));
    eprintln!("  lxc remote add visor TOKEN");
    eprintln!("  incus remote add visor TOKEN");
    Ok(())
}
