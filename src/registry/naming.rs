//! Names: the one rule by which a name finds one image, in every protocol (`docs/names.md`).
//!
//! A name never hides an image: where several have it, the order below chooses, and a request that states an
//! architecture or a kind reaches the others. Knows no protocol.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::circle::{Circle, within};
use super::core::Core;
use super::lxd::service::LxdImages;
use super::pages::Pages;
use super::{Caller, Registry};
use crate::error::Result;
use crate::image::query::{AliasScope, Direction, Filter, Query, Sort};
use crate::image::{Architecture, Attr, Image, ImageId, Timestamp, Value};
use crate::upstream::this_machine;

/// Records of one name that are read together.
const PAGE: usize = 64;

/// A request for the image that a name stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NameRequest {
    /// The name.
    pub name: String,
    /// The only architecture that fits.
    pub architecture: Option<Architecture>,
    /// The only kind that fits: an image of a container, or of a machine.
    pub is_container: Option<bool>,
}

impl From<&str> for NameRequest {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl NameRequest {
    /// Tells if an image is of the requested architecture and kind.
    fn fits(&self, image: &Image) -> bool {
        self.architecture.is_none_or(|wanted| image.architecture == Some(wanted))
            && self.is_container.is_none_or(|wanted| image.is_container() == wanted)
    }

    /// This request with the architecture that the end of its name spells, or as it is.
    pub(in crate::registry) fn narrowed(&self) -> Self {
        self.with_architecture().unwrap_or_else(|| self.clone())
    }

    /// The request that `NAME/ARCHITECTURE` spells, as simplestreams' clients spell it.
    fn with_architecture(&self) -> Option<Self> {
        let (name, word) = self.name.rsplit_once('/').filter(|(name, _)| !name.is_empty())?;
        let architecture = Architecture::parse(word).filter(|_| self.architecture.is_none())?;
        Some(Self { name: name.to_owned(), architecture: Some(architecture), ..self.clone() })
    }
}

/// The names by which images can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum NameSet {
    /// Aliases and names of all images.
    All,
    /// Aliases of the images that LXD and Incus may know of, see [`aliases_of`].
    Offered,
    /// As [`NameSet::Offered`], and those of images that are withheld at the moment.
    Held,
}

impl NameSet {
    fn filter(self) -> Filter {
        match self {
            Self::All | Self::Held => Filter::everything(),
            Self::Offered => LxdImages::all(),
        }
    }

    /// Tells if an image's own name finds it, besides its aliases.
    fn has_name_of(self, image: &Image) -> bool {
        self == Self::All || is_named_offer(image)
    }
}

/// Tells if the name of an image is an alias too: a disk from another protocol has no alias that was given to it there.
fn is_named_offer(image: &Image) -> bool {
    image.name_is_alias && image.lxd_identity.is_some_and(|offer| offer.made)
}

/// Aliases of an image with their descriptions: those that it was given, and the name of an offered disk.
pub fn aliases_of(image: &Image) -> BTreeMap<&str, &str> {
    let name = image.name.as_deref().filter(|name| !name.is_empty() && is_named_offer(image));
    let given = image.aliases.iter().map(|(name, description)| (name.as_str(), description.as_str()));
    name.map(|name| (name, "")).into_iter().chain(given).collect()
}

/// Order of images that one name of one owner, architecture and kind could stand for: a given alias comes before a name,
/// then the newest image. The least one is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    only_by_name: bool,
    newest: Reverse<(Timestamp, ImageId)>,
}

impl Precedence {
    /// Place of an image under a name that it has.
    pub fn of(image: &Image, name: &str) -> Self {
        Self { only_by_name: !image.aliases.contains_key(name), newest: Reverse((image.created_at, image.id)) }
    }
}

/// Place of an image among all that a name could stand for. The least one is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    circle: Circle,
    only_by_name: bool,
    without_bytes: bool,
    architecture: u8,
    machine: bool,
    newest: Reverse<(Timestamp, ImageId)>,
}

impl Place {
    /// Place of an image that has the requested name; none when it is not meant at all.
    fn of(image: &Image, who: &Caller, asked: &NameRequest, host: Option<Architecture>) -> Option<Self> {
        if !asked.fits(image) {
            return None;
        }
        let Precedence { only_by_name, newest } = Precedence::of(image, &asked.name);
        Some(Self {
            circle: who.circle_of(image)?,
            only_by_name,
            without_bytes: !image.status.gives_bytes(),
            architecture: Architecture::distance(host, image.architecture),
            machine: !image.is_container(),
            newest,
        })
    }

    /// Tells if only a newer image could come before this one in its circle.
    fn is_best(&self) -> bool {
        (self.without_bytes, self.architecture, self.machine) == (false, 0, false)
    }
}

/// Finds the image that a name stands for.
pub(in crate::registry) async fn find(
    core: &Core,
    who: &Caller,
    set: NameSet,
    asked: &NameRequest,
) -> Result<Option<Image>> {
    let narrower = asked.with_architecture();
    for circle in Circle::ALL {
        for asked in [Some(asked), narrower.as_ref()].into_iter().flatten() {
            let found = first(core, who, set, asked, circle).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// Finds the first image of a circle. Images are read newest first, in pages, and one is kept.
async fn first(core: &Core, who: &Caller, set: NameSet, asked: &NameRequest, circle: Circle) -> Result<Option<Image>> {
    let host = this_machine();
    let mut best: Option<(Place, Image)> = None;
    for by_alias in [true, false] {
        for (scope, filter) in who.stretches(circle) {
            let named = if by_alias { by_alias_in(&asked.name, scope) } else { by_name_in(&asked.name, scope) };
            let sort = Sort::by(Attr::CreatedAt, Direction::Descending);
            let query = Query { filter: named.and(filter).and(set.filter()), sort, limit: PAGE, after: None };
            let mut pages = Pages::new(&core.catalog, query, usize::MAX);
            'pages: while let Some(images) = pages.next().await? {
                for image in images {
                    let place = Place::of(&image, who, asked, host).filter(|place| place.circle == circle);
                    let Some(place) = place.filter(|_| by_alias || set.has_name_of(&image)) else { continue };
                    if best.as_ref().is_none_or(|(best, _)| place < *best) {
                        best = Some((place, image));
                    }
                    // The others of this stretch are older.
                    if place.is_best() {
                        break 'pages;
                    }
                }
            }
        }
        if best.is_some() {
            break;
        }
    }
    Ok(best.map(|(_, image)| image))
}

fn by_alias_in(name: &str, scope: AliasScope) -> Filter {
    Filter::Alias(name.to_owned(), scope)
}

fn by_name_in(name: &str, scope: AliasScope) -> Filter {
    Filter::Equals(Attr::Name, Value::Text(name.to_owned().into())).and(within(scope))
}

impl Registry {
    /// Finds the image that a name stands for: an alias of an image, or its name.
    ///
    /// # Errors
    /// `Internal` only.
    pub async fn named(&self, who: &Caller, asked: &NameRequest) -> Result<Option<Image>> {
        find(&self.core, who, NameSet::All, asked).await
    }
}

#[cfg(test)]
mod tests;
