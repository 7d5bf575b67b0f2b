//! Tables of a header that wait to pass by while a file is read once. Knows no format.

use std::ops::Range;

/// Bytes that a table is read in: what an inspection holds of it at a time.
pub(super) const PIECE: u64 = 64 << 10;

/// Tables whose places are remembered while they wait to pass by.
pub(super) const WAITING_MAX: usize = 16 << 10;

/// Tables that wait to pass by, in the order of their places, each with a value of its reader's.
#[derive(Debug, Clone)]
pub(super) struct TableQueue<T> {
    /// The next one is last.
    waiting: Vec<WaitingTable<T>>,
    /// True if tables were added behind the others.
    unsorted: bool,
}

#[derive(Debug, Clone)]
struct WaitingTable<T> {
    begin: u64,
    /// Begin of what was not read yet.
    next: u64,
    end: u64,
    /// Bytes that are read at a time.
    piece: u64,
    value: T,
}

impl<T: Copy> TableQueue<T> {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), unsorted: false }
    }

    /// Adds a table that is read in one piece, of two times 64 KiB at the most.
    pub(super) fn push_whole(&mut self, place: Range<u64>, value: T) {
        self.push(place, value);
        if let Some(last) = self.waiting.last_mut() {
            last.piece = last.end - last.begin;
        }
    }

    /// Adds a table. One that is too many is forgotten.
    pub(super) fn push(&mut self, place: Range<u64>, value: T) {
        if self.waiting.len() < WAITING_MAX && !place.is_empty() {
            self.waiting.push(WaitingTable {
                begin: place.start,
                next: place.start,
                end: place.end,
                piece: PIECE,
                value,
            });
            self.unsorted = true;
        }
    }

    /// The next piece at `from` or behind. What lies before it is forgotten: it has passed.
    pub(super) fn next(&mut self, from: u64) -> Option<Range<u64>> {
        if std::mem::take(&mut self.unsorted) {
            self.waiting.sort_unstable_by_key(|table| std::cmp::Reverse((table.next, table.end)));
            self.waiting.dedup_by_key(|table| table.next);
        }
        while self.waiting.last().is_some_and(|table| table.next < from) {
            self.waiting.pop();
        }
        let table = self.waiting.last()?;
        Some(table.next..table.end.min(table.next.saturating_add(table.piece)))
    }

    /// The table whose next piece begins here, and the number of its bytes before that. Its rest stays in the queue.
    pub(super) fn took(&mut self, at: u64, length: u64) -> Option<(T, u64)> {
        let table = self.waiting.last_mut().filter(|table| table.next == at)?;
        let found = (table.value, at - table.begin);
        table.next = at.saturating_add(length);
        if table.next >= table.end {
            self.waiting.pop();
        }
        Some(found)
    }
}
