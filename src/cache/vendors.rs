//! Knowledge of vendors, for the cache: the rules of the catalogue for the URLs of vendors, and what stands beside all other files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::proof::Prover;
use crate::error::{Error, Result};
use crate::image::Timestamp;
use crate::vendor::{Catalogue, Documents, Evidence, Expectation, Level, VendorRules, dated, learn, proof};

/// Knowledge of vendors.
pub struct Vendors {
    catalogue: Arc<Catalogue>,
}

impl Vendors {
    /// Knowledge of a catalogue.
    pub fn new(catalogue: &Arc<Catalogue>) -> Self {
        Self { catalogue: Arc::clone(catalogue) }
    }

    fn rules(&self, url: &str) -> Option<VendorRules> {
        self.catalogue.of_url(url).map(|vendor| vendor.rules_for(url))
    }
}

#[async_trait]
impl Prover for Vendors {
    async fn prove(
        &self,
        url: &str,
        documents: &dyn Documents,
        held: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<Option<Expectation>> {
        proof::prove(url, self.rules(url).as_ref(), self.catalogue.keyring(), documents, held, now).await
    }

    async fn prove_file(
        &self,
        url: &str,
        file: &Path,
        documents: &dyn Documents,
        held: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<Option<Evidence>> {
        let Some(rules) = self.rules(url).filter(VendorRules::signs_files) else { return Ok(None) };
        let Some(signature) = proof::file_signature(url, &rules, documents, held).await? else { return Ok(None) };
        let (catalogue, path, held) = (Arc::clone(&self.catalogue), file.to_owned(), held.cloned());
        let verified = spawn_blocking(move || {
            let mut file = File::open(path).map_err(Error::internal)?;
            proof::verify_file_signature(&signature, &mut file, &rules, catalogue.keyring(), held.as_ref(), now)
        });
        verified.await.map_err(Error::internal)?.map(Some)
    }

    async fn dated(
        &self,
        url: &str,
        documents: &dyn Documents,
        held: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<Option<String>> {
        dated(&self.catalogue, url, documents, held, now).await
    }

    fn learn(&self, url: &str, came_from: &str, bytes: &[u8]) -> Vec<(String, Expectation)> {
        // What a vendor signs is proved by its signatures: a list without one must not go round them.
        let signs = self.catalogue.of_url(url).is_some_and(|vendor| !vendor.rules.keys.is_empty());
        if signs { Vec::new() } else { learn(url, came_from, bytes) }
    }

    fn require(&self, url: &str) -> Option<Level> {
        self.catalogue.of_url(url).map(|vendor| vendor.rules.require)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_vendors_that_sign_teach_nothing_by_themselves() {
        let vendors = Vendors::new(&Arc::new(Catalogue::shipped()));
        let list = format!("{}  disk.qcow2\n", "a".repeat(64));
        let learn = |folder: &str| {
            let url = format!("https://{folder}/SHA256SUMS");
            vendors.learn(&url, &url, list.as_bytes()).len()
        };
        assert_eq!(learn("cloud-images.ubuntu.com/releases/noble/release"), 0);
        assert_eq!(
            learn("dl.rockylinux.org/pub/rocky/10.1/images/x86_64"),
            0,
            "signatures count where none is demanded"
        );
        assert_eq!(learn("images.linuxcontainers.org/images/debian"), 1);
        assert_eq!(learn("lab.example/images"), 1);
    }
}
