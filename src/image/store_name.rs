//! Names of stores. An image asks for a store by name, and records the name of the store that has its bytes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Longest name.
const BYTES_MAX: usize = 64;

/// Name of a store: lower-case letters, digits, `-` and `_`. The configuration defines the stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(Cow<'static, str>);

impl StoreName {
    /// Local directory.
    pub const FILE: Self = Self(Cow::Borrowed("file"));
    /// Other web servers, which keep the bytes; read only.
    pub const HTTP: Self = Self(Cow::Borrowed("http"));

    /// Stores of the original VISOR. Its images may name them even if they are not configured.
    pub const ORIGINAL: [&'static str; 7] = ["s3", "cumulus", "walrus", "hdfs", "lcs", "http", "file"];

    /// Text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StoreName {
    type Err = ();

    /// Case does not matter. Lunacloud's store has two names in the original, which mean one.
    fn from_str(text: &str) -> Result<Self, ()> {
        let name = text.to_ascii_lowercase();
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        match name.as_str() {
            "" => Err(()),
            "lunacloud" => Ok(Self(Cow::Borrowed("lcs"))),
            _ if name.len() <= BYTES_MAX && name.chars().all(known) => Ok(Self(Cow::Owned(name))),
            _ => Err(()),
        }
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let parse = |text: &str| text.parse::<StoreName>();
        assert_eq!((parse("file"), parse("FILE")), (Ok(StoreName::FILE), Ok(StoreName::FILE)));
        assert_eq!(parse("lunacloud"), parse("lcs"));
        assert!(parse("lab-2_cold").is_ok() && parse(&"x".repeat(BYTES_MAX)).is_ok());
        for bad in ["", " ", "a b", "a/b", "ü", "a,b", "a.b", &"x".repeat(BYTES_MAX + 1)] {
            assert_eq!(parse(bad), Err(()), "{bad:?}");
        }
    }
}
