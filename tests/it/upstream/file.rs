//! A file of the flaky server: its bytes, what is said of them, and what is wrong with both.

/// The entity tag of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Tag {
    Is(String),
    Missing,
    /// Another one each time.
    Random,
}

/// What a request for a part gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranges {
    Honest,
    /// All of it, with 200.
    Ignored,
    /// 416 for every range.
    Refused,
    /// 206 whose `Content-Range` begins elsewhere.
    WrongStart,
    /// 206 of the bytes of another place.
    WrongBytes,
    /// 206 whose `Content-Range` has another total.
    WrongTotal,
}

/// What is said of the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Honest,
    /// So many bytes too few.
    Short(u64),
    /// So many bytes too many; the connection closes behind those there are.
    Long(u64),
    /// Chunked.
    Chunked,
    /// None: the end of the connection is the end of the file.
    ToTheEnd,
}

/// A file, and how it is served.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) tag: Tag,
    pub(crate) modified: Option<String>,
    pub(crate) content_type: String,
    /// More headers.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) status: u16,
    /// Redirects there.
    pub(crate) location: Option<String>,
    pub(crate) ranges: Ranges,
    pub(crate) length: Length,
    /// Each of the next bodies ends at the next of these bytes of the file, without a word.
    pub(crate) cuts: Vec<usize>,
    /// Bodies stop before this byte of the file until they are released, or before their head for [`File::HEAD`].
    pub(crate) hold: Option<usize>,
    /// Bytes a second.
    pub(crate) rate: Option<usize>,
}

/// A date that a file was changed at, long ago.
pub(crate) const MODIFIED: &str = "Mon, 05 Jan 2026 07:42:00 GMT";

impl File {
    /// The place before the head of an answer.
    pub(crate) const HEAD: usize = usize::MAX;

    /// An honest file with a strong tag, made of its content.
    pub(crate) fn new(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let tag = format!("\"{}\"", &crate::harness::md5(&content)[..12]);
        Self {
            content,
            tag: Tag::Is(tag),
            modified: Some(MODIFIED.to_owned()),
            content_type: "application/octet-stream".to_owned(),
            headers: Vec::new(),
            status: 200,
            location: None,
            ranges: Ranges::Honest,
            length: Length::Honest,
            cuts: Vec::new(),
            hold: None,
            rate: None,
        }
    }

    /// A redirect.
    pub(crate) fn to(location: impl Into<String>) -> Self {
        Self { status: 302, location: Some(location.into()), ..Self::new("moved") }
    }

    /// An answer that is no success.
    pub(crate) fn status(status: u16, text: &str) -> Self {
        Self { status, tag: Tag::Missing, modified: None, ..Self::new(text) }
    }

    pub(crate) fn tagged(self, tag: Tag) -> Self {
        Self { tag, ..self }
    }

    pub(crate) fn ranges(self, ranges: Ranges) -> Self {
        Self { ranges, ..self }
    }

    pub(crate) fn length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    pub(crate) fn cut_at(self, cuts: impl Into<Vec<usize>>) -> Self {
        Self { cuts: cuts.into(), ..self }
    }

    pub(crate) fn held_at(self, hold: usize) -> Self {
        Self { hold: Some(hold), ..self }
    }

    pub(crate) fn at_rate(self, rate: usize) -> Self {
        Self { rate: Some(rate), ..self }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}
