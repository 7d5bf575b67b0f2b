//! Tables that a header points to, read while the file passes by: what they say of the file's length, and (VHDX) where the
//! facts are.
//!
//! A file passes once, from its beginning to its end. Tables that lie before the place where they became known are not
//! read, except those within the beginning that is kept; so what is found out is the least that the file must have, never more.

use std::ops::Range;

use super::seen::TableFacts;
use super::{qcow2, vhdx, vmdk};

/// The tables of a file's format.
#[derive(Debug, Clone)]
pub(super) enum Tables {
    /// A format without tables, or none that is read.
    None,
    /// Clusters of a qcow2.
    Qcow2(qcow2::ClusterTables),
    /// Grains of a sparse VMDK.
    Vmdk(vmdk::GrainTables),
    /// Regions, metadata and blocks of a VHDX.
    Vhdx(vhdx::VhdxTables),
}

impl Tables {
    /// The tables that belong to a file that begins with these bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        if let Some(tables) = qcow2::ClusterTables::of(head) {
            Self::Qcow2(tables)
        } else if let Some(tables) = vmdk::GrainTables::of(head) {
            Self::Vmdk(tables)
        } else if let Some(tables) = vhdx::VhdxTables::of(head) {
            Self::Vhdx(tables)
        } else {
            Self::None
        }
    }

    /// Length of the beginning of such a file in which its first tables lie, in any order.
    pub(super) fn reach_of_first(head: &[u8]) -> u64 {
        qcow2::reach_of_first(head)
    }

    /// The next stretch to read that begins at `from` or behind. It is no longer than two times 64 KiB.
    pub(super) fn next(&mut self, from: u64) -> Option<Range<u64>> {
        match self {
            Self::None => None,
            Self::Qcow2(tables) => tables.next(from),
            Self::Vmdk(tables) => tables.next(from),
            Self::Vhdx(tables) => tables.next(from),
        }
    }

    /// Takes the bytes of the stretch that [`Tables::next`] named.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Qcow2(tables) => tables.take(at, bytes),
            Self::Vmdk(tables) => tables.take(at, bytes),
            Self::Vhdx(tables) => tables.take(at, bytes),
        }
    }

    /// Facts out of the tables, as far as they were read.
    pub(super) fn facts(&self) -> TableFacts {
        match self {
            Self::None => TableFacts { least: 0, disk: None },
            Self::Qcow2(tables) => TableFacts { least: tables.least(), disk: None },
            Self::Vmdk(tables) => TableFacts { least: tables.least(), disk: None },
            Self::Vhdx(tables) => TableFacts { least: tables.least(), disk: Some(tables.disk()) },
        }
    }
}
