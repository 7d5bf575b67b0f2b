//! Faults of a remote store, told apart by its answers. Callers learn the store's name and the plain reason. Nothing of an
//! answer but its status and a code of one word leaves this file, not even for the log.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

use crate::blob::StoreError;
use crate::fetch::FetchError;

/// Longest code of an error that is looked at.
const CODE_BYTES_MAX: usize = 64;

/// Reasons why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No connection was made: nothing of the request was heard.
    Unreached,
    /// A connection broke.
    Down,
    /// No answer in time.
    Slow,
    /// A temporary error of the server.
    Failing,
    /// Our credentials are not good for this.
    Credentials,
    /// Its clock and ours differ too much for a signature to count.
    Clock,
    /// No such bucket.
    NoBucket,
    /// A redirect: the endpoint or the region is another.
    Elsewhere,
    /// A redirect to an address that this server may not reach.
    Guarded,
    /// Its certificate is not to be trusted.
    Certificate,
    /// No room.
    Full,
    /// There is something under this name already.
    Taken,
    /// The upload is not known any more.
    Gone,
    /// A request that the server does not implement.
    NotImplemented,
    /// Fewer bytes came than were announced, or more.
    Cut,
    /// Any other reason.
    Odd,
}

impl Why {
    /// Tells whether another try may succeed.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Unreached | Self::Down | Self::Slow | Self::Failing)
    }

    /// The reason for a missing or incomplete answer.
    pub(super) fn of_fetch(error: &FetchError) -> Self {
        match error {
            FetchError::Refused | FetchError::Silent | FetchError::Unresolved { .. } => Self::Guarded,
            FetchError::TimedOut(_) => Self::Slow,
            FetchError::Certificate(_) | FetchError::CertificateDates(_) => Self::Certificate,
            FetchError::WrongLength(_) => Self::Cut,
            FetchError::Unreached(_) => Self::Unreached,
            FetchError::Failing(_) | FetchError::Upstream(_) => Self::Down,
            FetchError::Status { .. } if error.may_pass() => Self::Down,
            FetchError::NotFound
            | FetchError::BadRange
            | FetchError::Payload(_)
            | FetchError::Changed(_)
            | FetchError::Status { .. }
            | FetchError::Compressed(_) => Self::Odd,
            FetchError::Spent(error) => Self::of_fetch(error),
        }
    }

    /// The reason for a failed answer: from its code if it has one, else from its status.
    pub(super) fn of_answer(status: StatusCode, code: Option<&str>) -> Self {
        if let Some(why) = code.and_then(Self::of_code) {
            return why;
        }
        match status.as_u16() {
            401 | 403 => Self::Credentials,
            300..=399 => Self::Elsewhere,
            405 | 501 => Self::NotImplemented,
            412 => Self::Taken,
            507 => Self::Full,
            408 | 429 | 499 | 500.. => Self::Failing,
            _ => Self::Odd,
        }
    }

    fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            // S3 and what speaks it.
            "NoSuchBucket" => Self::NoBucket,
            "NoSuchUpload" => Self::Gone,
            "RequestTimeTooSkewed" => Self::Clock,
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied" | "AccountProblem" => Self::Credentials,
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => Self::Elsewhere,
            "PreconditionFailed" => Self::Taken,
            "NotImplemented" => Self::NotImplemented,
            "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientCapacity" => {
                Self::Full
            }
            "InternalError" | "SlowDown" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted" => {
                Self::Failing
            }
            "ConditionalRequestConflict" => Self::Failing,
            // HDFS, most of which come with 403.
            "DSQuotaExceededException" | "NSQuotaExceededException" | "QuotaByStorageTypeExceededException" => {
                Self::Full
            }
            "DiskOutOfSpaceException" => Self::Full,
            "FileAlreadyExistsException" => Self::Taken,
            "SafeModeException" | "StandbyException" | "RetriableException" => Self::Failing,
            "AlreadyBeingCreatedException" | "RecoveryInProgressException" => Self::Failing,
            "AccessControlException" | "SecurityException" | "AuthorizationException" => Self::Credentials,
            _ => return None,
        })
    }
}

/// A reason on its way through the library.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    pub(super) why: Why,
    /// An earlier try of the same request came to nothing either, but may have been heard.
    pub(super) doubt: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.why)
    }
}

impl std::error::Error for Trouble {}

