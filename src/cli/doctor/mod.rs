//! `visor doctor`: looks at what a server needs around it, the ways to vendors and their keys, the clock, the disk and the
//! data directory. Changes nothing, and needs no server.

mod keys;
mod local;
mod network;

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::{Globals, catalogue, fetcher, interruptible, print};
use crate::config::Config;
use crate::fetch::Fetcher;
use crate::registry::system_clock;
use crate::vendor::{Catalogue, Vendor};

/// Arguments of `visor doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Look at this vendor alone
    #[arg(long, value_name = "NAME")]
    vendor: Option<String>,
}

/// Outcome of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

/// A thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    health: Health,
    /// The thing, in a few words.
    about: String,
    /// Its state.
    words: String,
    /// A remedy, if it needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(about: impl Into<String>, words: impl Into<String>) -> Self {
        Self { health: Health::Ok, about: about.into(), words: words.into(), advice: None }
    }

    fn warn(about: impl Into<String>, words: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { health: Health::Warn, advice: Some(advice.into()), ..Self::ok(about, words) }
    }

    fn fail(about: impl Into<String>, words: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { health: Health::Fail, ..Self::warn(about, words, advice) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = match self.health {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        // Words of other servers must not move the cursor of the terminal.
        let words = print::text(Some(&self.words.as_str().into()));
        write!(f, "{health:<4} {}: {words}", self.about)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

pub(super) fn run(globals: &Globals, args: &DoctorArgs) -> Result<(), Failure> {
    let config = globals.load()?;
    let data_dir = config.data_dir()?;
    let catalogue = catalogue::open(&config, &data_dir)?;
    let vendors = vendors(&catalogue, args.vendor.as_deref())?;
    let (fetcher, now) = (fetcher::open(&config)?, system_clock());
    let mut findings = local::look(&config, &data_dir);
    findings.extend(keys::look(&vendors, catalogue.keyring(), &catalogue::key_dir(&data_dir), now));
    findings.extend(interruptible("interrupted", async { Ok(reach(&config, &fetcher, &vendors).await) })?);
    for finding in &findings {
        match globals.json {
            true => print::line(serde_json::to_string(finding).map_err(Failure::general)?)?,
            false => print::line(finding)?,
        }
    }
    match findings.iter().filter(|finding| finding.health == Health::Fail).count() {
        0 => Ok(()),
        failed => Err(Failure::general(format!("{failed} of {} looks failed", findings.len()))),
    }
}

fn vendors<'a>(catalogue: &'a Catalogue, name: Option<&str>) -> Result<Vec<&'a Vendor>, Failure> {
    match name {
        Some(name) => Ok(vec![catalogue.vendor(name)?]),
        None => Ok(catalogue.vendors().collect()),
    }
}

/// Looks at other servers, unless nothing is to be sent.
async fn reach(config: &Config, fetcher: &Fetcher, vendors: &[&Vendor]) -> Vec<Finding> {
    match config.cache.offline {
        true => vec![Finding::ok("network", "not looked at: cache.offline is set, so nothing is sent")],
        false => network::look(config, fetcher, vendors).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_says_what_to_do() {
        assert_eq!(Finding::ok("disk", "9 GiB free").to_string(), "ok   disk: 9 GiB free");
        let failed = Finding::fail("vendor debian", "no answer\u{1b}[2J", "check the network");
        assert_eq!(failed.to_string(), "fail vendor debian: no answer\u{fffd}[2J; check the network");
        let json = serde_json::to_value(Finding::ok("disk", "x")).unwrap();
        assert_eq!(json, serde_json::json!({ "health": "ok", "about": "disk", "words": "x" }));
    }
}
