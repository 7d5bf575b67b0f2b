//! The kinds of refusals: what a program has to tell apart to act on it. A reason has one; a protocol has a status for each.

/// The class of a refusal, as far as a program has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such thing, or nothing that this caller may know of.
    NotFound,
    /// The request is malformed or breaks a rule about values.
    Invalid,
    /// The thing exists already.
    AlreadyExists,
    /// The thing is in a state in which this can't be done.
    Conflict,
    /// Somebody else changed it meanwhile, or the caller's own condition does not hold.
    Precondition,
    /// Who is asking is not known.
    Unauthenticated,
    /// Who is asking is known, and may not do this.
    Forbidden,
    /// More bytes than allowed.
    TooLarge,
    /// More of something than one image may have.
    TooMany,
    /// The range asked for lies outside the image.
    BadRange,
    /// The body is of a type that does not belong here.
    MediaType,
    /// The bytes are not of the format that their image has, or dangerous for whoever uses them.
    BadContent,
    /// The server is not able to do this (a store that is not configured, say).
    Unsupported,
    /// The bytes are not those that were announced.
    DigestMismatch,
    /// The body ended early.
    Incomplete,
    /// The body came too slowly.
    TooSlow,
    /// No room left for the bytes.
    StoreFull,
    /// Too much going on; the same request may work later.
    Busy,
    /// Another server that was needed does not answer as it should.
    Upstream,
    /// Our own fault.
    Internal,
}

impl Kind {
    /// Every kind, for tests that must not forget one.
    pub const ALL: [Kind; 20] = [
        Kind::NotFound,
        Kind::Invalid,
        Kind::AlreadyExists,
        Kind::Conflict,
        Kind::Precondition,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::TooLarge,
        Kind::TooMany,
        Kind::BadRange,
        Kind::MediaType,
        Kind::BadContent,
        Kind::Unsupported,
        Kind::DigestMismatch,
        Kind::Incomplete,
        Kind::TooSlow,
        Kind::StoreFull,
        Kind::Busy,
        Kind::Upstream,
        Kind::Internal,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_kind_once() {
        let distinct: std::collections::HashSet<_> = Kind::ALL.iter().collect();
        assert_eq!(distinct.len(), Kind::ALL.len());
        assert_eq!(Kind::ALL.len(), Kind::Internal as usize + 1);
    }
}
