//! `visor cache`, `visor offline` and `visor prune`.

use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::print;
use super::CacheAction;
use super::seat::Seat;
use crate::error::shown;
use crate::registry::{CacheChange, CacheView};

pub(super) async fn run(json: bool, seat: &Seat, action: CacheAction, files: &[String]) -> Result<(), Failure> {
    let (change, words) = match action {
        CacheAction::List if files.is_empty() => return list(json, &seat.cache().await?),
        CacheAction::List => return Err(Failure::new(Exit::Usage, "a list takes no names")),
        CacheAction::Refresh => (CacheChange::Refresh, "is current"),
        CacheAction::Drop => (CacheChange::Drop, "is dropped"),
        CacheAction::Pin => (CacheChange::Pin, "is pinned"),
        CacheAction::Unpin => (CacheChange::Unpin, "is not pinned any more"),
    };
    if files.is_empty() {
        return Err(Failure::new(Exit::Usage, "no file given: say which by their names or URLs (visor cache list)"));
    }
    for file in files {
        seat.change_cached(file, change).await?;
        let shown = shown(file);
        match json {
            true => print::line(json!({ "url": shown }))?,
            false => print::line(format!("{shown} {words}"))?,
        }
    }
    Ok(())
}

fn list(json: bool, cache: &CacheView) -> Result<(), Failure> {
    if json {
        return print::line(json!(cache));
    }
    print::line(format!("{:<10} {:<10} {:>12} {:<4} URL", "STATE", "VERIFIED", "SIZE", "PIN"))?;
    for entry in &cache.entries {
        let pin = if entry.pinned { "pin" } else { "" };
        let size = print::size(entry.size);
        print::line(format!("{:<10} {:<10} {size:>12} {pin:<4} {}", entry.state, entry.verified, entry.url))?;
    }
    let budget = cache.budget.map(|bytes| format!(" of {}", print::size(bytes))).unwrap_or_default();
    let files = print::count(cache.entries.len() as u64, "file");
    print::line(format!("{}{budget} in {files}", print::size(cache.used)))?;
    if let Some(since) = &cache.offline_since {
        print::line(format!("offline since {since}"))?;
    }
    cache.dead_hosts.iter().try_for_each(|host| print::line(format!("{host} does not answer")))
}

pub(super) async fn offline(json: bool, seat: &Seat, offline: bool) -> Result<(), Failure> {
    let since = seat.set_offline(offline).await?;
    match (json, since) {
        (true, since) => print::line(json!({ "offline_since": since })),
        (false, Some(since)) => print::line(format!("offline since {since}: nothing is sent to vendors")),
        (false, None) => print::line("online: vendors are asked"),
    }
}

pub(super) async fn prune(json: bool, seat: &Seat, to: Option<u64>, dry_run: bool) -> Result<(), Failure> {
    let pruned = seat.prune(to, dry_run).await?;
    if json {
        return pruned.iter().try_for_each(|one| print::line(json!(one)));
    }
    for one in &pruned {
        print::line(format!("{:>12}  {}: {}", print::size(one.bytes), one.what, one.reason))?;
    }
    let (verb, bytes) = (if dry_run { "would go" } else { "removed" }, pruned.iter().map(|one| one.bytes).sum());
    let done = format!("{} in {} {verb}", print::size(bytes), print::count(pruned.len() as u64, "file"));
    let cache = seat.cache().await?;
    let left = if dry_run { cache.used.saturating_sub(bytes) } else { cache.used };
    print::line(format!("{done}; {}", rest(left, to.or(cache.budget))))
}

/// Words for what stays, and why no more goes.
fn rest(left: u64, most: Option<u64>) -> String {
    let left_words = format!("{} stay", print::size(left));
    match most {
        Some(most) if left > most => format!(
            "{left_words}, more than {}: what is pinned, locked or open, was used within ten minutes, or belongs to an image \
             that no newer build superseded can't go",
            print::size(most)
        ),
        Some(most) => format!("{left_words}, and {} may", print::size(most)),
        None => left_words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_said_with_the_reason() {
        let text = rest(5 << 20, Some(1 << 20));
        assert!(text.starts_with("5.00 MiB stay, more than 1.00 MiB: what is pinned, locked or open"), "{text}");
        assert_eq!(rest(1 << 20, Some(5 << 20)), "1.00 MiB stay, and 5.00 MiB may");
        assert_eq!(rest(1 << 20, None), "1.00 MiB stay");
    }
}
