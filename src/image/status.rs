//! The states of an image, and the one table of legal moves between them.

/// Stage of an image's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Registered, without bytes.
    Queued,
    /// Bytes are arriving.
    Saving,
    /// Bytes are durable and verified.
    Available,
    /// Bytes exist, and are withheld on request.
    Deactivated,
    /// The last upload failed; another may be tried.
    Failed,
    /// Being deleted; hidden from every caller.
    Deleting,
}

impl Status {
    /// Every state.
    pub const ALL: [Status; 6] =
        [Status::Queued, Status::Saving, Status::Available, Status::Deactivated, Status::Failed, Status::Deleting];

    /// Name on disk and in indexes. Protocols have their own words.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Saving => "saving",
            Self::Available => "available",
            Self::Deactivated => "deactivated",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// Tells whether an image may move from this state to `next`. Staying is no move.
    pub fn may_become(self, next: Status) -> bool {
        use Status::{Available, Deactivated, Deleting, Failed, Queued, Saving};
        match self {
            // A location makes an image available without an upload.
            Queued | Failed => matches!(next, Saving | Available | Deleting),
            Saving => matches!(next, Available | Failed | Deleting),
            // Active bytes are immutable: no way back to a state that takes new ones.
            Available => matches!(next, Deactivated | Deleting),
            Deactivated => matches!(next, Available | Deleting),
            Deleting => false,
        }
    }

    /// Tells whether an upload may begin.
    pub fn takes_bytes(self) -> bool {
        self.may_become(Status::Saving)
    }

    /// Tells whether bytes can be read.
    pub fn gives_bytes(self) -> bool {
        self == Status::Available
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, written out once more by hand: a row per state, a column per next state.
    #[test]
    fn moves_are_exactly_these() {
        //                Queued Saving Avail  Deact  Failed Deleting
        let table = [
            /* Queued   */ [false, true, true, false, false, true],
            /* Saving   */ [false, false, true, false, true, true],
            /* Avail    */ [false, false, false, true, false, true],
            /* Deact    */ [false, false, true, false, false, true],
            /* Failed   */ [false, true, true, false, false, true],
            /* Deleting */ [false, false, false, false, false, false],
        ];
        for (from, row) in Status::ALL.into_iter().zip(table) {
            for (to, legal) in Status::ALL.into_iter().zip(row) {
                assert_eq!(from.may_become(to), legal, "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn no_state_with_bytes_takes_new_ones() {
        for status in Status::ALL {
            assert!(!(status.gives_bytes() && status.takes_bytes()), "{status:?}");
        }
    }
}
