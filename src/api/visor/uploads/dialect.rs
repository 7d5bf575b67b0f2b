//! The two dialects of resumable uploads, read and written: tus 1.0 (<https://tus.io>) and the IETF's draft
//! (`draft-ietf-httpbis-resumable-upload`). They differ in headers only; the upload itself is the registry's.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentDisposition, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::meta::Fields;
use super::super::wire::Record;
use crate::error::{Error, Reason, Result};
use crate::http::headers::{behind, is_type, text};
use crate::http::time::http_date;
use crate::image::{Attr, ImageId};
use crate::registry::{Append, UploadProgress};

const TUS_VERSION: &str = "1.0.0";
const TUS_EXTENSIONS: &str = "creation,creation-defer-length,creation-with-upload,expiration,termination,concatenation";

/// Headers with digests of a file or of a piece, by other standards.
const UNCOMPARED: [&str; 4] = ["Content-Digest", "Repr-Digest", "Digest", "Upload-Checksum"];

/// The newest version of the draft whose clients give a piece no media type (`Upload-Draft-Interop-Version`).
const UNTYPED_DRAFT_MAX: u32 = 5;

/// The place of an upload among those that are put together: tus's `Upload-Concat`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Concat {
    /// A part.
    Partial,
    /// The upload that is made of these parts.
    Final(Vec<ImageId>),
}

/// Dialect of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadDialect {
    Tus,
    Draft,
}

/// Reads a header that holds a number of bytes.
fn bytes(headers: &HeaderMap, name: &str) -> Result<Option<u64>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    number
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("The header {name} must be a number of bytes.")))
}

impl UploadDialect {
    /// The dialect of a request. The draft is the default, because its headers are optional.
    pub(super) fn of(request: &HttpRequest) -> Self {
        if request.headers().contains_key("tus-resumable") { Self::Tus } else { Self::Draft }
    }

    /// Refuses other versions of tus, as tus requires.
    pub(super) fn refused(self, request: &HttpRequest) -> Option<HttpResponse> {
        (self == Self::Tus && text(request.headers(), "tus-resumable") != Some(TUS_VERSION))
            .then(|| HttpResponse::PreconditionFailed().insert_header(("Tus-Version", TUS_VERSION)).finish())
    }

    /// Refuses digests that would not be compared.
    ///
    /// # Errors
    /// `Invalid` for a request with one.
    pub(super) fn check_digests(headers: &HeaderMap) -> Result<()> {
        match UNCOMPARED.into_iter().find(|name| headers.contains_key(*name)) {
            Some(name) => {
                let text =
                    format!("{name} is not compared here: announce the MD5 of the file in x-image-meta-checksum.");
                Err(Error::invalid(text))
            }
            None => Ok(()),
        }
    }

