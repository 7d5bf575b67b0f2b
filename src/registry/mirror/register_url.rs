//! Digests of bytes that stay under a URL. They are read once: before the image is available, when the request announced a
//! digest, and in the background otherwise. Knows no protocol of our clients.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use tokio::time::timeout;

use super::source::{Source, inspect, without_query};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::query::Filter;
use crate::image::{Attr, Image, ImageId, Location, Part, Status, StoreName};
use crate::ingest::hash_pool::{HashState, HashStream};
use crate::ingest::intake::Ingest;
use crate::ingest::{ByteSink, Expected, pump};
use crate::jobs::{Handle, JobKind};
use crate::registry::Caller;
use crate::registry::core::Core;
use crate::registry::download::Downloads;
use crate::registry::gate::{WayIn, admit};
use crate::registry::imports::ImportWish;
use crate::registry::maintenance::Maintenance;
use crate::registry::mirror::service::Mirror;
use crate::registry::policy::Action;
use crate::registry::records::{attach, other_source, takes_location};
use crate::registry::retries::FetchReport;

/// URLs that are read for their digests at the same time, of as many owners.
const TOGETHER: usize = 4;

/// Longest reading of one URL, and the time after which no other one of its owner is begun in this run.
const READING_MAX: Duration = Duration::from_secs(3600);

impl Mirror {
    /// Registers a URL whose bytes must have these digests. They are read as a job: the image waits meanwhile, and stays as it is
    /// when they differ.
    ///
    /// # Errors
    /// `NotFound` image, or nothing under the URL; `Forbidden`; `Invalid` URL; `Conflict` when the image takes no bytes; `Busy`.
    pub async fn register_verified(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        url: &str,
        claim: Expected,
        wish: ImportWish,
    ) -> Result<()> {
        let image = self.records.get(who, id).await?;
        who.may(Action::ImportFromUrl, &image)?;
        takes_location(&image)?;
        if image.store.as_ref().is_some_and(|store| *store != StoreName::HTTP) {
            return Err(Reason::WrongStore.into());
        }
        let url = self.core.fetcher.canonical(url).map_err(|error| error.of_file(url))?;
        let part = inspect(&self.core, &self.ingest, Source::Http(url.clone()), image.declared()).await?;
        let claim = claim.and_size(part.size).map_err(other_source)?;
        let begun = self.imports.begin(who, id, JobKind::RegisterUrl, Some(without_query(&url).to_owned()), &wish)?;
        let mirror = Arc::clone(self);
        begun.run(|handle| async move { mirror.verify_and_attach(image, part, claim, &handle).await });
        Ok(())
    }

    async fn verify_and_attach(&self, image: Image, part: Part, claim: Expected, handle: &Handle) -> Result<()> {
        let reading = Reading { core: &self.core, ingest: &self.ingest, downloads: &self.downloads, handle };
        let part = reading.digested(&image, &part, &claim).await?;
        let (now, said) = (self.core.now(), image.declared());
        let put = move |row: &Image| {
            takes_location(row)?;
            if row.declared() != said {
                return Err(Reason::ChangedMeanwhile.about(row.id));
            }
            let mut row = row.clone();
            attach(&mut row, part.clone());
            row.updated_at = Some(now);
            Ok(Some(row))
        };
        self.core.catalog.amend(image.id, put).await.map(drop)
    }
}

