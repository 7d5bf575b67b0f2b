//! The seam to what vendors say of their files, so that the rest of the room can be tested without a vendor.

use std::path::Path;

use async_trait::async_trait;

use crate::error::Result;
use crate::image::Timestamp;
use crate::vendor::{Documents, Evidence, Expectation, Level};

/// Knowledge of vendors.
#[async_trait]
pub trait Prover: Send + Sync {
    /// Looks for sums and signatures of the file under a URL. `None` if there are none. `held` is what was known of it before.
    ///
    /// # Errors
    /// `Upstream` when the documents can't be had; anything else when they are not to be trusted.
    async fn prove(
        &self,
        url: &str,
        documents: &dyn Documents,
        held: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<Option<Expectation>>;

    /// Looks for a signature over the file under a URL itself, and verifies it. `None` if its vendor makes none.
    ///
    /// # Errors
    /// As [`Prover::prove`].
    async fn prove_file(
        &self,
        url: &str,
        file: &Path,
        documents: &dyn Documents,
        held: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<Option<Evidence>>;

    /// URL of the build that a moving name stands for, by its vendor's list; `None` where no vendor says it. `held` is what is known of the
    /// build that it stood for before.
    ///
    /// # Errors
    /// As [`Prover::prove`].
    async fn dated(
        &self,
        url: &str,
        documents: &dyn Documents,
        held: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<Option<String>>;

    /// Digests of other files that a document names, by their URLs. The document came from a place that may be another one than was asked.
    fn learn(&self, url: &str, came_from: &str, bytes: &[u8]) -> Vec<(String, Expectation)>;

    /// Level that the vendor of a URL lets demand; `None` for a URL of no vendor.
    fn require(&self, url: &str) -> Option<Level>;
}
