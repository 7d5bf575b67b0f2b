//! Requests for pulls, and what is told of one on its way. Values only.

use serde::{Deserialize, Serialize};

use crate::error::shown;
use crate::image::{Architecture, Image};
use crate::vendor::{Level, LockedImage, Sum};

/// A request for an image of a vendor's, or under a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullAsk {
    /// Name such as `debian/13`, or an `http` or `https` URL. Of a locked image, its name.
    pub name: String,
    /// Processor; without it, this machine's.
    #[serde(default, with = "word", skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Level that the bytes have to reach, in place of what the vendor's entry demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Level>,
    /// Digest that the file has to have: it counts in place of the vendor's sums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sum>,
    /// Another alias for the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Keeps it from being removed for room.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pin: bool,
    /// Keeps a compressed file as it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_packed: bool,
    /// Takes an image that is verified less than the one before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_weaker: bool,
    /// Sends nothing: takes what is here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub offline: bool,
    /// Entry of a lock file, which says the very bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<LockedImage>,
}

impl PullAsk {
    /// A request for a name or a URL, and nothing else.
    pub fn of(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            architecture: None,
            require: None,
            sha256: None,
            alias: None,
            pin: false,
            keep_packed: false,
            accept_weaker: false,
            offline: false,
            locked: None,
        }
    }
}

impl From<LockedImage> for PullAsk {
    /// A request for the very image of a lock file. One beside the image that has the alias is asked for by its build and its digest,
    /// so that it leaves the alias where it is.
    fn from(locked: LockedImage) -> Self {
        let architecture = locked.architecture.as_deref().and_then(Architecture::parse);
        let ask = Self { architecture, ..Self::of(&locked.name) };
        match locked.stands_back() {
            true => Self { sha256: Some(locked.sha256), ..ask },
            false => Self { locked: Some(locked), ..ask },
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A word of a vocabulary as its name.
mod word {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::image::Architecture;

    pub(super) fn serialize<S: Serializer>(value: &Option<Architecture>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(architecture) => serializer.serialize_str(architecture.name()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Architecture>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let unknown =
            || D::Error::custom(format!("the architecture {:?} is not known", text.escape_default().to_string()));
        Architecture::parse(&text).map(Some).ok_or_else(unknown)
    }
}

/// Stages of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullState {
    /// The name is looked up in the vendor's lists.
    Resolving,
    /// Another transfer has to end first.
    Waiting,
    /// Bytes are coming.
    Filling,
    /// The bytes are compared with what they have to be.
    Verifying,
    /// A compressed file is unpacked.
    Unpacking,
    /// The image is there.
    Done,
}

impl PullState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Waiting => "waiting",
            Self::Filling => "filling",
            Self::Verifying => "verifying",
            Self::Unpacking => "unpacking",
            Self::Done => "done",
        }
    }
}

/// End of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullChange {
    /// The image is new here.
    New,
    /// It took the place of another build.
    Newer,
    /// It was here already.
    Present,
}

impl PullChange {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Newer => "newer",
            Self::Present => "present",
        }
    }
}

/// State of a pull, for people that wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Name that was asked for; with its build as soon as that is known.
    pub name: String,
    /// Stage.
    pub state: PullState,
    /// Bytes of the stage that are done.
    pub bytes: Option<u64>,
    /// Bytes of the stage in all, if that is known.
    pub of: Option<u64>,
    /// Level that the bytes reach.
    pub verified: Option<Level>,
    /// Line about the level, for people.
    pub words: Option<String>,
    /// Outcome, at the end.
    pub change: Option<PullChange>,
    /// The image, at the end.
    pub image: Option<String>,
}

impl PullProgress {
    /// The beginning of a pull, of a name or a URL.
    pub fn of(name: &str) -> Self {
        Self {
            name: shown(name),
            state: PullState::Resolving,
            bytes: None,
            of: None,
            verified: None,
            words: None,
            change: None,
            image: None,
        }
    }
}

/// Result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Its end.
    pub change: PullChange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_and_says_only_what_is_asked() {
        let plain = PullAsk::of("debian/13");
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"name":"debian/13"}"#);
        let all = PullAsk {
            architecture: Some(Architecture::Aarch64),
            require: Some(Level::Signature),
            sha256: Sum::of_hex(&"a".repeat(64)),
            alias: Some("mine".to_owned()),
            pin: true,
            keep_packed: true,
            accept_weaker: true,
            offline: true,
            ..plain
        };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<PullAsk>(&text).unwrap(), all, "{text}");
        for (bad, why) in [
            (r#"{"name":"a","architecture":"z80"}"#, "z80"),
            (r#"{"name":"a","nam":"b"}"#, "nam"),
            (r#"{"pin":true}"#, "name"),
            (r#"{"name":"a","sha256":"abc"}"#, "abc"),
            (r#"{"name":"a","require":"much"}"#, "much"),
        ] {
            let error = serde_json::from_str::<PullAsk>(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
