//! The metadata that LXD wants beside a disk which came in without any.

use std::collections::BTreeMap;

use tar::{EntryType, Header};

use super::metadata_yaml;
use crate::image::{Architecture, Timestamp};

/// Size of a record: a tar is filled up to it at its end, as GNU's is.
const RECORD: usize = 10 << 10;

/// A tarball with nothing but a `metadata.yaml` in it.
///
/// Equal images get equal bytes, in every version of this program: the name of an image is a hash over them. So they are not
/// compressed, which could change with any library.
pub fn make_metadata(
    architecture: Architecture,
    created_at: Timestamp,
    properties: &BTreeMap<String, String>,
) -> Vec<u8> {
    let yaml = metadata_yaml(architecture, created_at, properties);
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    let name = b"metadata.yaml";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(created_at.seconds()).unwrap_or(0));
    header.set_size(yaml.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(yaml.as_bytes());
    // Two empty blocks at the least, behind the one that the file ends in.
    let end = bytes.len().next_multiple_of(512) + 1024;
    bytes.resize(end.next_multiple_of(RECORD), 0);
    bytes
}
