//! Execution of a plan: reads entries in bounded pieces, tests every row against the whole filter, and stops when the
//! page is full.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::embedded::open::stored;
use super::engine::{Engine, Entry, KeyRange, Table, after_prefix};
use super::index::{group_of, place, sort_key, tail};
use super::keys::id_of;
use super::plan::{Plan, plan};
use super::row;
use crate::image::query::{Cursor, Direction, Page, Query};
use crate::image::{Attr, Image, ImageId};

/// Entries in one piece; other requests get their turn between pieces.
const PIECE_MAX: usize = 512;

/// Fewest entries read at once: the filter refuses some.
const PIECE_MIN: usize = 32;

/// Answers a query.
///
/// # Errors
/// Description of the damage that makes the engine untrustworthy.
pub(crate) async fn list(engine: &dyn Engine, query: &Query) -> Result<Page, String> {
    let probe = |range: &KeyRange, most: usize| Ok(engine.scan(range, false, most)?.len());
    let plan = plan(&query.filter, &query.sort, &probe).map_err(|error| error.to_string())?;
    log::debug!("plan: {plan:?}");
    match plan {
        Plan::Nothing => Ok(Page { images: Vec::new(), next: None }),
        Plan::These(ids) => gather(engine, ids.into_iter().collect(), query).await,
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
            // The cursor's key in the order of creation is in another index; both end with one tail.
            let by_creation = (query.sort.by == Attr::CreatedAt).then_some(&prefix[..]);
            resume_behind_cursor(&mut range, query, by_creation);
            walk(engine, range, query).await
        }
        Plan::WalkOrder(mut range) => {
            resume_behind_cursor(&mut range, query, None);
            walk(engine, range, query).await
        }
    }
}

/// Narrows a range to the entries after the cursor; with several attributes, to the images that have the cursor's
/// first value, and the images after them. `prefix` starts all entries, if only their tails are in order.
fn resume_behind_cursor(range: &mut KeyRange, query: &Query, prefix: Option<&[u8]>) {
    let Some(Cursor { key, first }) = &query.after else { return };
    if query.sort.is_simple() {
        resume(range, query.sort.direction, prefix.map_or(key.clone(), |prefix| [prefix, tail(key)].concat()));
        return;
    }
    let group = &key[..*first];
    let group = match prefix {
        // The time of creation is the only value, and the first of a tail.
        Some(prefix) => [prefix, &group[group.len().saturating_sub(size_of::<i64>())..]].concat(),
        None => group.to_vec(),
    };
    match query.sort.direction {
        Direction::Ascending => range.start = Bound::Included(group),
        Direction::Descending => range.end = after_prefix(&group),
    }
}

/// Narrows a range to the keys after a cursor.
fn resume(range: &mut KeyRange, direction: Direction, place: Vec<u8>) {
    match direction {
        Direction::Ascending => range.start = Bound::Excluded(place),
        Direction::Descending => range.end = Bound::Excluded(place),
    }
}

/// The first images of an order, as many as fit on a page.
struct Best<'a> {
    query: &'a Query,
    images: BTreeMap<Vec<u8>, Image>,
}

impl<'a> Best<'a> {
    fn new(query: &'a Query) -> Self {
        Self { query, images: BTreeMap::new() }
    }

    fn is_full(&self) -> bool {
        self.images.len() == self.query.limit
    }

    /// Adds an image that passes and belongs to the page, and drops the last one if the page overflows.
    fn offer(&mut self, image: Image) {
        let Query { filter, sort, limit, after } = self.query;
        if !filter.passes(&image) {
            return;
        }
        let key = place(sort, &image).key;
        let behind = after.as_ref().is_none_or(|after| match sort.direction {
            Direction::Ascending => key > after.key,
            Direction::Descending => key < after.key,
        });
        if !behind {
            return;
        }
        self.images.insert(key, image);
        if self.images.len() > *limit {
            match sort.direction {
                Direction::Ascending => self.images.pop_last(),
                Direction::Descending => self.images.pop_first(),
            };
        }
    }

    fn page(self) -> Page {
        let images = self.images.into_values();
        let images = match self.query.sort.direction {
            Direction::Ascending => images.collect(),
            Direction::Descending => images.rev().collect(),
        };
        page(images, self.query)
    }
}

/// Walks entries in the order of the page.
async fn walk(engine: &dyn Engine, range: KeyRange, query: &Query) -> Result<Page, String> {
    if query.sort.is_simple() {
        walk_simple(engine, range, query).await
    } else {
        walk_groups(engine, range, query).await
    }
}

/// Order by one attribute: the entries are sorted one by one.
async fn walk_simple(engine: &dyn Engine, mut range: KeyRange, query: &Query) -> Result<Page, String> {
    // By id or creation an image never moves. By another attribute its entry's key is its place in the order.
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
            // The row may have changed since the entry was read: the walk meets the image at its present place, or has met it.
            // Continuing from the new place would skip the images between.
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

/// Order by several attributes: entries are sorted value by value. All entries with the first attribute's value are read
/// before the next image is known. No more of them are kept than fit on the page.
async fn walk_groups(engine: &dyn Engine, mut range: KeyRange, query: &Query) -> Result<Page, String> {
    let (by, backwards) = (query.sort.by, query.sort.direction == Direction::Descending);
    let mut best = Best::new(query);
    let mut group = Vec::new();
    'walk: loop {
        let entries = engine.scan(&range, backwards, PIECE_MAX).map_err(|error| error.to_string())?;
        let read = entries.len();
        if let Some((last, _)) = entries.last() {
            resume(&mut range, query.sort.direction, last.clone());
        }
        for entry in entries {
            if group != group_of(by, &entry.0) {
                if best.is_full() {
                    break 'walk;
                }
                group = group_of(by, &entry.0).to_vec();
            }
            let Some(image) = image_of(engine, range.table, &entry)? else { continue };
            // As above: the walk meets the image at its present place.
            if by == Attr::CreatedAt || sort_key(by, &image) == entry.0 {
                best.offer(image);
            }
        }
        if read < PIECE_MAX {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(best.page())
}

/// The image of an index entry; `None` if it was removed since the entry was read.
fn image_of(engine: &dyn Engine, table: Table, (key, value): &Entry) -> Result<Option<Image>, String> {
    if table == Table::Image {
        return row::decode(value).map(Some).map_err(|error| error.to_string());
    }
    let id = id_of(key).ok_or("an index entry has no id")?;
    Ok(stored(engine, id)?.map(|(image, _)| image))
}

/// Reads some images, and sorts the passing ones in memory.
async fn gather(engine: &dyn Engine, ids: BTreeSet<ImageId>, query: &Query) -> Result<Page, String> {
    let mut best = Best::new(query);
    for (position, id) in ids.into_iter().enumerate() {
        if position % PIECE_MAX == PIECE_MAX - 1 {
            tokio::task::yield_now().await;
        }
        if let Some((image, _)) = stored(engine, id)? {
            best.offer(image);
        }
    }
    Ok(best.page())
}

fn page(images: Vec<Image>, query: &Query) -> Page {
    let full = images.len() == query.limit;
    let next = images.last().filter(|_| full).map(|last| place(&query.sort, last));
    Page { images, next }
}
