//! Kinds of refusals: the classes that a program tells apart to act on one. A reason has one kind; each protocol has a
//! status for every kind. Knows no protocol.

/// The class of a refusal, for programs that act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such thing, or none that this caller may know of.
    NotFound,
    /// The request is malformed or breaks a rule about values.
    Invalid,
    /// The thing exists already.
    AlreadyExists,
    /// The state of the thing does not allow this.
    Conflict,
    /// Another request changed the thing meanwhile, or the caller's own condition does not hold.
    Precondition,
    /// The caller is unknown.
    Unauthenticated,
    /// The caller is known, and may not do this.
    Forbidden,
    /// More bytes than allowed.
    TooLarge,
    /// More of something than one image may have.
    TooMany,
    /// The range asked for lies outside the image.
    BadRange,
    /// The body is of a type that does not belong here.
    MediaType,
    /// The bytes are not of the image's format, or are dangerous to open.
    BadContent,
    /// The server can't do this, for want of a configured store for example.
    Unsupported,
    /// The bytes are not the announced ones.
    DigestMismatch,
    /// Bytes from another server are not those that their maker vouches for, or are not vouched for as was demanded.
    Verification,
    /// The body ended early.
    Incomplete,
    /// The body arrived too slowly.
    TooSlow,
    /// No room left for the bytes.
    StoreFull,
    /// Too much work in progress; a repeated request may succeed later.
    Busy,
    /// Another server did not answer as it should.
    Upstream,
    /// A fault of this server.
    Internal,
}

impl Kind {
    /// Every kind, for tests that must not forget one.
    pub const ALL: [Kind; 21] = [
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
        Kind::Verification,
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
