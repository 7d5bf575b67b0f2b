//! Instances: root file systems on this machine that the operator lends by name, for publishing as images.
//!
//! A name leads to a directory in the configuration; client text is only compared with names. No link is followed:
//! links are packed as links (see `walk`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::archive::pack_dir;
use crate::archive::{metadata_yaml, rewritten};
use crate::error::{Error, Reason, Result};
use crate::image::{ImagePatch, Timestamp};

/// Directory of snapshots.
const SNAPSHOTS: &str = "snapshots";
/// Names of the root file system and of its description.
const ROOTFS: &str = "rootfs";
const METADATA: &str = "metadata.yaml";
const TEMPLATES: &str = "templates";
/// Largest description that is copied as it is.
const YAML_BYTES_MAX: u64 = 1 << 20;
/// Most snapshots of an instance that are listed.
const SNAPSHOTS_MAX: usize = 1000;

/// Instances by name.
#[derive(Debug, Clone, Default)]
pub struct Instances(BTreeMap<String, PathBuf>);

/// An instance to pack.
#[derive(Debug, Clone)]
pub struct Instance {
    dir: PathBuf,
    packing: Packed,
}

/// Compression of the packed image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    Plain,
    Gzip,
}

impl Instances {
    /// Takes the instances in the configuration.
    pub fn new(all: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self(all.into_iter().collect())
    }

    /// Names of the instances.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names of the snapshots of an instance that can be published, in their order. Blocks.
    ///
    /// # Errors
    /// `NotFound` instance.
    pub fn snapshots(&self, name: &str) -> Result<Vec<String>> {
        self.find(name, "")?;
        let dir = self.0.get(name).ok_or_else(unknown)?.join(SNAPSHOTS);
        // An instance without snapshots need not have the directory.
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(SNAPSHOTS_MAX);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> =
            names.filter(|snapshot| self.find(&format!("{name}/{snapshot}"), "").is_ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Finds an instance by name, or a snapshot of one by `NAME/SNAPSHOT`, to pack with this compression.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` compression.
    pub fn find(&self, name: &str, packing: &str) -> Result<Instance> {
        let packing = match packing {
            "" | "gzip" => Packed::Gzip,
            "none" => Packed::Plain,
            _ => return Err(Error::invalid("The compression must be gzip or none.")),
        };
        let (name, snapshot) = name.split_once('/').map_or((name, None), |(name, snapshot)| (name, Some(snapshot)));
        let dir = self.0.get(name).ok_or_else(unknown)?;
        // A link could lead outside the configured directory.
        let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let dir = match snapshot {
            None => dir.clone(),
            Some(snapshot) => {
                let plain = !snapshot.starts_with('.')
                    && snapshot.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                if snapshot.is_empty() || !plain || !is_dir(&dir.join(SNAPSHOTS)) {
                    return Err(unknown());
                }
                dir.join(SNAPSHOTS).join(snapshot)
            }
        };
        if is_dir(&dir) && is_dir(&dir.join(ROOTFS)) { Ok(Instance { dir, packing }) } else { Err(unknown()) }
    }
}

fn unknown() -> Error {
    Reason::InstanceNotFound.into()
}

/// Packs an instance as an image. Blocks.
/// The description says what `wanted` does of properties and of the end, as in LXD.
pub(in crate::registry) fn pack(
    instance: &Instance,
    wanted: &ImagePatch,
    now: Timestamp,
    into: &mut impl Write,
) -> io::Result<()> {
    // Buffers pieces that are worth a hop to another thread.
    let into = io::BufWriter::with_capacity(256 << 10, into);
    match instance.packing {
        Packed::Plain => archive(&instance.dir, wanted, now, into)?.flush(),
        Packed::Gzip => {
            archive(&instance.dir, wanted, now, GzEncoder::new(into, Compression::default()))?.finish()?.flush()
        }
    }
}

/// Writes the description, then the files, then the templates that the description names.
fn archive<W: Write>(dir: &Path, wanted: &ImagePatch, now: Timestamp, into: W) -> io::Result<W> {
    let dir: OwnedFd = File::open(dir)?.into();
    let mut archive = tar::Builder::new(into);
    let yaml = description(&dir, wanted, now)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(yaml.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(u64::try_from(now.seconds()).unwrap_or(0));
    archive.append_data(&mut header, METADATA, yaml.as_slice())?;
    let root = pack_dir::open_dir(&dir, ROOTFS)?;
    pack_dir::append_dir(&mut archive, root, Path::new(ROOTFS), 0)?;
    match pack_dir::open_dir(&dir, TEMPLATES) {
        Ok(templates) => pack_dir::append_dir(&mut archive, templates, Path::new(TEMPLATES), 0)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    archive.into_inner()
}

/// Reads the description beside the files, or makes a minimal one, with what is wanted in it.
fn description(dir: &OwnedFd, wanted: &ImagePatch, now: Timestamp) -> io::Result<Vec<u8>> {
    let own = own_description(dir, now)?;
    let given = wanted.properties.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let given: BTreeMap<_, _> = given.collect();
    let end = wanted.expires_at.flatten();
    if given.is_empty() && end.is_none() {
        return Ok(own);
    }
    let rewritten = rewritten(&own, Some(&given).filter(|given| !given.is_empty()), end);
    rewritten.map(String::into_bytes).map_err(io::Error::other)
}

fn own_description(dir: &OwnedFd, now: Timestamp) -> io::Result<Vec<u8>> {
    match pack_dir::open_file(dir, METADATA) {
        Ok((file, _)) => {
            let mut yaml = Vec::new();
            file.take(YAML_BYTES_MAX + 1).read_to_end(&mut yaml)?;
            match yaml.len() as u64 > YAML_BYTES_MAX {
                true => Err(io::Error::other("its metadata.yaml is too long")),
                false => Ok(yaml),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let unknown = || io::Error::other("images of this machine's processor are not known");
            let architecture = crate::upstream::this_machine().ok_or_else(unknown)?;
            Ok(metadata_yaml(architecture, now, &BTreeMap::new()).into())
        }
        Err(error) => Err(error),
    }
}
