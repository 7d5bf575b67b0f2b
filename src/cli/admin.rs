//! Commands on a data directory: accounts, configuration, rebuilding.

use super::failure::{Exit, Failure};
use super::{AccountCommand, ConfigCommand, Globals, catalogue, fetcher, print, serve};
use crate::account::{Account, AccountChange, Accounts, Role};
use crate::catalog::Catalog;
use crate::config::DataDir;
use crate::registry::system_clock;

fn as_json(account: &Account) -> serde_json::Value {
    serde_json::json!({
        "access_key": account.access_key,
        "admin": account.admin,
        "read_only": account.read_only,
        "email": account.email,
    })
}

/// `visor account`
pub(super) fn account(globals: &Globals, command: AccountCommand) -> Result<(), Failure> {
    let accounts = Accounts::open(&DataDir::keys(&globals.load()?.data_dir()?))?;
    match command {
        AccountCommand::Add { name, admin, read_only, email } => {
            let account = accounts.add(&name, email, Role::of(admin, read_only)?, system_clock())?;
            let (key, secret) = (&account.access_key, account.secret_key.reveal());
            if globals.json {
                return print::line(serde_json::json!({ "access_key": key, "secret_key": secret }));
            }
            print::line(format!("access_key = \"{key}\"\nsecret_key = \"{secret}\""))?;
            eprintln!("The secret is not shown again. Put both lines under [client] in a visor.toml of mode 0600.");
        }
        AccountCommand::Change { name, read_only, read_write: _ } => {
            let change = AccountChange { read_only: Some(read_only), ..AccountChange::default() };
            let account = accounts.update(&name, change, system_clock())?;
            let may = if account.read_only { "may read, and change nothing" } else { "may read and change" };
            match globals.json {
                true => print::line(as_json(&account))?,
                false => print::line(format!("Account {name} {may}."))?,
            }
        }
        AccountCommand::List => {
            for account in accounts.list()? {
                let role = match account.role() {
                    Role::Administrator => "admin",
                    Role::Member => "user",
                    Role::Reader => "reader",
                };
                match globals.json {
                    true => print::line(as_json(&account))?,
                    false => print::line(format!(
                        "{:<24} {role:<6} {}",
                        account.access_key,
                        account.email.as_deref().unwrap_or("-")
                    ))?,
                }
            }
        }
        AccountCommand::Remove { name } => {
            let account = accounts.remove(&name)?;
            match globals.json {
                true => print::line(as_json(&account))?,
                false => print::line(format!("Removed account {name}; its images stay."))?,
            }
            if accounts.is_empty()? {
                eprintln!("warning: no accounts are left: every user of this machine may do everything");
            }
        }
    }
    Ok(())
}

/// `visor config`
pub(super) fn config(globals: &Globals, command: &ConfigCommand) -> Result<(), Failure> {
    let config = globals.load()?;
    if matches!(command, ConfigCommand::Check) {
        // What else a server refuses at its start.
        catalogue::open(&config, &config.data_dir()?)?;
        fetcher::open(&config)?;
    }
    match command {
        ConfigCommand::Check if globals.json => print::line(serde_json::json!({ "right": true })),
        ConfigCommand::Check => print::line("Configuration OK."),
        ConfigCommand::Show if globals.json => {
            print::line(serde_json::to_string(&config.shown()).map_err(Failure::general)?)
        }
        ConfigCommand::Show => print::line(config.show()?.trim_end()),
    }
}

/// `visor rebuild`
pub(super) fn rebuild(globals: &Globals) -> Result<(), Failure> {
    let config = globals.load()?;
    let data_dir = serve::take(&config)?;
    let dir = DataDir::catalog(data_dir.path());
    if !dir.exists() {
        return Err(Failure::new(Exit::NotFound, format!("no catalogue found in {}", data_dir.path().display())));
    }
    Catalog::demand_rebuild(&dir).map_err(Failure::general)?;
    let catalog = Catalog::open(&dir, config.catalog.cache.bytes()).map_err(Failure::general)?;
    let (problems, images) = catalog.verify();
    catalog.close();
    report(globals, "rebuilt", images, &problems)
}

pub(super) fn report(globals: &Globals, what: &str, images: u64, problems: &[String]) -> Result<(), Failure> {
    if globals.json {
        print::line(serde_json::json!({ what: images, "problems": problems }))?;
    } else {
        for problem in problems {
            print::line(problem)?;
        }
        let (images, problems) = (print::count(images, "image"), print::count(problems.len() as u64, "problem"));
        print::line(format!("{what}: {images}, {problems}"))?;
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(Failure::new(Exit::Mismatch, format!("{} found", print::count(count as u64, "problem")))),
    }
}
