//! The id of an image. Knows one spelling.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The permanent name of an image: a UUID, always written in lower case and with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(Uuid);

impl ImageId {
    /// A new random (version 4) id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id with these sixteen bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes, in the order in which ids sort.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for ImageId {
    type Err = ();

    /// Only the canonical spelling is accepted: 36 characters, hyphens in their places. The other spellings of
    /// a UUID (braces, no hyphens, `urn:`) would give one image many URLs.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 36 {
            return Err(());
        }
        Uuid::try_parse(text).map(Self).map_err(|_| ())
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let id = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";
        assert_eq!(id.parse::<ImageId>().map(|i| i.to_string()), Ok(id.to_owned()));
        assert_eq!(id.to_uppercase().parse::<ImageId>().map(|i| i.to_string()), Ok(id.to_owned()));
        for bad in
            ["", "x", "{edfa919a-0415-4d26-b54d-ae78ffc4dc79}", "edfa919a04154d26b54dae78ffc4dc79", "../../etc/passwd"]
        {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }
}
