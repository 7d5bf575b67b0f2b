//! Carries out a plan: reads entries in bounded pieces, tests every row against the whole filter, and stops when the
//! page is full.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::engine::{Engine, Entry, KeyRange, Table};
use super::index::{sort_key, tail};
use super::keys::id_of;
use super::load::stored;
use super::plan::{Plan, plan};
use super::row;
use crate::image::query::{Cursor, Direction, Page, Query};
use crate::image::{Attr, Image, ImageId};

/// Entries are read in pieces of this many; between pieces other requests get their turn.
const PIECE_MAX: usize = 512;

/// At least this many entries are read at once: the filter will refuse some.
const PIECE_MIN: usize = 32;

/// Answers a query.
///
/// # Errors
/// In words, why the engine can't be trusted.
pub(crate) async fn list(engine: &dyn Engine, query: &Query) -> Result<Page, String> {
    let probe = |range: &KeyRange, most: usize| Ok(engine.scan(range, false, most)?.len());
    let plan = plan(&query.filter, query.sort, &probe).map_err(|error| error.to_string())?;
    log::debug!("plan: {plan:?}");
    match plan {
        Plan::Nothing => Ok(Page { images: Vec::new(), next: None }),
        Plan::One(id) => gather(engine, BTreeSet::from([id]), query).await,
        Plan::Gather(ranges) => {
            let mut ids = BTreeSet::new();
            for range in &ranges {
                let entries = engine.scan(range, false, usize::MAX).map_err(|error| error.to_string())?;
                ids.extend(entries.iter().filter_map(|(key, _)| id_of(key)));
            }
            gather(engine, ids, query).await
        }
        Plan::WalkValue { prefix } => {
            let mut range = KeyRange::prefix(Table::Index, &prefix);
            if let Some(Cursor(after)) = &query.after {
                // Sorted by creation the place is in another index; both end with the same tail.
                let by_creation = query.sort.by == Attr::CreatedAt;
                let place = if by_creation { [&prefix, tail(after)].concat() } else { after.clone() };
                resume(&mut range, query.sort.direction, place);
            }
            walk(engine, range, query).await
        }
        Plan::WalkOrder(mut range) => {
            if let Some(Cursor(after)) = &query.after {
                resume(&mut range, query.sort.direction, after.clone());
            }
            walk(engine, range, query).await
        }
    }
}

/// Narrows a range to what lies behind a place.
fn resume(range: &mut KeyRange, direction: Direction, place: Vec<u8>) {
    match direction {
        Direction::Ascending => range.start = Bound::Excluded(place),
        Direction::Descending => range.end = Bound::Excluded(place),
    }
}

/// Walks entries that lie in the order asked for.
async fn walk(engine: &dyn Engine, mut range: KeyRange, query: &Query) -> Result<Page, String> {
    // By id or creation an image never moves. By anything else its entry's key is its place in the order.
    let may_move = !matches!(query.sort.by, Attr::Id | Attr::CreatedAt);
    let backwards = query.sort.direction == Direction::Descending;
    let mut images = Vec::new();
    while images.len() < query.limit {
        let piece = (query.limit - images.len()).clamp(PIECE_MIN, PIECE_MAX);
        let entries = engine.scan(&range, backwards, piece).map_err(|error| error.to_string())?;
        let read = entries.len();
        if let Some((last, _)) = entries.last() {
            resume(&mut range, query.sort.direction, last.clone());
        }
        for entry in entries {
            let Some(image) = image_of(engine, range.table, &entry)? else { continue };
            // The row may have changed since the entry was read: it is met, or was, where it stands now. To go on from
            // its new place would skip what lies between.
            let moved = may_move && sort_key(query.sort.by, &image) != entry.0;
            if !moved && query.filter.passes(&image) {
                images.push(image);
            }
            if images.len() == query.limit {
                break;
            }
        }
        if read < piece {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(page(images, query))
}

/// The image that an entry leads to; `None` if it was removed since the entry was read.
fn image_of(engine: &dyn Engine, table: Table, (key, value): &Entry) -> Result<Option<Image>, String> {
    if table == Table::Image {
        return row::decode(value).map(Some).map_err(|error| error.to_string());
    }
    let id = id_of(key).ok_or("an index entry has no id")?;
    Ok(stored(engine, id)?.map(|(image, _)| image))
}

/// Reads some images, and orders in memory those that pass.
async fn gather(engine: &dyn Engine, ids: BTreeSet<ImageId>, query: &Query) -> Result<Page, String> {
    let mut found = Vec::new();
    for (position, id) in ids.into_iter().enumerate() {
        if position % PIECE_MAX == PIECE_MAX - 1 {
            tokio::task::yield_now().await;
        }
        if let Some((image, _)) = stored(engine, id)?
            && query.filter.passes(&image)
        {
            found.push((sort_key(query.sort.by, &image), image));
        }
    }
    found.sort_unstable_by(|(a, _), (b, _)| match query.sort.direction {
        Direction::Ascending => a.cmp(b),
        Direction::Descending => b.cmp(a),
    });
    let behind = |key: &Vec<u8>| match (&query.after, query.sort.direction) {
        (None, _) => true,
        (Some(Cursor(after)), Direction::Ascending) => key > after,
        (Some(Cursor(after)), Direction::Descending) => key < after,
    };
    let images = found.into_iter().filter(|(key, _)| behind(key)).map(|(_, image)| image).take(query.limit).collect();
    Ok(page(images, query))
}

fn page(images: Vec<Image>, query: &Query) -> Page {
    let full = images.len() == query.limit;
    let next = images.last().filter(|_| full).map(|last| Cursor(sort_key(query.sort.by, last)));
    Page { images, next }
}
