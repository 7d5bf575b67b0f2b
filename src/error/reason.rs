//! Closed table of the reasons for a refusal: each with its kind, its stable code and its neutral words.
//!
//! Knows no protocol. Each protocol words the reasons in its `error.rs`, in a match that names every one.

use super::kind::Kind;

/// Declares the reasons, so that each has a kind, a code and words.
macro_rules! reasons {
    ($($name:ident $kind:ident $code:literal $words:literal)*) => {
        /// The name of a refusal. Codes are stable: clients compare them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $words] $name,)*
        }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// Kind of the reason.
            pub fn kind(self) -> Kind {
                match self {
                    $(Reason::$name => Kind::$kind,)*
                }
            }

            /// Stable code, for programs.
            pub fn code(self) -> &'static str {
                match self {
                    $(Reason::$name => $code,)*
                }
            }

            /// Neutral words, for people; each `{}` stands for a subject.
            pub fn words(self) -> &'static str {
                match self {
                    $(Reason::$name => $words,)*
                }
            }
        }
    };
}

reasons! {
    NotFound            NotFound "not-found"            "Nothing found under this name."
    PathNotFound        NotFound "path-not-found"       "There is nothing at this path."
    ImageNotFound       NotFound "image-not-found"      "Image '{}' not found."
    ImageRemoved        NotFound "image-removed"        "Image '{}' was removed during its upload."
    AliasNotFound       NotFound "alias-not-found"      "Alias not found."
    InstanceNotFound    NotFound "instance-not-found"   "Instance not found."
    MemberNotFound      NotFound "member-not-found"     "'{}' is not a member of the image."
    TagNotFound         NotFound "tag-not-found"        "The image has no tag '{}'."
    FileMissing         NotFound "file-missing"         "The file of image '{}' is missing."
    BytesMissing        NotFound "bytes-missing"        "The image's bytes are not in the store."
    NotActive           NotFound "not-active"           "The image has no data yet."
    SourceNotFound      NotFound "source-not-found"     "No file found at {}"
    UrlNotFound         NotFound "url-not-found"        "There is nothing under this URL."
    UploadNotFound      NotFound "upload-not-found"     "Upload '{}' not found."
    AccountNotFound     NotFound "account-not-found"    "Account '{}' not found."
    CertificateNotFound NotFound "certificate-not-found" "Certificate not found."
    ProjectNotFound     NotFound "project-not-found"    "Project not found."
    ProfileNotFound     NotFound "profile-not-found"    "Profile not found."
    DefinitionNotFound  NotFound "definition-not-found" "The metadata definition {} '{}' was not found."
    LinkNotFound        NotFound "link-not-found"       "Share link '{}' not found."
    TokensElsewhere     NotFound "tokens-elsewhere"     "Tokens for this server are made by the Keystone at {}."
    JobNotFound         NotFound "job-not-found"        "Job '{}' not found."
    RemoteImageNotFound NotFound "remote-image-not-found" "The server {} has no image or alias '{}'."
    VendorNotFound      NotFound "vendor-not-found"     "The catalogue has no vendor '{}'{}"
    BuildNotFound       NotFound "build-not-found"      "{} has no {}{}"
    NoUpdateSource      NotFound "no-update-source"     "The image has no source to be updated from."
    NothingMatches      NotFound "nothing-matches"      "Nothing matches the given parameters."

    InvalidValue        Invalid "invalid-value"         "A value is not allowed."
    Malformed           Invalid "malformed-request"     "The request can't be parsed."
    NoSuchStore         Invalid "no-such-store"         "Store '{}' not found."
    MarkerNotFound      Invalid "marker-not-found"      "Marker image '{}' not found."
    WrongCompanion      Invalid "wrong-companion"       "Image '{}' is not a {}."
    AmbiguousName       Invalid "ambiguous-name"        "More than one image matches the name."
    NoImageNamed        Invalid "no-image-named"        "An alias or a fingerprint of the image must be given."
    FormatNotSet        Invalid "format-not-set"        "The formats of the image must be set before it gets data."
    StoreTakesNoFiles   Invalid "store-takes-no-files"  "The store '{}' takes no files, only locations."
    WrongStore          Invalid "wrong-store"           "The location is not one of the store that the image asks for."
    ChecksumOfUrl       Invalid "checksum-not-verifiable" "A checksum of the file under a URL can't be verified before the answer: leave it out."
    UrlRefused          Invalid "url-refused"           "This URL is not fetched: {}"
    ImportUrlRefused    Invalid "import-url-refused"    "The URL to import from is not one that this server fetches: {}: {}"
    ServerRefused       Invalid "server-refused"        "Unable to connect to: {}: {}"
    CertificateExpired  Invalid "certificate-expired"   "The certificate has expired."
    CertificateNotYetValid Invalid "certificate-not-yet-valid" "The certificate is not valid yet."
    InStoresAlready     Invalid "in-stores-already"     "The image is in these stores already."

    Conflict            Conflict "conflict"             "The state of the thing does not allow this."
    TakesNoData         Conflict "takes-no-data"        "An image that is {} takes no data."
    TakesNoLocation     Conflict "takes-no-location"    "An image that is {} takes no location."
    FormatFixed         Conflict "format-fixed"         "The format can't be changed while the file is being uploaded."
    StoreFixed          Conflict "store-fixed"          "The store of an image that has bytes can't be changed."
    StoreNotThere       Conflict "store-not-there"      "The store '{}' is not available on this server."
    NoFile              Conflict "no-file"              "The image '{}' has no file to give out now."
    Withheld            Conflict "withheld"             "The file of image '{}' is withheld."
    NothingToWithhold   Conflict "nothing-to-withhold"  "An image without a file can't be made available or withheld."
    NotCopyable         Conflict "not-copyable"         "Only an image with a file can be copied."
    StaysUnderUrl       Conflict "stays-under-url"      "Nothing can be put under a URL: name a store of this server."
    InStoreAlready      Conflict "in-store-already"     "The store '{}' has this image already."
    NotInStore          Conflict "not-in-store"         "The store '{}' has no copy of this image."
    FileExists          Conflict "file-exists"          "The image file already exists."
    FileChanged         Conflict "file-changed"         "The file of image '{}' was changed after it was registered."
    NotImportable       Conflict "not-importable"       "The formats of the image must be set before an import."
    NothingStaged       Conflict "nothing-staged"       "Nothing is staged for this image."
    StagingIncomplete   Conflict "staging-incomplete"   "The data of this image is not staged completely."
    JobEnded            Conflict "job-ended"            "Only a running job can be stopped."
    JobNotStoppable     Conflict "job-not-stoppable"    "This job can't be stopped."
    JobStopped          Conflict "job-stopped"          "It was stopped."
    UploadComplete      Conflict "upload-complete"      "The upload is complete."
    UploadOffset        Conflict "upload-offset"        "The upload stands at {}, not at {}."
    UploadLength        Conflict "upload-length"        "The upload has {} bytes in all, not {}."
    UploadTakenOver     Conflict "upload-taken-over"    "Another request continues this upload."
    PartIncomplete      Conflict "part-incomplete"      "The part '{}' of the upload has {} of {} bytes."
    LastAdministrator   Conflict "last-administrator"   "The last administrator can only be removed on the server itself."
    AccountOwnsImages   Conflict "account-owns-images"  "Images belong to '{}': it can't be renamed."
    AmbiguousCertificate Conflict "ambiguous-certificate" "More than one certificate matches."
    AmbiguousRemoteName Conflict "ambiguous-remote-name" "More than one image of {} matches '{}'."

    ImageExists         AlreadyExists "image-exists"       "There is an image with id '{}' already."
    IdRetired           AlreadyExists "id-retired"         "There was an image with id '{}', and ids are not used again."
    AliasTaken          AlreadyExists "alias-taken"        "Alias '{}' belongs to another image already."
    AliasExists         AlreadyExists "alias-exists"       "Alias '{}' exists already."
    FingerprintTaken    AlreadyExists "fingerprint-taken"  "An image with the same fingerprint exists already."
    MemberExists        AlreadyExists "member-exists"      "'{}' is a member of the image already."
    AccountTaken        AlreadyExists "account-taken"      "The access key '{}' is already taken."
    CertificateTrusted  AlreadyExists "certificate-trusted" "The certificate is trusted already."
    DefinitionExists    AlreadyExists "definition-exists"  "There is a metadata definition {} '{}' already."

    ChangedMeanwhile    Precondition "changed-meanwhile"   "Image '{}' was changed or removed meanwhile."
    ConditionFailed     Precondition "condition-failed"    "The condition of the request does not hold."

    Unauthenticated     Unauthenticated "not-authenticated" "This needs the credentials of an account."
    BadCredentials      Unauthenticated "bad-credentials"   "The credentials are not valid."

    Forbidden           Forbidden "forbidden"           "This is not allowed."
    WrongHost           Forbidden "wrong-host"          "This server is not called by that name. Names of its own are listed in server.names."
    ForeignRequest      Forbidden "foreign-request"     "Requests of foreign web pages are refused."
    NotTrusted          Forbidden "not-trusted"         "The client is not trusted."
    AnonymousRead       Forbidden "anonymous-read"      "Without credentials, public images are read only if auth.public_read is set."
    NoScope             Forbidden "no-scope"            "This token has no scope; get one for a project."
    LinkRefused         Forbidden "link-refused"        "This share link is not valid: it has expired, was revoked, or is not complete."
    ReadOnlyAccount     Forbidden "read-only-account"   "This account may only read; it may not {}."
    AdminOnly           Forbidden "administrators-only" "Only administrators may do this."
    NotOwner            Forbidden "not-owner"           "Only its owner may change this image."
    MayNotPublish       Forbidden "may-not-publish"     "Only administrators may make an image public."
    CertificateFixed    Forbidden "certificate-fixed"   "A restricted certificate can only be replaced, by its holder."
    OwnerFixed          Forbidden "owner-fixed"         "Only an administrator may set the owner."
    ReadOnly            Forbidden "read-only"           "'{}' can't be changed."
    ImageProtected      Forbidden "image-protected"     "Image '{}' is protected and can't be removed."
    NotShared           Forbidden "not-shared"          "Only shared images have members."
    MayNotShare         Forbidden "may-not-share"       "Only users who can change or share this image can add members."
    MembersChoice       Forbidden "members-choice"      "Only the member itself may accept or reject an image."
    NoImportDirectory   Forbidden "no-import-directory" "This server does not import files: it has no import directory."
    OnlyCopy            Forbidden "only-copy"           "The only copy of an image can't be removed; delete the image."
    HostNotServed       Forbidden "host-not-served"     "Files of {} are not fetched for others: see cache.hosts."
    DefinitionsProtected Forbidden "definitions-protected" "The metadata definition namespace is protected: nothing of it can be deleted."

    BodyTooLarge        TooLarge "body-too-large"       "The body is too large."
    HeadersTooLarge     TooLarge "headers-too-large"    "The request line and the headers of a request may have at most 128 KiB and 96 headers."
    FileTooLarge        TooLarge "file-too-large"       "An image has at most {} bytes on this server."
    DefinitionsFull     TooLarge "definitions-full"     "There is no room for more metadata definitions: together they have up to 8 MiB."
    TooMany             TooMany "too-many"              "There are too many of them."
    BadRange            BadRange "bad-range"            "The range lies outside the image."
    WrongMediaType      MediaType "wrong-media-type"    "The body is of the wrong type."
    BadContent          BadContent "bad-content"        "The bytes are not of a format that is allowed here."
    FormatMismatch      BadContent "format-mismatch"    "The format of the image is {}, but the bytes are {}."
    UnsafeImage         BadContent "unsafe-image"       "The image is not safe to open: {}"
    ImageIncomplete     BadContent "image-incomplete"   "The image file ends early: it has {} bytes, and by its own headers at least {}."
    BadArchive          BadContent "bad-archive"        "The image file is not one of a container or a virtual machine."
    FileEmpty           BadContent "file-empty"         "The image file is empty."
    FileTruncated       BadContent "file-truncated"     "The image file ends early."
    UnknownPacking      BadContent "unknown-packing"    "The image file is packed in a way that is not known."
    NoMetadata          BadContent "no-metadata"        "The image has no metadata.yaml."
    BadMetadata         BadContent "bad-metadata"       "metadata.yaml can't be parsed: {}"
    NoCreationDate      BadContent "no-creation-date"   "metadata.yaml has no creation date."
    UnknownArchitecture BadContent "unknown-architecture" "The architecture '{}' is not known."
    Mismatch            DigestMismatch "mismatch"       "The bytes are not those that were announced."
    SourceMismatch      DigestMismatch "source-mismatch" "The file at the source is not the one that was announced."
    FingerprintMismatch DigestMismatch "fingerprint-mismatch" "The fingerprint is {}, not {}."
    RemoteMismatch      DigestMismatch "remote-mismatch" "The file {} hashes to {}, not to {}."
    VendorMismatch      Verification "vendor-mismatch"  "The bytes of {} are not those that its vendor publishes: {}."
    GivenMismatch       Verification "given-mismatch"   "The bytes of {} are not those that were asked for: {}."
    SumsRefused         Verification "checksums-refused" "The checksums in {} are refused: {}."
    PlaceRefused        Verification "place-refused"    "A list of {} names the place {}, which is not one of the vendor's: {}."
    SignatureMissing    Verification "signature-missing" "{} publishes nothing that is signed about {}, though it has to be signed."
    SignatureRefused    Verification "signature-refused" "The signature of {} is refused: {}."
    KeyMissing          Verification "key-missing"      "The signature of {} can't be checked: {}."
    WeakerThanRequired  Verification "weaker-than-required" "For {}, '{}' is demanded, and all there is is '{}'."
    WeakerThanBefore    Verification "weaker-than-before" "{} was signed before, and now is not: {}. If that is meant to be so, say --accept-weaker."
    RolledBack          Verification "rolled-back"      "The signed list {} is of {}, older than the one of {} that was here before."
    BodyIncomplete      Incomplete "body-incomplete"    "The body ended before it was complete."
    UploadIncomplete    Incomplete "upload-incomplete"  "The upload has {} of {} bytes."
    TooSlow             TooSlow "too-slow"              "The body came too slowly."
    StoreFull           StoreFull "store-full"          "The store has no room left for these bytes."
    DiskFull            StoreFull "disk-full"           "The disk is full: the change was not made."

    MethodNotAllowed    Unsupported "method-not-allowed" "This path does not have that method."
    Unsupported         Unsupported "unsupported"       "This server can't do this."
    ArchitectureUnsupported Unsupported "architecture-not-supported" "Images for the architecture '{}' can't be copied."
    StoreUnsupported    Unsupported "store-not-supported" "The store '{}' is not supported"
    StoreReadOnly       Unsupported "store-read-only"   "The store is read-only."

    Busy                Busy "busy"                     "The server is busy; try again in a moment."
    Stopping            Busy "stopping"                 "The server is shutting down."
    Interrupted         Busy "interrupted"              "It was interrupted before it was done."
    TooManyTries        Busy "too-many-tries"           "Too many wrong tries; wait a minute."
    TooManyUploads      Busy "too-many-uploads"         "Too many uploads at the same time; try again in a moment."
    TooManyOpenUploads  Busy "too-many-open-uploads"    "Too many uploads are not finished; finish or delete some."
    TooManyJobs         Busy "too-many-jobs"            "Too many jobs of yours are running; try again later."
    TooManyWaiters      Busy "too-many-waiters"         "Too many requests wait for this job; try again later."
    BeingCopied         Busy "being-copied"             "The image is being copied already; try again when that is done."
    UploadBusy          Busy "upload-busy"              "Another request is still writing to this upload; try again."

    Upstream            Upstream "upstream-failed"      "Another server does not answer as it should."
    HeaderMissing       Upstream "header-missing"       "The answer of the server has no header {}."
    ServerUnreachable   Upstream "server-unreachable"   "Unable to connect to: {}"
    IdentityUnavailable Upstream "identity-unavailable" "The Keystone that knows this server's callers can't be asked: {}."
    StoreUnavailable    Upstream "store-unavailable"    "The store can't be used at the moment."
    Offline             Upstream "offline"              "{} is not in the cache, and nothing is sent: offline since {}. visor offline off ends that, where neither --offline nor cache.offline asks for it."
    NotCached           Upstream "not-cached"           "{} is not in the cache, and no server was to be asked."
    UpstreamDead        Upstream "upstream-dead"        "{} is not in the cache, and can't be fetched: {}"
    UpstreamChanged     Upstream "upstream-changed"     "{} changed while it was fetched; ask again for the new one."
    CacheLoop           Upstream "cache-loop"           "The request for {} came back to this server through its parents: see cache.parents."
    Internal            Internal "internal"             "Something went wrong in the server; its log says what."
    ChangesStopped      Internal "changes-stopped"      "The server's disk failed to keep a change; nothing can be changed until the server is started again."
}

impl Reason {
    /// Finds a reason by its code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_kebab_case() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(!code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
            assert_eq!(Reason::of_code(code), Some(*reason));
            assert!(!reason.words().is_empty(), "{code}");
        }
    }

    #[test]
    fn every_kind_has_a_reason() {
        let kinds: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.kind()).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
    }
}
