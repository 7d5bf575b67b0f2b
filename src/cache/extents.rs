//! Extents: the parts of a file that are here. Pure.

use std::ops::Range;

/// Disjoint spans of bytes in their order, none of which touches the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// Reads spans from a file: in any order, empty and overlapping ones too, cut at `end`.
    pub(super) fn of(spans: &[(u64, u64)], end: u64) -> Self {
        let mut extents = Self::default();
        for (start, stop) in spans {
            extents.add(*start..(*stop).min(end));
        }
        extents
    }

    /// Adds a span.
    pub(super) fn add(&mut self, span: Range<u64>) {
        if span.is_empty() {
            return;
        }
        let first = self.0.partition_point(|(_, end)| *end < span.start);
        let last = self.0.partition_point(|(start, _)| *start <= span.end);
        let touched = &self.0[first..last];
        let start = touched.first().map_or(span.start, |(start, _)| span.start.min(*start));
        let end = touched.last().map_or(span.end, |(_, end)| span.end.max(*end));
        self.0.splice(first..last, [(start, end)]);
    }

    /// Bytes from the beginning on without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.end_of(0).unwrap_or(0)
    }

    /// End of the span that has a byte; `None` if the byte is not here.
    pub(super) fn end_of(&self, at: u64) -> Option<u64> {
        let span = self.0.partition_point(|(_, end)| *end <= at);
        self.0.get(span).filter(|(start, _)| *start <= at).map(|(_, end)| *end)
    }

    /// Parts of a span that are not here, in their order.
    pub(super) fn gaps(&self, span: Range<u64>) -> Vec<Range<u64>> {
        let (mut gaps, mut at) = (Vec::new(), span.start);
        let first = self.0.partition_point(|(_, end)| *end <= at);
        for (start, end) in self.0[first..].iter().take_while(|(start, _)| *start < span.end) {
            if at < *start {
                gaps.push(at..*start);
            }
            at = at.max(*end);
        }
        if at < span.end {
            gaps.push(at..span.end);
        }
        gaps
    }

    /// Number of bytes that are here.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The spans.
    pub(super) fn spans(&self) -> &[(u64, u64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_say_of_each_byte_whether_it_is_here(spans in proptest::collection::vec((0u64..80, 0u64..20), 0..24)) {
            let (mut extents, mut here) = (Extents::default(), [false; 101]);
            for (start, length) in &spans {
                extents.add(*start..start + length);
                here[*start as usize..(start + length) as usize].fill(true);
            }
            for at in 0..100u64 {
                let run = here[at as usize..].iter().take_while(|here| **here).count() as u64;
                prop_assert_eq!(extents.end_of(at), Some(at + run).filter(|end| *end > at), "{}", at);
            }
            prop_assert_eq!(extents.prefix(), here.iter().take_while(|here| **here).count() as u64);
            prop_assert_eq!(extents.total(), here.iter().filter(|here| **here).count() as u64);
            for (start, length) in &spans {
                let span = start / 2..start + length;
                let missing: Vec<u64> = span.clone().filter(|at| !here[*at as usize]).collect();
                let gaps = extents.gaps(span);
                prop_assert!(gaps.iter().all(|gap| !gap.is_empty()));
                prop_assert_eq!(gaps.into_iter().flatten().collect::<Vec<_>>(), missing);
            }
            prop_assert!(extents.spans().windows(2).all(|two| two[0].1 < two[1].0), "{:?}", extents);
            let again: Vec<_> = extents.spans().iter().rev().copied().collect();
            prop_assert_eq!(&Extents::of(&again, 200), &extents);
            prop_assert!(Extents::of(&again, 50).spans().iter().all(|(_, end)| *end <= 50));
        }
    }
}
