//! The page `/status/detail`.

use serde::Serialize;

use crate::cache::{Cache, CacheStats, EntryView, HostView};
use crate::http::time::to_the_second;
use crate::image::Timestamp;
use crate::registry::{Overview, without_query};

/// Transfers and hosts that the page has, of each at most.
const ROWS_MAX: usize = 100;

#[derive(Debug, Serialize)]
struct Page<'a> {
    version: &'static str,
    started_at: String,
    uptime_seconds: i64,
    images: u64,
    jobs_running: u64,
    stores: Vec<StorePart<'a>>,
    cache: Option<&'a CachePart>,
}

#[derive(Debug, Serialize)]
struct StorePart<'a> {
    name: &'a str,
    free_bytes: Option<u64>,
}

/// The cache on the page.
#[derive(Debug, Serialize)]
pub(super) struct CachePart {
    used_bytes: u64,
    budget_bytes: Option<u64>,
    /// Whole files but lists, sums and signatures.
    files: u64,
    pinned: u64,
    quarantine_bytes: u64,
    offline_since: Option<String>,
    fills: Vec<Fill>,
    hosts: Vec<Host>,
}

#[derive(Debug, Serialize)]
struct Fill {
    url: String,
    bytes: u64,
    of: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Host {
    host: String,
    dead_since: Option<String>,
    words: Option<String>,
}

impl CachePart {
    /// Looks at the cache.
    pub(super) fn of(cache: &Cache) -> Self {
        Self::from(&cache.stats(), &cache.entries(), cache.hosts(), cache.is_offline())
    }

    /// Puts the part together. Dead hosts come first: they are what is looked for.
    fn from(stats: &CacheStats, entries: &[EntryView], hosts: Vec<HostView>, offline_since: Option<Timestamp>) -> Self {
        let fills = entries.iter().filter(|entry| entry.state == EntryView::FILLING).take(ROWS_MAX);
        let (mut hosts, alive): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| host.dead_since.is_some());
        hosts.extend(alive);
        let hosts = hosts.into_iter().take(ROWS_MAX);
        let whole = |entry: &&EntryView| entry.sha256.is_some() && !entry.document;
        Self {
            used_bytes: stats.used_bytes,
            budget_bytes: stats.budget_bytes,
            files: entries.iter().filter(whole).count() as u64,
            pinned: stats.pinned,
            quarantine_bytes: stats.quarantine_bytes,
            offline_since: offline_since.map(to_the_second),
            fills: fills.map(Fill::of).collect(),
            hosts: hosts.map(Host::of).collect(),
        }
    }
}

impl Fill {
    /// A transfer, without the part of its URL behind the `?`, which may be a secret.
    fn of(entry: &EntryView) -> Self {
        Self { url: without_query(&entry.url).to_owned(), bytes: entry.size, of: entry.of }
    }
}

impl Host {
    fn of(view: HostView) -> Self {
        Self { host: view.host, dead_since: view.dead_since.map(to_the_second), words: view.words }
    }
}

/// The page of a server, and of its cache if it has one.
pub(super) fn page(seen: &Overview, cache: Option<&CachePart>) -> impl Serialize {
    let stores = seen.stores.iter().map(|(name, free)| StorePart { name: name.as_str(), free_bytes: *free });
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        started_at: to_the_second(seen.started_at),
        // A clock that was set back has no negative uptime.
        uptime_seconds: seen.now.seconds().saturating_sub(seen.started_at.seconds()).max(0),
        images: seen.images,
        jobs_running: seen.jobs_running,
        stores: stores.collect(),
        cache,
    };
    serde_json::json!({ "status": page })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vendor::Level;

    fn entry(url: &str, state: &'static str, of: Option<u64>) -> EntryView {
        EntryView {
            url: url.to_owned(),
            size: 5,
            of,
            state,
            level: Level::Tls,
            words: String::new(),
            sha256: of.is_none().then(String::new),
            document: url.ends_with(".json"),
            pinned: false,
            fetched_at: Timestamp(0),
            checked_at: Timestamp(0),
            used_at: Timestamp(0),
        }
    }

    #[test]
    fn a_page_has_transfers_without_queries_and_dead_hosts_first() {
        let entries = [
            entry("https://a.example/x.img?token=secret", EntryView::FILLING, Some(9)),
            entry("https://a.example/y.img", "immutable", None),
            entry("https://a.example/index.json", "fresh", None),
            entry("https://a.example/z.img", "partial", Some(7)),
        ];
        let host = |host: &str, dead_since| HostView { host: host.to_owned(), dead_since, words: None };
        let hosts = vec![host("a.example", None), host("b.example", Some(Timestamp(60_000_000)))];
        let stats = CacheStats { used_bytes: 20, pinned: 1, ..CacheStats::default() };
        let part = serde_json::to_value(CachePart::from(&stats, &entries, hosts, Some(Timestamp(0)))).unwrap();
        let dead = json!({ "host": "b.example", "dead_since": "1970-01-01T00:01:00Z", "words": null });
        assert_eq!(part["hosts"][0], dead);
        assert_eq!(part["hosts"][1]["host"], "a.example");
        assert_eq!(part["fills"], json!([{ "url": "https://a.example/x.img", "bytes": 5, "of": 9 }]));
        assert_eq!((&part["files"], &part["offline_since"]), (&json!(1), &json!("1970-01-01T00:00:00Z")));
    }
}