    /// The content type of a request that appends.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Tus => "application/offset+octet-stream",
            Self::Draft => "application/partial-upload",
        }
    }

    /// Tells whether a request that appends has the content type that it must have.
    pub(super) fn is_typed(self, headers: &HeaderMap) -> bool {
        let untyped = || {
            let version = text(headers, "upload-draft-interop-version").and_then(|version| version.parse::<u32>().ok());
            self == Self::Draft && version.is_some_and(|version| version <= UNTYPED_DRAFT_MAX)
        };
        text(headers, header::CONTENT_TYPE).is_some_and(|it| is_type(it, self.content_type())) || untyped()
    }

    /// Reads `Upload-Concat`.
    ///
    /// # Errors
    /// `Invalid` for another value than `partial` and `final;` with addresses of parts, and in the draft, which has no parts.
    pub(super) fn concat(self, headers: &HeaderMap) -> Result<Option<Concat>> {
        if !headers.contains_key("upload-concat") {
            return Ok(None);
        }
        if self == Self::Draft {
            return Err(Error::invalid("Upload-Concat is a header of tus: send Tus-Resumable: 1.0.0 with it."));
        }
        let wrong = || Error::invalid("Upload-Concat must be 'partial', or 'final;' with the addresses of its parts.");
        let value = text(headers, "upload-concat").ok_or_else(wrong)?.trim();
        if value.eq_ignore_ascii_case("partial") {
            return Ok(Some(Concat::Partial));
        }
        let parts = behind(value, "final", ';').ok_or_else(wrong)?;
        let id = |address: &str| {
            let (before, id) = address.trim_end_matches('/').rsplit_once('/').ok_or_else(wrong)?;
            id.parse().ok().filter(|_| before.ends_with("/uploads") || before == "uploads").ok_or_else(wrong)
        };
        parts.split_ascii_whitespace().map(id).collect::<Result<_>>().map(|ids| Some(Concat::Final(ids)))
    }

    /// Size of the whole upload, if the request announces it.
    ///
    /// # Errors
    /// `Invalid` header.
    pub(super) fn size(headers: &HeaderMap) -> Result<Option<u64>> {
        bytes(headers, "upload-length")
    }

    /// Offset at which a request continues.
    ///
    /// # Errors
    /// `Invalid` or missing header.
    pub(super) fn offset(headers: &HeaderMap) -> Result<u64> {
        bytes(headers, "upload-offset")?.ok_or_else(|| Error::invalid("The header Upload-Offset is missing."))
    }

    /// Reads the draft's `Upload-Complete`: true if the upload ends with this request.
    fn says_complete(headers: &HeaderMap) -> Option<bool> {
        let flag = |name| match text(headers, name)?.trim() {
            "?1" => Some(true),
            "?0" => Some(false),
            _ => None,
        };
        // Versions up to the third of the draft said the contrary.
        flag("upload-complete").or_else(|| flag("upload-incomplete").map(|incomplete| !incomplete))
    }

    /// Tells whether an upload is complete after a request's body. In tus, the length alone decides.
    pub(super) fn completes(self, headers: &HeaderMap, append: &Append) -> bool {
        match self {
            Self::Tus => append.size() == Some(append.received()) && !append.is_part(),
            Self::Draft => Self::says_complete(headers).unwrap_or(false),
        }
    }

    /// Size of the whole upload, if the request that creates it announces it. The draft's request may carry all bytes.
    ///
    /// # Errors
    /// `Invalid` header; for tus, which requires a length or its deferral, also neither or both.
    pub(super) fn size_at_first(self, headers: &HeaderMap) -> Result<Option<u64>> {
        let size = Self::size(headers)?;
        match self {
            Self::Tus => match (size, text(headers, "upload-defer-length")) {
                (Some(_), None) | (None, Some("1")) => Ok(size),
                _ => Err(Error::invalid("The request needs either Upload-Length or Upload-Defer-Length: 1.")),
            },
            Self::Draft => {
                let all = Self::says_complete(headers) == Some(true);
                let length = || text(headers, header::CONTENT_LENGTH.as_str()).filter(|_| all)?.parse().ok();
                Ok(size.or_else(length))
            }
        }
    }

    /// Adds the metadata of `Upload-Metadata`, which clients of tus send in both dialects, and the file name that the draft has
    /// in `Content-Disposition`.
    ///
    /// # Errors
    /// `Invalid` when the header is no list of keys and base64.
    pub(super) fn add_metadata(headers: &HeaderMap, fields: &mut Fields) -> Result<()> {
        let disposition = headers.get(header::CONTENT_DISPOSITION).map(ContentDisposition::from_raw);
        if let Some(Ok(disposition)) = &disposition
            && let Some(name) = disposition.get_filename().filter(|name| !name.is_empty())
        {
            fields.suggest(Attr::Name, name);
        }
        let Some(list) = text(headers, "upload-metadata") else { return Ok(()) };
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(value.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let value = value.ok_or_else(|| Error::invalid(format!("The value of {key} is not UTF-8 in base64.")))?;
            match key {
                // Browsers send these keys with a file.
                "filename" => fields.suggest(Attr::Name, &value),
                "filetype" | "relativePath" => {}
                // The media type of a file that the browser does not know is empty.
                "type" if value.contains('/') || value.is_empty() => {}
                _ => fields.put(key, &value)?,
            }
        }
        Ok(())
    }

    /// Writes the state of an upload into an answer.
    pub(super) fn describe(self, response: &mut HttpResponseBuilder, progress: &UploadProgress) {
        response.insert_header(("Upload-Offset", progress.offset.to_string()));
        if let Some(expires_at) = progress.expires_at {
            response.insert_header(("Upload-Expires", http_date(expires_at.seconds())));
        }
        if self == Self::Draft {
            response.insert_header(("Upload-Complete", if progress.is_complete() { "?1" } else { "?0" }));
        }
    }

    /// The answer to HEAD. `record` is that of the image.
    pub(super) fn status(self, progress: &UploadProgress, record: &Record) -> HttpResponse {
        let mut response = HttpResponse::build(match self {
            Self::Tus => StatusCode::OK,
            Self::Draft => StatusCode::NO_CONTENT,
        });
        self.describe(&mut response, progress);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        match (progress.size, self) {
            (Some(size), _) => _ = response.insert_header(("Upload-Length", size.to_string())),
            (None, Self::Tus) => _ = response.insert_header(("Upload-Defer-Length", "1")),
            (None, Self::Draft) => {}
        }
        if self == Self::Tus && progress.is_part() {
            response.insert_header(("Upload-Concat", "partial"));
        } else if self == Self::Tus {
            let pairs: Vec<_> = record
                .iter()
                .map(|(key, value)| format!("{key} {}", STANDARD.encode(value.text().as_bytes())))
                .collect();
            response.insert_header(("Upload-Metadata", pairs.join(",")));
        }
        response.finish()
    }

    /// Adds the headers of every answer.
    pub(super) fn sign(self, response: &mut HttpResponse) {
        if self == Self::Tus {
            let version = header::HeaderValue::from_static(TUS_VERSION);
            response.headers_mut().insert(header::HeaderName::from_static("tus-resumable"), version);
        }
    }

    /// The answer to OPTIONS, for both dialects.
    pub(super) fn options(allow: &'static str, max: u64) -> HttpResponse {
        HttpResponse::NoContent()
            .insert_header((header::ALLOW, allow))
            .insert_header(("Tus-Resumable", TUS_VERSION))
            .insert_header(("Tus-Version", TUS_VERSION))
            .insert_header(("Tus-Extension", TUS_EXTENSIONS))
            .insert_header(("Tus-Max-Size", max.to_string()))
            .insert_header(("Upload-Limit", format!("max-size={max}")))
            .finish()
    }
}

/// The answer to a body of the wrong type.
pub(super) fn wrong_type(dialect: UploadDialect) -> Error {
    Reason::WrongMediaType.saying(format!("Request Content-Type must be {}", dialect.content_type()))
}
