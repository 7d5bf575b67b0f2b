//! Execution of a plan: reads entries in bounded pieces, tests every row against the whole filter, and stops when the
//! page is full.
//!
//! A walk through an order meets images that do not pass. A sieve keeps most of them from being read; and when a walk has become
//! long, it is compared with reading the images of the rarest condition, again whenever it has doubled. So a page costs no
//! more than a small multiple of the cheaper of the two ways, however the images are spread.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::embedded::open::stored;
use super::engine::{Engine, EngineError, Entry, KeyRange, Table, after_prefix};
use super::index::{group_of, place, sort_key, tail};
use super::keys::id_of;
use super::plan::{Plan, instead_of_walk, plan};
use super::row;
use super::sieve::Sieve;
use crate::image::query::{Cursor, Direction, Page, Query};
use crate::image::{Attr, Image, ImageId};

/// Entries in one piece; other requests get their turn between pieces.
const PIECE_MAX: usize = 512;

/// Fewest entries read at once: the filter refuses some.
const PIECE_MIN: usize = 32;

/// Cost of a walk after which it is compared with the other way for the first time.
pub(crate) const LONG_WALK: usize = 8192;

/// Cost of reading an image, in entries that are passed by in the same time.
const IMAGE_COST: usize = 8;

/// Most images that are gathered instead of a walk: their ids are kept in memory.
const GATHER_INSTEAD_MAX: usize = 1 << 16;

/// Answers a query.
///
/// # Errors
/// Description of the damage that makes the engine untrustworthy.
pub(crate) async fn list(engine: &dyn Engine, query: &Query) -> Result<Page, String> {
    list_within(engine, query, LONG_WALK).await
}

/// Answers a query as [`list`] does; a walk is long after `long` entries.
pub(crate) async fn list_within(engine: &dyn Engine, query: &Query, long: usize) -> Result<Page, String> {
    let plan = plan(&query.filter, &query.sort, &|range, most| probe(engine, range, most)).map_err(told)?;
    log::debug!("plan: {plan:?}");
    match plan {
        Plan::Nothing => Ok(Page { images: Vec::new(), next: None }),
        Plan::These(ids) => gather(engine, ids.into_iter().collect(), query).await,
        Plan::Gather(ranges) => gather_ranges(engine, &ranges, query).await,
        Plan::WalkValue { prefix } => {
            let mut range = KeyRange::prefix(Table::Index, &prefix);
            // The cursor's key in the order of creation is in another index; both end with one tail.
            let by_creation = (query.sort.by == Attr::CreatedAt).then_some(&prefix[..]);
            resume_behind_cursor(&mut range, query, by_creation);
            walk(engine, range, query, Walk::new(query, Some(&prefix), long)).await
        }
        Plan::WalkOrder(mut range) => {
            resume_behind_cursor(&mut range, query, None);
            walk(engine, range, query, Walk::new(query, None, long)).await
        }
    }
}

fn told(error: EngineError) -> String {
    error.to_string()
}

/// Counts the keys of a range, up to a limit.
fn probe(engine: &dyn Engine, range: &KeyRange, most: usize) -> Result<usize, EngineError> {
    Ok(engine.scan(range, false, most)?.len())
}

/// The state of a walk beside its page.
struct Walk {
    sieve: Sieve,
    entries: usize,
    /// Cost so far, in entries.
    cost: usize,
    /// Cost at which the walk is compared with the other way.
    look_at: usize,
    /// Entries of the next piece.
    piece: usize,
}

impl Walk {
    fn new(query: &Query, prefix: Option<&[u8]>, long: usize) -> Self {
        let piece = query.limit.clamp(PIECE_MIN, PIECE_MAX);
        Self { sieve: Sieve::of(&query.filter, prefix), entries: 0, cost: 0, look_at: long, piece }
    }

    /// The image of an entry, if it is there and can pass.
    fn image(&mut self, engine: &dyn Engine, table: Table, entry: &Entry) -> Result<Option<Image>, String> {
        if !self.sieve.passes(engine, table, &entry.0).map_err(told)? {
            return Ok(None);
        }
        self.cost += IMAGE_COST;
        image_of(engine, table, entry)
    }