impl From<Trouble> for opendal::Error {
    fn from(trouble: Trouble) -> Self {
        opendal::Error::new(opendal::ErrorKind::Unexpected, "the store refuses").set_source(trouble)
    }
}

impl Trouble {
    /// The reason behind an error of the library other than "not found".
    pub(super) fn of(error: &opendal::Error) -> Self {
        let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        if let Some(trouble) = causes.find_map(|cause| cause.downcast_ref::<Self>()) {
            return *trouble;
        }
        let why = match error.kind() {
            opendal::ErrorKind::ConditionNotMatch => Why::Taken,
            opendal::ErrorKind::PermissionDenied => Why::Credentials,
            opendal::ErrorKind::ConfigInvalid => Why::NoBucket,
            _ if error.is_temporary() => Why::Failing,
            _ => Why::Odd,
        };
        Self { why, doubt: false }
    }
}

/// The error for users of the store of this name.
pub(super) fn told(store: &str, error: &opendal::Error) -> StoreError {
    match error.kind() {
        opendal::ErrorKind::NotFound => StoreError::NotFound,
        opendal::ErrorKind::RangeNotSatisfied => StoreError::BadRange,
        _ => told_why(store, Trouble::of(error).why),
    }
}

/// The error for a known reason.
pub(super) fn told_why(store: &str, why: Why) -> StoreError {
    let does = match why {
        Why::Full => return StoreError::Full,
        Why::Taken => return StoreError::Exists,
        Why::Unreached | Why::Down => "can't be reached",
        Why::Slow => "takes too long to answer",
        Why::Failing => "fails: it answers that it can't just now",
        Why::Credentials => "refuses the credentials that it is configured with",
        Why::Clock => "refuses what is asked: its clock and this server's differ too much",
        Why::NoBucket => "has no bucket of the name that is configured",
        Why::Elsewhere => "is elsewhere: its endpoint or region is not the one that is configured",
        Why::Guarded => "has no address, or leads to one that this server may not reach",
        Why::Certificate => "shows a certificate that is not trusted: its ca_file says which are",
        Why::Cut => "sent more or fewer bytes than it announced",
        Why::Gone => "lost the upload while it was going on",
        Why::NotImplemented => "does not know a request that is needed",
        Why::Odd => "does not answer as it should",
    };
    StoreError::Unavailable(format!("The store {store} {does}."))
}

/// Reads the code of an error: from S3's XML or the exception of WebHDFS's JSON.
pub(super) fn code_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Xml {
        code: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Json {
        remote_exception: Exception,
    }
    #[derive(Deserialize)]
    struct Exception {
        exception: String,
    }
    let code = match body.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'<' => quick_xml::de::from_reader::<_, Xml>(body).ok()?.code,
        b'{' => serde_json::from_slice::<Json>(body).ok()?.remote_exception.exception,
        _ => return None,
    };
    let plain = code.len() <= CODE_BYTES_MAX && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_and_judged_before_the_status() {
        let of = |status: u16, body: &str| {
            Why::of_answer(StatusCode::from_u16(status).unwrap(), code_of(body.as_bytes()).as_deref())
        };
        let xml =
            |code: &str| format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>");
        let json =
            |code: &str| format!(r#"{{"RemoteException":{{"exception":"{code}","message":"m","javaClassName":"j"}}}}"#);
        for (status, body, why) in [
            (404, xml("NoSuchBucket"), Why::NoBucket),
            (403, xml("RequestTimeTooSkewed"), Why::Clock),
            (403, xml("Whatever"), Why::Credentials),
            (503, xml("SlowDown"), Why::Failing),
            (507, xml("XMinioStorageFull"), Why::Full),
            (507, String::new(), Why::Full),
            (412, String::new(), Why::Taken),
            (403, json("DSQuotaExceededException"), Why::Full),
            (403, json("StandbyException"), Why::Failing),
            (403, json("AccessControlException"), Why::Credentials),
            (500, "<html>".into(), Why::Failing),
            (400, "{".into(), Why::Odd),
            (307, String::new(), Why::Elsewhere),
            (501, String::new(), Why::NotImplemented),
        ] {
            assert_eq!(of(status, &body), why, "{status} {body}");
        }
        assert_eq!(code_of(xml("a b\n").as_bytes()), None, "one word");
        assert_eq!(code_of(xml(&"x".repeat(100)).as_bytes()), None);
    }
}
