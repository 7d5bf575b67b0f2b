//! The ways out: vendors' servers and parents, each asked once, a few at a time; and the clock, held against theirs.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;

use super::Finding;
use crate::config::Config;
use crate::fetch::{Exchange, FetchError, Fetcher};
use crate::registry::{system_clock, without_query};
use crate::vendor::Vendor;

/// Time that a server has for the head of its answer.
const HEAD_WITHIN: Duration = Duration::from_secs(2);

/// Servers that are asked at a time.
const AT_A_TIME: usize = 8;

/// Seconds that the clock may be off. Answers tell whole ones, and some are a little old.
const CLOCK_OFF_MAX: u64 = 60;

/// A server to ask.
struct Place {
    about: String,
    url: String,
}

/// An answer: the finding, and how many seconds its server's clock is before ours.
struct Asked {
    finding: Finding,
    ahead: Option<i64>,
}

/// Looks at the vendors' servers and the parents.
pub(super) async fn look(config: &Config, fetcher: &Fetcher, vendors: &[&Vendor]) -> Vec<Finding> {
    let vendors = vendors.iter().map(|vendor| Place { about: format!("vendor {}", vendor.name), url: base_of(vendor) });
    let parents = config
        .cache
        .parents
        .iter()
        .map(|parent| Place { about: "parent".to_owned(), url: format!("{}/status", parent.trim_end_matches('/')) });
    let places: Vec<Place> = vendors.chain(parents).collect();
    let asked = stream::iter(places).map(|place| ask(fetcher, place)).buffered(AT_A_TIME);
    let asked: Vec<Asked> = asked.collect().await;
    let clocks: Vec<i64> = asked.iter().filter_map(|asked| asked.ahead).collect();
    let findings = asked.into_iter().map(|asked| asked.finding);
    findings.chain(clock(clocks, config.auth.date_window.duration())).collect()
}

/// The base of a vendor's URLs. One with a server for each release is asked at that of its first example.
fn base_of(vendor: &Vendor) -> String {
    let release = vendor.examples.first().map_or("stable", String::as_str);
    vendor.base.replace("{release}", release)
}

async fn ask(fetcher: &Fetcher, place: Place) -> Asked {
    let Place { about, url } = place;
    let began = Instant::now();
    let exchange = Exchange { url: url.clone(), head: true, head_within: Some(HEAD_WITHIN), ..Exchange::default() };
    let shown = without_query(&url);
    match fetcher.exchange(&exchange).await {
        Ok(answer) => {
            let date = answer.told.text("date").and_then(crate::http::time::read_http_date);
            let ahead = date.map(|date| date.saturating_sub(system_clock().seconds()));
            let words = format!("{shown} answers with {} after {} ms", answer.status, began.elapsed().as_millis());
            // An address that is no page is often refused: the server is there all the same.
            let finding = match answer.status {
                500.. => Finding::warn(about, words, "try again later: it is the other server's trouble"),
                _ => Finding::ok(about, words),
            };
            Asked { finding, ahead }
        }
        Err(error) => {
            let finding = Finding::fail(about, format!("{shown}: {error}"), advice(&error));
            Asked { finding, ahead: None }
        }
    }
}

/// The remedy for an error.
fn advice(error: &FetchError) -> &'static str {
    match error {
        FetchError::Refused => "if it is a server of yours, put its network into fetch.allow",
        FetchError::Certificate(_) => "see whether a proxy on the way replaces certificates",
        FetchError::CertificateDates(_) => "check this machine's clock",
        _ => "check the network, fetch.proxy, and NO_PROXY; what is in the cache is served all the same",
    }
}

/// Compares the clock with those of other servers: the one in the middle counts, for one of them may be wrong itself.
fn clock(mut ahead: Vec<i64>, window: Duration) -> Option<Finding> {
    ahead.sort_unstable();
    let off = *ahead.get(ahead.len() / 2)?;
    let (seconds, direction) = (off.unsigned_abs(), if off < 0 { "ahead" } else { "behind" });
    let words = format!("{} {direction} of other servers", humantime::format_duration(Duration::from_secs(seconds)));
    let advice = "set this machine's clock: certificates, signatures and requests are refused by their dates";
    Some(match seconds {
        _ if seconds > window.as_secs() => Finding::fail("clock", words, advice),
        _ if seconds > CLOCK_OFF_MAX => Finding::warn("clock", words, advice),
        _ => Finding::ok("clock", "agrees with those of other servers"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn the_clock_in_the_middle_counts() {
        let window = Duration::from_secs(900);
        let health = |ahead: &[i64]| clock(ahead.to_vec(), window).map(|finding| finding.health);
        assert_eq!(health(&[]), None);
        assert_eq!(health(&[0, 1, 86_400]), Some(Health::Ok));
        assert_eq!(health(&[-120, -121, -119]), Some(Health::Warn));
        assert_eq!(health(&[7200]), Some(Health::Fail));
        assert!(clock(vec![120], window).unwrap().words.starts_with("2m behind"));
        assert!(clock(vec![-120], window).unwrap().words.starts_with("2m ahead"));
    }
}
