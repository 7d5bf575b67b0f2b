//! Lookup of images by LXD's and Incus' names: fingerprints and aliases. Knows no protocol.

use std::ops::Bound;

use crate::digest::{from_hex, hex};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::query::{Direction, Filter, Query, Sort};
use crate::image::{Attr, Image, Status, Value};
use crate::registry::core::Core;
use crate::registry::lxd::aliases::unknown;
use crate::registry::lxd::service::LxdImages;
use crate::registry::naming::{NameRequest, NameSet, find};
use crate::registry::{Caller, ListScope};

/// Parses a full fingerprint, in the lower case that is written everywhere.
pub fn fingerprint_of(text: &str) -> Option<[u8; 32]> {
    from_hex(text).filter(|_| is_prefix(text))
}

fn is_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// One text for an image that does not exist and for one that is hidden from the caller.
fn no_image(name: &str) -> Error {
    Reason::ImageNotFound.about(name.escape_default())
}

impl LxdImages {
    /// Filter of all images that LXD and Incus may know of: those with bytes and a fingerprint.
    pub fn all() -> Filter {
        let named = Filter::Within(Attr::Fingerprint, Bound::Unbounded, Bound::Unbounded);
        named.and(Filter::spelled(Attr::Status, Status::Available.word()))
    }

    /// Filter of the images that LXD's lists show.
    pub fn listed() -> Filter {
        Self::all().and(Filter::Equals(Attr::Hidden, Value::Flag(false)))
    }

    /// Finds the image whose fingerprint begins with `prefix`. Among several of one fingerprint the caller's own wins,
    /// or else the oldest.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when several fingerprints match.
    pub async fn by_fingerprint(&self, who: &Caller, prefix: &str) -> Result<Image> {
        // Only hexadecimal digits begin a fingerprint: `%` is no pattern here.
        if !is_prefix(prefix) {
            return Err(no_image(prefix));
        }
        let text = |text: &str| Value::Text(text.to_owned().into());
        let (low, high) = (Bound::Included(text(prefix)), Bound::Excluded(text(&format!("{prefix}g"))));
        let first = |low: &Bound<Value<'static>>, high: &Bound<Value<'static>>, by: Attr| {
            let within = Filter::Within(Attr::Fingerprint, low.clone(), high.clone());
            let filter = within.and(Self::all()).and(who.listed(ListScope { community: true, member_status: None }));
            let sort = Sort::by(by, Direction::Ascending);
            let query = Query { filter, sort, limit: 1, after: None };
            async move { Ok::<_, Error>(self.core.catalog.list(&query).await?.images.pop()) }
        };
        let oldest = first(&low, &high, Attr::CreatedAt).await?.ok_or_else(|| no_image(prefix))?;
        let fingerprint = oldest.fingerprint().ok_or_else(|| no_image(prefix))?;
        if prefix.len() < 64 {
            // Another fingerprint lies beside this one, however many images have this one.
            let found = text(&hex(&fingerprint));
            let below = first(&low, &Bound::Excluded(found.clone()), Attr::Fingerprint).await?;
            let above = first(&Bound::Excluded(found), &high, Attr::Fingerprint).await?;
            if below.is_some() || above.is_some() {
                return Err(Reason::AmbiguousName.into());
            }
        }
        if oldest.owner.as_deref() == who.account() {
            return Ok(oldest);
        }
        // Images without an owner do not belong to callers without an account.
        let own = own_with(&self.core, who, &fingerprint).await?.filter(|image| who.sees(image));
        Ok(own.unwrap_or(oldest))
    }

    /// Finds the image that an alias stands for.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn by_alias(&self, who: &Caller, asked: &NameRequest) -> Result<Image> {
        find(&self.core, who, NameSet::Offered, asked).await?.ok_or_else(unknown)
    }

    /// Finds an image by alias or fingerprint: clients put an alias where a fingerprint belongs.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when several images match.
    pub async fn by_name(&self, who: &Caller, name: &str) -> Result<Image> {
        match self.by_alias(who, &name.into()).await {
            Err(error) if error.kind() == Kind::NotFound => self.by_fingerprint(who, name).await,
            found => found,
        }
    }

    /// Finds the published image with this fingerprint, including one removed recently.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn published(&self, fingerprint: &[u8; 32]) -> Result<Image> {
        self.removal.published(fingerprint).await?.ok_or_else(|| no_image(&hex(fingerprint)))
    }
}

/// Finds the caller's own image with a fingerprint. Several accounts may have one each: the bytes are stored once.
pub(in crate::registry) async fn own_with(core: &Core, who: &Caller, fingerprint: &[u8; 32]) -> Result<Option<Image>> {
    let named = Filter::Equals(Attr::Fingerprint, Value::Text(hex(fingerprint).into()));
    let owned = match who.account() {
        Some(account) => Filter::Equals(Attr::Owner, Value::Text(account.to_owned().into())),
        None => Filter::Within(Attr::Owner, Bound::Unbounded, Bound::Unbounded).negated(),
    };
    let filter = named.and(owned).and(LxdImages::all());
    let query = Query { filter, sort: Sort::default(), limit: 1, after: None };
    Ok(core.catalog.list(&query).await?.images.pop())
}
