//! Changes of the cache's files, called by their URLs or by the names of the images that were made of them.

use crate::cache::Key;
use crate::error::{Kind, Reason, Result, did_you_mean};
use crate::image::{Image, ImagePatch};
use crate::registry::policy::{Action, On};
use crate::registry::pulls::ask::PullAsk;
use crate::registry::pulls::find::{Place, is_url};
use crate::registry::pulls::provenance::{Provenance, is_superseded};
use crate::registry::pulls::service::Pulls;
use crate::registry::{Caller, this_machine};
use crate::vendor::Name;

/// A change of a file of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheChange {
    /// Its server is asked, and it is fetched again if it is not current.
    Refresh,
    /// It is removed.
    Drop,
    /// It is never removed for room.
    Pin,
    /// It is removed for room when its turn comes.
    Unpin,
}

impl CacheChange {
    /// True and false for a pin that is set and taken away.
    fn pins(self) -> Option<bool> {
        match self {
            Self::Pin => Some(true),
            Self::Unpin => Some(false),
            Self::Refresh | Self::Drop => None,
        }
    }
}

/// Checks the form of a name or a URL that is to be pulled. Asks nothing.
///
/// # Errors
/// `Invalid`, with the form in the words.
pub fn check_pullable(name: &str) -> Result<()> {
    Place::of(&PullAsk::of(name)).map(drop)
}

/// Checks the form of a name or a URL of a file of the cache. Asks nothing.
///
/// # Errors
/// `Invalid`, with the form in the words.
pub fn check_cached(file: &str) -> Result<()> {
    match is_url(file) {
        true => Key::parse(file).map(drop),
        // Of a file under a URL, the image is called after the file.
        false if !file.is_empty() && !file.contains('/') => Ok(()),
        false => file.parse::<Name>().map(drop),
    }
}

impl Pulls {
    /// Changes a file of the cache: under a URL, or the one that a pulled image of this name was made of. A pin is one of the image, too.
    ///
    /// # Errors
    /// As [`Caller::may`]; `Invalid` name or URL; `NotFound` for what is not here; as [`crate::cache::Cache::refresh`].
    pub async fn change_cached(&self, who: &Caller, file: &str, change: CacheChange) -> Result<()> {
        who.may(Action::ManageCache, On::Server)?;
        check_cached(file)?;
        if is_url(file) {
            return self.change_file(&Key::parse(file)?, change).await;
        }
        let (image, origin) = self.pulled_as(who, file).await?;
        let Some(pins) = change.pins() else {
            if origin.had_query {
                let words =
                    format!("The query of the URL of {file}, which may hold a secret, was not kept: give the URL.");
                return Err(Reason::UrlNotFound.saying(words));
            }
            return self.change_file(&Key::parse(&origin.origin)?, change).await;
        };
        if origin.is_pinned != pins {
            let marked = Provenance { is_pinned: pins, ..origin.clone() };
            let make = |_: &Image| Ok(ImagePatch { own_properties: marked.properties(), ..ImagePatch::default() });
            self.records.edit(who, image.id, make).await?;
        }
        match self.change_file(&Key::parse(&origin.origin)?, change).await {
            // The image stays without it, or goes.
            Err(error) if error.reason() == Reason::UrlNotFound => Ok(()),
            changed => changed,
        }
    }

    /// Pulled image of a name with a digest; `None` for a name without one, and for an image that is not here.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub async fn of_digest(&self, who: &Caller, name: &str) -> Result<Option<Image>> {
        if !name.parse::<Name>().is_ok_and(|name| name.sum.is_some()) {
            return Ok(None);
        }
        match self.pulled_as(who, name).await {
            Ok((image, _)) => Ok(Some(image)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn change_file(&self, key: &Key, change: CacheChange) -> Result<()> {
        let cache = &self.cache;
        let absent = || Reason::UrlNotFound.saying(format!("{} is not in the cache.", key.shown()));
        let changed = match change {
            CacheChange::Refresh => cache.refresh(key).await.map(drop),
            CacheChange::Pin => cache.pin(key, true).await,
            CacheChange::Unpin => cache.pin(key, false).await,
            CacheChange::Drop => cache.drop_entry(key).await?.then_some(()).ok_or_else(absent),
        };
        // No server would be asked for it in any case.
        changed.map_err(|error| if error.reason() == Reason::NotCached { absent() } else { error })
    }

    /// Pulled image that a name means: the caller's before that of another, the current one before an older one, and this machine's
    /// before one of another processor.
    async fn pulled_as(&self, who: &Caller, name: &str) -> Result<(Image, Provenance)> {
        let parsed = name.parse::<Name>().ok();
        let sum = parsed.as_ref().and_then(|name| name.sum.clone());
        let wanted = parsed.map_or_else(|| name.to_owned(), |name| Name { sum: None, ..name }.to_string());
        let is_it = |image: &Image, origin: &Provenance| {
            // A digest tells an older build from the current one.
            let is_current = sum.is_some() || !is_superseded(image);
            let names = [Some(&origin.name), Some(&origin.alias).filter(|_| is_current), image.name.as_ref()];
            let is_called = names.into_iter().flatten().chain(image.aliases.keys()).any(|name| *name == wanted);
            is_called && sum.as_ref().is_none_or(|sum| origin.published(image).is_some_and(|(has, _)| has == *sum))
        };
        let pulled = self.pulled(who, true).await?.into_iter();
        let pulled: Vec<_> = pulled.filter_map(|image| Some((Provenance::of(&image)?, image))).collect();
        let near = did_you_mean(&wanted, pulled.iter().map(|(origin, _)| origin.alias.clone()));
        let mut found: Vec<_> = pulled.into_iter().filter(|(origin, image)| is_it(image, origin)).collect();
        found.sort_by_key(|(_, image)| {
            let is_others = image.owner.as_deref() != who.account();
            (is_others, is_superseded(image), image.architecture != this_machine())
        });
        let found = found.into_iter().next().map(|(origin, image)| (image, origin));
        found.ok_or_else(|| Reason::UrlNotFound.saying(format!("No image that was pulled is called {wanted}{near}.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_checked_before_anything_is_asked() {
        for good in ["debian/13", "https://h.example/a.qcow2", "debian/13:1+x"] {
            assert!(check_pullable(good).is_ok() && check_cached(good).is_ok(), "{good}");
        }
        // The image of a file under a URL.
        assert!(check_cached("disk").is_ok());
        for bad in
            ["debian", "debian/", "debian/13:", "DEBIAN/13", "", "ftp://h.example/a", "http://", "https://h.example/"]
        {
            assert!(check_pullable(bad).is_err(), "{bad}");
        }
        for bad in ["", "debian/", "ftp://h.example/a", "http://"] {
            assert!(check_cached(bad).is_err(), "{bad}");
        }
    }
}
