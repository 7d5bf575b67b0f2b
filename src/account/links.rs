//! Share links: signed addresses, each of which opens one image to its holder until it expires or is revoked.
//!
//! Links are in a file of their own (`keys/links.json`) with the key that signs them. A signature covers method, path and
//! expiry, so no link opens another image or lasts longer. Knows no protocol and no rights.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::Secret;
use super::file::Shared;
use super::secret::random_hex;
use crate::error::{Error, Reason, Result};
use crate::image::{ImageId, Timestamp};

/// Longest life of a link: a year and a day.
pub const LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Links of one image at the same time.
const IMAGE_LINKS_MAX: usize = 100;

/// Links of all images at the same time: the file is some 3 MB then.
const LINKS_MAX: usize = 10_000;

/// Random bytes of a link's id.
const ID_BYTES: usize = 8;

/// A share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Id of the image that it opens.
    image: String,
    /// Id of the account that made it, whose rights it has; none if the server had no accounts.
    pub account: Option<Uuid>,
    /// Time at which it was made.
    #[serde(with = "super::micros", rename = "created_at_us")]
    pub created_at: Timestamp,
    /// Time at which it ends, in whole seconds since 1970.
    pub expires_s: i64,
}

/// All links, by id, and the key that signs them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct LinkTable {
    key: Option<Secret>,
    links: BTreeMap<String, Link>,
}

/// The proof in the address of a link.
#[derive(Debug, Clone, Copy)]
pub struct LinkProof<'a> {
    /// Id of the link.
    pub id: &'a str,
    /// Expiry, in seconds since 1970, as the address has it.
    pub expires_s: i64,
    /// Signature.
    pub signature: &'a str,
}

/// The share links of a data directory.
#[derive(Debug)]
pub struct Links {
    shared: Shared<LinkTable>,
}

impl Links {
    /// The links kept in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Internal` when the directory or the file can't be used, or others may read the file; so it is with every method.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { shared: Shared::open(dir, "links")? })
    }

    /// Makes a link to an image, with its signature. Waits for the disk.
    ///
    /// # Errors
    /// `Invalid` for a life of less than a second or more than [`LIFE_MAX`]; `TooMany`.
    pub fn make(
        &self,
        image: ImageId,
        account: Option<Uuid>,
        life: Duration,
        now: Timestamp,
    ) -> Result<(Link, String)> {
        if life < Duration::from_secs(1) || life > LIFE_MAX {
            return Err(Error::invalid("A link lasts from one second to 366 days."));
        }
        let link = Link {
            id: random_hex(ID_BYTES)?,
            image: image.to_string(),
            account,
            created_at: now,
            expires_s: now.seconds().saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)),
        };
        let fresh = Secret::random()?;
        self.shared.change(|table| {
            table.links.retain(|_, link| link.holds_at(now));
            let of_image = table.links.values().filter(|other| other.image == link.image).count();
            if of_image >= IMAGE_LINKS_MAX || table.links.len() >= LINKS_MAX {
                let text =
                    format!("An image has at most {IMAGE_LINKS_MAX} links, and a server {LINKS_MAX}: revoke some.");
                return Err(Reason::TooMany.saying(text));
            }
            let key = table.key.get_or_insert(fresh);
            let signature = URL_SAFE_NO_PAD.encode(link.mac(key)?.finalize().into_bytes());
            table.links.insert(link.id.clone(), link.clone());
            Ok((link.clone(), signature))
        })
    }

    /// The link that a proof is of, if it opens this image now.
    ///
    /// # Errors
    /// `Forbidden` for all that does not: changed, expired, revoked, or another image's.
    pub fn find(&self, image: ImageId, proof: LinkProof<'_>, now: Timestamp) -> Result<Link> {
        let table = self.shared.read(|_, _| {})?;
        let refused = || Error::from(Reason::LinkRefused);
        let key = table.key.as_ref().ok_or_else(refused)?;
        let link = table.links.get(proof.id).ok_or_else(refused)?;
        let given = URL_SAFE_NO_PAD.decode(proof.signature).map_err(|_| refused())?;
        let claimed = Link { image: image.to_string(), expires_s: proof.expires_s, ..link.clone() };
        claimed.mac(key)?.verify_slice(&given).map_err(|_| refused())?;
        if claimed != *link || !link.holds_at(now) {
            return Err(refused());
        }
        Ok(link.clone())
    }

    /// The links of an image that hold now, oldest first.
    pub fn of(&self, image: ImageId, now: Timestamp) -> Result<Vec<Link>> {
        let (table, image) = (self.shared.read(|_, _| {})?, image.to_string());
        let mut links: Vec<_> =
            table.links.values().filter(|link| link.image == image && link.holds_at(now)).cloned().collect();
        links.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(links)
    }

    /// Revokes a link of an image. It opens nothing any more when this returns. Waits for the disk.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn revoke(&self, image: ImageId, id: &str, now: Timestamp) -> Result<Link> {
        let image = image.to_string();
        self.shared.change(|table| {
            table.links.retain(|_, link| link.holds_at(now));
            if table.links.get(id).is_none_or(|link| link.image != image) {
                return Err(Reason::LinkNotFound.about(id));
            }
            table.links.remove(id).ok_or_else(|| Reason::LinkNotFound.about(id))
        })
    }
}