    /// Ends a piece that did not fill the page; `found` are the images on it. Returns the entries to gather in the place of
    /// the walk, if that has become the cheaper way.
    fn end_piece(
        &mut self,
        engine: &dyn Engine,
        query: &Query,
        read: usize,
        found: usize,
    ) -> Result<Option<Vec<KeyRange>>, String> {
        self.sieve.settle();
        (self.entries, self.cost) = (self.entries + read, self.cost + read);
        // As many as will fill the page if the rest is like what was seen.
        let missing = query.limit.saturating_sub(found);
        self.piece = (missing.saturating_mul(self.entries) / found.max(1)).clamp(PIECE_MIN, PIECE_MAX);
        // A walk that finds most of what it meets is the cheaper way.
        if self.cost < self.look_at || found.saturating_mul(4) > self.entries {
            return Ok(None);
        }
        let most = (self.cost / IMAGE_COST).min(GATHER_INSTEAD_MAX);
        self.look_at = self.cost.saturating_mul(2);
        let instead = instead_of_walk(&query.filter, most, &|range, most| probe(engine, range, most)).map_err(told)?;
        if instead.is_some() {
            log::debug!("gathering instead after {} entries", self.entries);
        }
        Ok(instead)
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
async fn walk(engine: &dyn Engine, range: KeyRange, query: &Query, walk: Walk) -> Result<Page, String> {
    if query.sort.is_simple() {
        walk_simple(engine, range, query, walk).await
    } else {
        walk_groups(engine, range, query, walk).await
    }
}

/// Order by one attribute: the entries are sorted one by one.
async fn walk_simple(engine: &dyn Engine, mut range: KeyRange, query: &Query, mut walk: Walk) -> Result<Page, String> {
    // By id or creation an image never moves. By another attribute its entry's key is its place in the order.
    let may_move = !matches!(query.sort.by, Attr::Id | Attr::CreatedAt);
    let backwards = query.sort.direction == Direction::Descending;
    let mut images = Vec::new();
    while images.len() < query.limit {
        let piece = walk.piece;
        let entries = engine.scan(&range, backwards, piece).map_err(told)?;
        let read = entries.len();
        if let Some((last, _)) = entries.last() {
            resume(&mut range, query.sort.direction, last.clone());
        }
        for entry in entries {
            let Some(image) = walk.image(engine, range.table, &entry)? else { continue };
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
        if read < piece || images.len() == query.limit {
            break;
        }
        if let Some(ranges) = walk.end_piece(engine, query, read, images.len())? {
            return gather_ranges(engine, &ranges, query).await;
        }
        tokio::task::yield_now().await;
    }
    Ok(page(images, query))
}

/// Order by several attributes: entries are sorted value by value. All entries with the first attribute's value are read
/// before the next image is known. No more of them are kept than fit on the page.
async fn walk_groups(engine: &dyn Engine, mut range: KeyRange, query: &Query, mut walk: Walk) -> Result<Page, String> {
    let (by, backwards) = (query.sort.by, query.sort.direction == Direction::Descending);
    let mut best = Best::new(query);
    let mut group = Vec::new();
    'walk: loop {
        let entries = engine.scan(&range, backwards, PIECE_MAX).map_err(told)?;
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
            let Some(image) = walk.image(engine, range.table, &entry)? else { continue };
            // As above: the walk meets the image at its present place.
            if by == Attr::CreatedAt || sort_key(by, &image) == entry.0 {
                best.offer(image);
            }
        }
        if read < PIECE_MAX {
            break;
        }
        if let Some(ranges) = walk.end_piece(engine, query, read, best.images.len())? {
            return gather_ranges(engine, &ranges, query).await;
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

/// Reads the images of index entries, and sorts the passing ones in memory.
async fn gather_ranges(engine: &dyn Engine, ranges: &[KeyRange], query: &Query) -> Result<Page, String> {
    let mut ids = BTreeSet::new();
    for range in ranges {
        let entries = engine.scan(range, false, usize::MAX).map_err(told)?;
        ids.extend(entries.iter().filter_map(|(key, _)| id_of(key)));
    }
    gather(engine, ids, query).await
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
