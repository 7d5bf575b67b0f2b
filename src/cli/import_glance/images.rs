//! Images, one after another: what is here with equal bytes is passed over, and bytes come last, so that an image which has
//! them here is complete.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::bytes::{ALGORITHMS, Announced, digest_of, hex_of, verified};
use super::plan::{draft, in_order, obstacle, text};
use super::{Outcome, Summary};
use crate::cli::failure::Failure;
use crate::cli::progress::Bar;
use crate::client::ClientError;
use crate::client::openstack::{ImageService, Verb, segment};
use crate::digest::{Algorithm, Hasher};

/// Tries of one image while connections break.
const TRIES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Lists in which an administrator finds every image: Glance leaves hidden ones and community ones of others out of the first.
const LISTS: [&str; 4] = ["", "&visibility=community", "&os_hidden=true", "&os_hidden=true&visibility=community"];

/// An import of images.
pub(super) struct ImageImport {
    pub(super) from: ImageService,
    pub(super) to: ImageService,
    /// Owners there with the owners here.
    pub(super) owners: BTreeMap<String, String>,
    pub(super) dry_run: bool,
}

impl ImageImport {
    /// Imports these images, or all.
    ///
    /// # Errors
    /// A list that can't be read; everything else is noted in the summary.
    pub(super) async fn all(&self, ids: &[String], summary: &mut Summary) -> Result<(), Failure> {
        let mut records = Vec::new();
        if ids.is_empty() {
            for list in LISTS {
                records.extend(self.from.list(&format!("/v2/images?limit=200{list}"), "images").await?);
            }
        }
        for id in ids {
            match self.from.get(&image(id)?).await? {
                Some(record) => records.push(record),
                None => {
                    summary.add("image", id, "", &Outcome::Failed(format!("{} has no such image", self.from.url())))?
                }
            }
        }
        for record in in_order(records) {
            let outcome = self.with_patience(&record).await;
            summary.add("image", text(&record, "id"), text(&record, "name"), &outcome)?;
        }
        Ok(())
    }

    /// Imports an image, again if the connection breaks.
    async fn with_patience(&self, record: &Value) -> Outcome {
        let mut tries = 1;
        loop {
            match self.one(record).await {
                Ok(outcome) => return outcome,
                Err(ClientError::Interrupted(_) | ClientError::Unreachable(_)) if tries < TRIES_MAX => {
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                Err(error) => return Outcome::Failed(error.to_string()),
            }
        }
    }

    async fn one(&self, record: &Value) -> Result<Outcome, ClientError> {
        if let Some(why) = obstacle(record) {
            return Ok(Outcome::Skipped(why));
        }
        let Some(announced) = Announced::of(record) else {
            return Ok(Outcome::Failed("its size is not known there, so its bytes can't be verified".into()));
        };
        let path = image(text(record, "id"))?;
        let here = self.to.get(&path).await?;
        let status = here.as_ref().map(|here| text(here, "status").to_owned());
        match status.as_deref() {
            Some("active" | "deactivated") => {
                let here = here.unwrap_or_default();
                return match self.has_equal_bytes(record, announced.size, &here).await? {
                    true => self.withhold(record, &here, &path).await.map(|()| Outcome::Present),
                    false => Ok(Outcome::Failed("an image with this id is here, with other bytes".into())),
                };
            }
            _ if self.dry_run => return Ok(Outcome::Planned),
            Some("queued") => {}
            // The server ends an upload of an interrupted run in a moment.
            Some(status @ ("saving" | "uploading" | "importing")) => {
                return Err(ClientError::Interrupted(format!("an upload of this image is in progress here: {status}")));
            }
            Some(status) => {
                return Ok(Outcome::Failed(format!("an image with this id is here, and its status is {status}")));
            }
            None => {
                self.to.send(Verb::Post, "/v2/images", "application/json", &draft(record, &self.owners)).await?;
            }
        }
        self.members(record, &path).await?;
        let size = announced.size;
        self.bytes(announced, &path).await?;
        let here = self.to.get(&path).await?.unwrap_or_default();
        if !self.has_equal_bytes(record, size, &here).await? {
            return Ok(Outcome::Failed("its bytes here are not equal".into()));
        }
        self.withhold(record, &here, &path).await?;
        Ok(Outcome::Imported)
    }

    /// Brings the members of a shared image. Those that are there already are no failure.
    async fn members(&self, record: &Value, path: &str) -> Result<(), ClientError> {
        if text(record, "visibility") != "shared" {
            return Ok(());
        }
        for member in self.from.list(&format!("{path}/members"), "members").await? {
            let there = text(&member, "member_id");
            let account = self.owners.get(there).map_or(there, String::as_str);
            let body = json!({ "member": account });
            match self.to.send(Verb::Post, &format!("{path}/members"), "application/json", &body).await {
                Ok(()) | Err(ClientError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
            let status = text(&member, "status");
            if matches!(status, "accepted" | "rejected") {
                let path = format!("{path}/members/{}", segment(account)?);
                self.to.send(Verb::Put, &path, "application/json", &json!({ "status": status })).await?;
            }
        }
        Ok(())
    }

    async fn bytes(&self, announced: Announced, path: &str) -> Result<(), ClientError> {
        let (size, bar) = (announced.size, Bar::new());
        bar.length(Some(size));
        let path = format!("{path}/file");
        let from = match size {
            // Glance has no file of such an image, as of a snapshot that consists of volumes.
            0 => futures_util::stream::empty().boxed(),
            _ => self.from.download(&path).await?,
        };
        let sent = self.to.upload(&path, size, verified(from, announced, bar.progress())).await;
        bar.done();
        sent
    }

    /// Withholds an image here that is withheld there.
    async fn withhold(&self, record: &Value, here: &Value, path: &str) -> Result<(), ClientError> {
        if self.dry_run || text(record, "status") != "deactivated" || text(here, "status") == "deactivated" {
            return Ok(());
        }
        self.to.send(Verb::Post, &format!("{path}/actions/deactivate"), "application/json", &Value::Null).await
    }

    /// Tells if the bytes here are those there: by a digest that both know, or else by reading them there.
    async fn has_equal_bytes(&self, there: &Value, size: u64, here: &Value) -> Result<bool, ClientError> {
        if here.get("size").and_then(Value::as_u64) != Some(size) {
            return Ok(false);
        }
        let both =
            ALGORITHMS.into_iter().find_map(|algorithm| digest_of(there, algorithm).zip(digest_of(here, algorithm)));
        if let Some((there, here)) = both {
            return Ok(there.eq_ignore_ascii_case(here));
        }
        let known = ALGORITHMS.into_iter().find_map(|algorithm| Some((algorithm, digest_of(here, algorithm)?)));
        match known {
            _ if size == 0 => Ok(true),
            Some((algorithm, digest)) => self.reads_as(text(there, "id"), algorithm, digest).await,
            None => Ok(false),
        }
    }

    async fn reads_as(&self, id: &str, algorithm: Algorithm, digest: &str) -> Result<bool, ClientError> {
        let mut bytes = self.from.download(&format!("{}/file", image(id)?)).await?;
        let mut hasher = Hasher::new(algorithm);
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|error| ClientError::Interrupted(format!("the download broke off: {error}")))?;
            hasher.update(&piece);
        }
        Ok(hex_of(&hasher.finish()).is_some_and(|found| found.eq_ignore_ascii_case(digest)))
    }
}

fn image(id: &str) -> Result<String, ClientError> {
    segment(id).map(|id| format!("/v2/images/{id}"))
}