impl Maintenance {
    /// Computes the digests of images under URLs that have none. Each URL is tried once in a run of the server, and those of one
    /// owner one after the other: servers that never end take no time but that of their images' owner.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(in crate::registry) async fn digest_urls(&self, handle: Handle) -> Result<()> {
        let lacking = Filter::Within(Attr::Sha256, Bound::Unbounded, Bound::Unbounded).negated();
        let filter = Filter::spelled(Attr::Store, StoreName::HTTP.as_str())
            .and(Filter::spelled(Attr::Status, Status::Available.word()))
            .and(lacking);
        let (mut pages, mut owners) = (self.core.pages(filter), HashMap::<_, Vec<_>>::new());
        while let Some(images) = pages.next().await? {
            images.into_iter().for_each(|image| owners.entry(image.owner).or_default().push(image.id));
        }
        let listed: HashSet<_> = owners.values().flatten().copied().collect();
        let done = AtomicU64::new(0);
        let each = stream::iter(owners.into_values()).for_each_concurrent(TOGETHER, |ids| {
            let (handle, done, began) = (&handle, &done, Instant::now());
            async move {
                for id in ids {
                    if began.elapsed() > READING_MAX {
                        self.core.unhashed.put_off();
                        return;
                    }
                    let digested = timeout(READING_MAX, self.digest_url(id, handle)).await;
                    let late = || Reason::Upstream.saying("reading the bytes under its URL took longer than an hour");
                    if let Err(error) = digested.unwrap_or_else(|_| Err(late()))
                        // Removed meanwhile.
                        && error.kind() != Kind::NotFound
                    {
                        log::warn!("image {id} stays without digests: {}", error.logged());
                    }
                    handle.steps(done.fetch_add(1, Ordering::Relaxed) + 1, None);
                }
            }
        });
        each.await;
        if handle.is_stopped() {
            return Err(Handle::stop_error());
        }
        self.core.unhashed.keep(&listed);
        Ok(())
    }

    async fn digest_url(&self, id: ImageId, handle: &Handle) -> Result<()> {
        let image = self.core.catalog.get(id).await?;
        let Some(part) = image.under_url().filter(|part| part.digests.sha256.is_none()) else { return Ok(()) };
        let Location::Http { url } = &part.location else { return Ok(()) };
        if handle.is_stopped() || !self.core.unhashed.is_new(id, url) {
            return Ok(());
        }
        let reading = Reading { core: &self.core, ingest: &self.ingest, downloads: &self.downloads, handle };
        let digested = reading.digested(&image, part, &Expected::default()).await.inspect_err(|error| {
            if error.kind() == Kind::Busy || handle.is_stopped() {
                self.core.unhashed.forget(id);
                self.core.unhashed.put_off();
            }
        })?;
        let before = part.clone();
        let put = move |row: &Image| {
            let mut row = row.clone();
            row.parts.iter_mut().filter(|part| **part == before).for_each(|part| *part = digested.clone());
            Ok(Some(row))
        };
        self.core.catalog.amend(id, put).await?;
        self.core.unhashed.forget(id);
        Ok(())
    }
}

/// Bytes under a URL, read for their digests.
struct Reading<'a> {
    core: &'a Core,
    ingest: &'a Arc<Ingest>,
    downloads: &'a Downloads,
    handle: &'a Handle,
}

impl Reading<'_> {
    /// Reads the bytes of a part under a URL, compares them with the claim and with the image's format, and returns the part
    /// with what is known of them then.
    async fn digested(&self, image: &Image, part: &Part, claim: &Expected) -> Result<Part> {
        let Location::Http { url } = &part.location else { return Ok(part.clone()) };
        let _slot = self.ingest.slot()?;
        let report = FetchReport::to(self.handle);
        let body = self.downloads.all_under_url(image, part, url, &report).await?;
        let etag = part.etag.clone().or(body.etag);
        let mut pieces = self.handle.watch(body.stream.map_err(Error::from), 0, body.length.or(part.size));
        let lanes = self.ingest.hash_pool.resume(self.ingest.hash_pool.begin_for(&claim.digests))?;
        let mut sink = Digester { lanes, size: 0, most: self.ingest.limits.bytes_max };
        let mut rate = self.ingest.rate_guard().excusing(&report.pauses);
        pump(None, &mut pieces, &mut rate, |error| error, &mut sink).await?;
        let (size, state) = sink.finish().await?;
        let (digests, inspection) = state.finish();
        claim.check(Some(size), &digests).map_err(other_source)?;
        let admitted = admit(WayIn::Url, &inspection, image.declared(), &self.core.limits.inspect)?;
        Ok(Part { size: Some(size), virtual_size: admitted.virtual_size(), digests, etag, ..part.clone() })
    }
}

/// A destination of bytes that keeps their digests alone.
struct Digester {
    lanes: HashStream,
    size: u64,
    most: u64,
}

impl Digester {
    async fn finish(self) -> Result<(u64, HashState)> {
        Ok((self.size, self.lanes.pause().await?))
    }
}

impl ByteSink for Digester {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.size += chunk.len() as u64;
        if self.size > self.most {
            return Err(Reason::FileTooLarge.about(self.most));
        }
        self.lanes.update(&chunk).await
    }

    async fn abandon(&mut self) -> Result<()> {
        Ok(())
    }
}