impl Link {
    fn holds_at(&self, now: Timestamp) -> bool {
        now.seconds() < self.expires_s
    }

    /// The code over what the link opens. HEAD is read with GET's.
    fn mac(&self, key: &Secret) -> Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.reveal().as_bytes()).map_err(Error::internal)?;
        mac.update(format!("GET\n/images/{}\n{}\n{}", self.image, self.expires_s, self.id).as_bytes());
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const NOW: Timestamp = Timestamp(1_000_000_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn proof<'a>(link: &'a Link, signature: &'a str) -> LinkProof<'a> {
        LinkProof { id: &link.id, expires_s: link.expires_s, signature }
    }

    fn later(time: Duration) -> Timestamp {
        Timestamp(NOW.0 + time.as_micros() as i64)
    }

    #[test]
    fn a_link_opens_its_image_until_it_expires_or_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let (links, image, maker) = (Links::open(dir.path()).unwrap(), ImageId::random(), Uuid::new_v4());
        let (link, signature) = links.make(image, Some(maker), DAY, NOW).unwrap();
        let (other, other_signature) = links.make(image, None, DAY, later(Duration::from_secs(1))).unwrap();
        assert_eq!(links.find(image, proof(&link, &signature), NOW).unwrap().account, Some(maker));
        assert_eq!(links.of(image, NOW).unwrap(), [link.clone(), other.clone()]);
        let last = DAY - Duration::from_secs(1);
        assert!(links.find(image, proof(&link, &signature), later(last)).is_ok());
        assert_eq!(links.find(image, proof(&link, &signature), later(DAY)).unwrap_err().kind(), Kind::Forbidden);
        links.revoke(image, &link.id, NOW).unwrap();
        assert_eq!(links.find(image, proof(&link, &signature), NOW).unwrap_err().reason(), Reason::LinkRefused);
        assert_eq!(links.revoke(image, &link.id, NOW).unwrap_err().kind(), Kind::NotFound);
        // Another process, and a restart, read the others.
        let again = Links::open(dir.path()).unwrap();
        assert_eq!(again.find(image, proof(&other, &other_signature), NOW).unwrap(), other);
        assert!(again.of(image, later(DAY * 2)).unwrap().is_empty());
    }

    #[test]
    fn nothing_of_a_link_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (links, image) = (Links::open(dir.path()).unwrap(), ImageId::random());
        let (link, signature) = links.make(image, None, DAY, NOW).unwrap();
        let (second, second_signature) = links.make(image, None, DAY, NOW).unwrap();
        let good = proof(&link, &signature);
        assert!(links.find(image, good, NOW).is_ok());
        assert!(links.find(ImageId::random(), good, NOW).is_err());
        for bad in [
            LinkProof { expires_s: good.expires_s + 1, ..good },
            LinkProof { id: &second.id, ..good },
            LinkProof { id: "", ..good },
            LinkProof { signature: &second_signature, ..good },
            LinkProof { signature: "", ..good },
            LinkProof { signature: &signature[1..], ..good },
            LinkProof { signature: "no base64!", ..good },
        ] {
            assert_eq!(links.find(image, bad, NOW).unwrap_err().reason(), Reason::LinkRefused, "{bad:?}");
        }
        assert!(Links::open(&dir.path().join("fresh")).unwrap().find(image, good, NOW).is_err());
    }

    #[test]
    fn lives_and_numbers_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (links, image) = (Links::open(dir.path()).unwrap(), ImageId::random());
        for life in [Duration::ZERO, Duration::from_millis(999), LIFE_MAX + Duration::from_secs(1)] {
            assert_eq!(links.make(image, None, life, NOW).unwrap_err().kind(), Kind::Invalid);
        }
        for _ in 0..IMAGE_LINKS_MAX {
            links.make(image, None, DAY, NOW).unwrap();
        }
        assert_eq!(links.make(image, None, DAY, NOW).unwrap_err().reason(), Reason::TooMany);
        assert!(links.make(ImageId::random(), None, DAY, NOW).is_ok());
        // Those that have ended make room.
        assert!(links.make(image, None, DAY, later(DAY)).is_ok());
    }
}
