//! Builds as the lists of vendors have them.

use std::collections::BTreeMap;

use crate::vendor::expectation::Expectation;
use crate::vendor::sum::Sum;
use crate::vendor::template::KnownFields;

/// A build as a list has it.
pub(super) struct FoundBuild {
    /// Facts of it: release or version, build.
    pub(super) facts: KnownFields,
    /// URL.
    pub(super) url: String,
    /// Other names of its release, as the list has them.
    pub(super) aliases: Vec<String>,
    /// Digests.
    pub(super) expectation: Option<Expectation>,
    /// Digest of what is in it, of one that is packed.
    pub(super) unpacked: Option<Sum>,
    /// File that belongs to it, of a container.
    pub(super) metadata: Option<ContainerMetadata>,
    /// Attributes that its list gives to images.
    pub(super) properties: BTreeMap<String, String>,
}

impl FoundBuild {
    /// A build that is one file, without other names.
    pub(super) fn at(facts: KnownFields, url: String, expectation: Option<Expectation>) -> Self {
        let (aliases, metadata, properties) = (Vec::new(), None, BTreeMap::new());
        Self { facts, url, aliases, expectation, unpacked: None, metadata, properties }
    }
}

/// File that describes a container to LXD and Incus.
#[derive(Debug, Clone)]
pub struct ContainerMetadata {
    /// URL of the file.
    pub url: String,
    /// Digests of the list, with its word for them.
    pub expectation: Option<Expectation>,
    /// SHA-256 of this file and the container's together.
    pub fingerprint: [u8; 32],
}
