//! Reasons that several protocols word as the core does, by the subjects that those protocols do not have. Each protocol's own
//! match names the rest. Knows no wording.

/// Reasons about aliases, instances, certificates, archives, other servers and the cache: only LXD has words of its own for them.
#[rustfmt::skip]
macro_rules! neutral_outside_lxd {
    () => {
        Reason::AnonymousRead | Reason::AliasNotFound | Reason::InstanceNotFound | Reason::CertificateNotFound
        | Reason::ProjectNotFound | Reason::ProfileNotFound | Reason::JobEnded | Reason::JobNotStoppable
        | Reason::Interrupted | Reason::NoUpdateSource | Reason::AmbiguousName | Reason::NoImageNamed
        | Reason::ServerRefused | Reason::AmbiguousCertificate | Reason::AliasTaken | Reason::AliasExists
        | Reason::FingerprintTaken | Reason::CertificateTrusted | Reason::CertificateExpired
        | Reason::CertificateNotYetValid | Reason::CertificateFixed | Reason::ConditionFailed | Reason::NotTrusted
        | Reason::FileEmpty | Reason::FileTruncated | Reason::UnknownPacking | Reason::NoMetadata
        | Reason::BadMetadata | Reason::NoCreationDate | Reason::UnknownArchitecture | Reason::FingerprintMismatch
        | Reason::RemoteMismatch | Reason::ArchitectureUnsupported | Reason::HeaderMissing
        | Reason::ServerUnreachable | Reason::Offline | Reason::NotCached | Reason::UpstreamDead
        | Reason::UpstreamChanged | Reason::CacheLoop | Reason::HostNotServed
    };
}
pub(in crate::api) use neutral_outside_lxd;

/// Reasons about changes of images and their bytes: protocols that change none have no words of their own for them.
#[rustfmt::skip]
macro_rules! neutral_for_readers {
    () => {
        Reason::ImageRemoved | Reason::MemberNotFound | Reason::FileMissing | Reason::NotActive
        | Reason::SourceNotFound | Reason::UploadNotFound | Reason::AccountNotFound | Reason::JobNotFound
        | Reason::NoSuchStore | Reason::MarkerNotFound | Reason::WrongCompanion | Reason::FormatNotSet
        | Reason::StoreTakesNoFiles | Reason::ImportUrlRefused | Reason::InStoresAlready | Reason::TakesNoData
        | Reason::TakesNoLocation | Reason::StoreNotThere | Reason::Withheld | Reason::NothingToWithhold
        | Reason::NotCopyable | Reason::NotImportable | Reason::NothingStaged | Reason::AccountTaken
        | Reason::FormatMismatch | Reason::UnsafeImage | Reason::SourceMismatch
    };
}
pub(in crate::api) use neutral_for_readers;
