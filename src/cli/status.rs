//! `visor status`: a running server in a few lines.

use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use super::image::ServerArgs;
use super::pulls::running;
use super::{Globals, interruptible, print};

/// Arguments of `visor status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// The server's page, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    uptime_seconds: u64,
    images: u64,
    jobs_running: u64,
    stores: Vec<Store>,
    cache: Option<Cache>,
}

#[derive(Debug, Deserialize)]
struct Store {
    name: String,
    free_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Cache {
    used_bytes: u64,
    budget_bytes: Option<u64>,
    files: u64,
    pinned: u64,
    quarantine_bytes: u64,
    offline_since: Option<Timestamp>,
    fills: Vec<Fill>,
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize)]
struct Fill {
    url: String,
    bytes: u64,
    of: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Host {
    host: String,
    dead_since: Option<Timestamp>,
}

pub(super) fn run(globals: &Globals, args: &StatusArgs) -> Result<(), Failure> {
    let client = running(globals, &args.server.place)?;
    let page = interruptible("interrupted", async { Ok(client.status().await?) })?;
    if globals.json {
        return print::line(Value::Object(page));
    }
    let status: Status = serde_json::from_value(Value::Object(page)).map_err(|error| {
        Failure::general(format!("the server's status can't be read ({error}); is it another version?"))
    })?;
    let now = Timestamp::now().to_zoned(TimeZone::system());
    lines(&status, client.identity().0, &now).into_iter().try_for_each(print::line)
}

/// The lines for people, in the time zone of `now`.
fn lines(status: &Status, address: &str, now: &Zoned) -> Vec<String> {
    let mut server = vec![
        format!("visor {} at {address}", shown(&status.version)),
        format!("up {}", humantime::format_duration(uptime(status.uptime_seconds))),
        print::count(status.images, "image"),
        print::count(status.jobs_running, "running job"),
    ];
    server.extend(status.stores.iter().filter_map(|store| {
        let free = print::size(store.free_bytes?);
        Some(format!("{free} free in {}", shown(&store.name)))
    }));
    let mut lines = vec![server.join(" · ")];
    match &status.cache {
        None => lines.push("no cache (cache.enabled is false)".to_owned()),
        Some(cache) => {
            lines.push(cache_line(cache, now));
            lines.extend(cache.fills.iter().map(|fill| {
                let of = fill.of.map(|of| format!(" of {}", print::size(of))).unwrap_or_default();
                format!("  filling {}: {}{of}", shown(&fill.url), print::size(fill.bytes))
            }));
        }
    }
    lines
}

fn cache_line(cache: &Cache, now: &Zoned) -> String {
    let budget = cache.budget_bytes.map(|bytes| format!(" of {}", print::size(bytes))).unwrap_or_default();
    let pinned = cache.pinned;
    let mut parts = vec![format!(
        "cache {}{budget} ({}, {pinned} pinned)",
        print::size(cache.used_bytes),
        print::count(cache.files, "image")
    )];
    if !cache.fills.is_empty() {
        parts.push(format!("{} filling", cache.fills.len()));
    }
    if cache.quarantine_bytes > 0 {
        parts.push(format!("{} in quarantine", print::size(cache.quarantine_bytes)));
    }
    if let Some(since) = cache.offline_since {
        parts.push(format!("offline since {}", moment(since, now)));
    }
    let hosts = cache.hosts.iter().map(|host| match host.dead_since {
        Some(since) => format!("{} dead since {}", shown(&host.host), moment(since, now)),
        None => format!("{} ok", shown(&host.host)),
    });
    let hosts: Vec<String> = hosts.collect();
    if !hosts.is_empty() {
        parts.push(format!("upstream: {}", hosts.join(", ")));
    }
    parts.join(" · ")
}

/// Text of the server that does not control the terminal.
fn shown(text: &str) -> String {
    print::text(Some(&text.into()))
}

/// Time without its seconds, from a minute on.
fn uptime(seconds: u64) -> Duration {
    Duration::from_secs(if seconds < 60 { seconds } else { seconds - seconds % 60 })
}

/// Time of a day, with its date unless that is today.
fn moment(at: Timestamp, now: &Zoned) -> String {
    let at = at.to_zoned(now.time_zone().clone());
    let format = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn status(cache: Value) -> Status {
        let page = serde_json::json!({
            "version": "0.1.0", "started_at": "2026-11-28T10:00:00Z", "uptime_seconds": 93_784, "images": 1, "jobs_running": 2,
            "stores": [{ "name": "file", "free_bytes": 1u64 << 30 }, { "name": "cold", "free_bytes": null }], "cache": cache,
        });
        serde_json::from_value(page).unwrap()
    }

    fn printed(cache: Value) -> Vec<String> {
        let now = at("2026-11-30T15:00:00Z").to_zoned(TimeZone::UTC);
        lines(&status(cache), "http://127.0.0.1:4568/", &now)
    }

    #[test]
    fn a_cache_is_told_in_a_line_and_its_transfers_below() {
        let lines = printed(serde_json::json!({
            "used_bytes": 44u64 << 30, "budget_bytes": 60u64 << 30, "files": 12, "pinned": 3, "quarantine_bytes": 0,
            "offline_since": null,
            "fills": [{ "url": "https://a.example/x\u{1b}.img", "bytes": 1 << 20, "of": 4 << 20 },
                      { "url": "https://a.example/y.img", "bytes": 0, "of": null }],
            "hosts": [{ "host": "b.example", "dead_since": "2026-11-30T14:02:11Z", "words": "x" },
                      { "host": "c.example", "dead_since": "2026-11-29T23:59:00Z", "words": null },
                      { "host": "a.example", "dead_since": null, "words": null }],
        }));
        assert_eq!(
            lines[0],
            "visor 0.1.0 at http://127.0.0.1:4568/ · up 1day 2h 3m · 1 image · 2 running jobs · 1.00 GiB free in file"
        );
        assert_eq!(
            lines[1],
            "cache 44.00 GiB of 60.00 GiB (12 images, 3 pinned) · 2 filling · upstream: b.example dead since 14:02, \
             c.example dead since 2026-11-29 23:59, a.example ok"
        );
        assert_eq!(
            lines[2..],
            [
                "  filling https://a.example/x\u{fffd}.img: 1.00 MiB of 4.00 MiB",
                "  filling https://a.example/y.img: 0 B"
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        assert_eq!(printed(Value::Null)[1..], ["no cache (cache.enabled is false)"]);
        let lines = printed(serde_json::json!({
            "used_bytes": 0, "budget_bytes": null, "files": 0, "pinned": 0, "quarantine_bytes": 2048,
            "offline_since": "2026-11-30T14:02:11Z", "fills": [], "hosts": [],
        }));
        assert_eq!(lines[1..], ["cache 0 B (0 images, 0 pinned) · 2.00 KiB in quarantine · offline since 14:02"]);
    }
}
