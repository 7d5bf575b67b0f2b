//! The metrics, as families of values. A number that is new to the server's operator is a family here, and a row of
//! `docs/operations.md`.

use super::exposition::{Family, Sample};
use crate::cache::CacheStats;
use crate::registry::Overview;

/// The metrics of a server, and of its cache if it has one.
pub(super) fn families(seen: &Overview, cache: Option<&CacheStats>) -> Vec<Family> {
    let mut families = server(seen);
    families.extend(cache.into_iter().flat_map(of_cache));
    families
}

fn server(seen: &Overview) -> Vec<Family> {
    let images = |value: fn(&crate::registry::ImageCount) -> u64| {
        let each = seen.counts.iter();
        each.map(move |((status, store), count)| {
            Sample::of(value(count)).with("status", *status).with("store", store.as_str())
        })
    };
    let jobs = seen.jobs.iter();
    let jobs = jobs.map(|((kind, status), count)| Sample::of(*count).with("kind", *kind).with("status", *status));
    let free = seen.stores.iter().filter_map(|(store, free)| Some(Sample::of((*free)?).with("store", store.as_str())));
    let seconds = u64::try_from(seen.started_at.seconds()).unwrap_or_default();
    vec![
        Family::gauge(
            "visor_build_info",
            "Version of the program.",
            [Sample::of(1).with("version", env!("CARGO_PKG_VERSION"))],
        ),
        Family::gauge(
            "process_start_time_seconds",
            "Start of the server, in seconds since 1970.",
            [Sample::of(seconds)],
        ),
        Family::gauge(
            "visor_images",
            "Images; one with copies counts in each of its stores.",
            images(|count| count.images),
        ),
        Family::gauge("visor_image_bytes", "Sizes of these images together.", images(|count| count.bytes)),
        Family::gauge("visor_jobs", "Running and recent jobs.", jobs),
        Family::gauge("visor_store_free_bytes", "Free bytes of stores that know them.", free),
    ]
}

fn of_cache(stats: &CacheStats) -> Vec<Family> {
    let by = |label: &'static str, counts: &std::collections::BTreeMap<&'static str, u64>| {
        let each = counts.iter().map(|(value, count)| Sample::of(*count).with(label, *value));
        each.collect::<Vec<_>>()
    };
    let errors = stats.upstream_errors.iter();
    let errors = errors.map(|((host, kind), count)| Sample::of(*count).with("host", host).with("kind", *kind));
    vec![
        Family::counter(
            "visor_cache_requests_total",
            "Requests for files of the cache, by what they found.",
            by("result", &stats.requests),
        ),
        Family::counter("visor_cache_bytes_total", "Bytes by where they came from.", by("from", &stats.bytes)),
        Family::gauge("visor_cache_fills", "Files that are coming in.", [Sample::of(stats.fills)]),
        Family::summary(
            "visor_cache_fill_seconds",
            "Time that files took to come in whole.",
            stats.filled,
            stats.fill_time.as_secs_f64(),
        ),
        Family::counter("visor_cache_upstream_errors_total", "Failures of other servers.", errors),
        Family::gauge(
            "visor_cache_hosts_dead",
            "Servers that are not asked for a while, because they did not answer.",
            [Sample::of(stats.hosts_dead)],
        ),
        Family::counter(
            "visor_cache_verify_total",
            "Whole files by the level of verification that they reached.",
            by("level", &stats.verified),
        ),
        Family::gauge(
            "visor_cache_quarantine_bytes",
            "Bytes that were not the expected ones, and are kept for a while.",
            [Sample::of(stats.quarantine_bytes)],
        ),
        Family::counter(
            "visor_cache_evicted_bytes_total",
            "Bytes that were removed, by the reason.",
            by("why", &stats.evicted_bytes),
        ),
        Family::gauge("visor_cache_used_bytes", "Bytes of all files of the cache.", [Sample::of(stats.used_bytes)]),
        Family::gauge(
            "visor_cache_budget_bytes",
            "Bytes that these files may have; no value where the disk is the bound.",
            stats.budget_bytes.map(Sample::of),
        ),
        Family::gauge("visor_cache_entries", "Whole files of the cache.", [Sample::of(stats.entries)]),
        Family::gauge("visor_cache_pinned", "Whole files that are never removed for room.", [Sample::of(stats.pinned)]),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::exposition::Exposition;
    use super::*;
    use crate::image::{StoreName, Timestamp};
    use crate::registry::ImageCount;

    /// The page for operators: a table of the metrics under this title.
    const PAGE: &str = include_str!("../../../../docs/operations.md");

    fn overview() -> Overview {
        let counted = ImageCount { images: 2, bytes: 3000 };
        Overview {
            started_at: Timestamp(1_800_000_000_500_000),
            now: Timestamp(1_800_000_060_000_000),
            images: 2,
            counts: Arc::new(BTreeMap::from([(("available", StoreName::FILE), counted)])),
            jobs: BTreeMap::from([(("pull", "running"), 1)]),
            jobs_running: 1,
            stores: vec![(StoreName::FILE, Some(7)), ("cold".parse().unwrap(), None)],
        }
    }

    #[test]
    fn the_values_stand_under_their_names() {
        let stats = CacheStats {
            requests: BTreeMap::from([("hit", 5), ("fill", 1)]),
            upstream_errors: BTreeMap::from([(("a.example:8080".to_owned(), "connect"), 4)]),
            filled: 2,
            fill_time: Duration::from_millis(2500),
            budget_bytes: Some(1 << 30),
            ..CacheStats::default()
        };
        let text = Exposition::Text.write(&families(&overview(), Some(&stats)));
        for line in [
            concat!("visor_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "process_start_time_seconds 1800000000",
            "visor_images{status=\"available\",store=\"file\"} 2",
            "visor_image_bytes{status=\"available\",store=\"file\"} 3000",
            "visor_jobs{kind=\"pull\",status=\"running\"} 1",
            "visor_store_free_bytes{store=\"file\"} 7",
            "visor_cache_requests_total{result=\"hit\"} 5",
            "visor_cache_upstream_errors_total{host=\"a.example:8080\",kind=\"connect\"} 4",
            "visor_cache_fill_seconds_count 2",
            "visor_cache_fill_seconds_sum 2.5",
            "visor_cache_budget_bytes 1073741824",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(!text.contains("store=\"cold\""), "it does not know its free bytes");
    }

    #[test]
    fn the_page_for_operators_has_every_metric_and_no_other() {
        let section = PAGE.split("\n## ").find(|section| section.starts_with("Watching it\n")).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let told: BTreeSet<&str> = rows.map(|row| row.split('{').next().unwrap()).collect();
        let known: BTreeSet<&str> =
            families(&overview(), Some(&CacheStats::default())).iter().map(|family| family.name).collect();
        assert_eq!(told, known);
    }
}
