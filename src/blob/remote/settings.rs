//! Settings of a remote store: the server, the place on it, and the credentials.

use std::fmt;

use http::Uri;

use super::StoreError;

/// Longest name of a bucket: what the laxest servers take.
const BUCKET_BYTES_MAX: usize = 255;

/// Longest root.
const ROOT_BYTES_MAX: usize = 512;

/// The endpoint of Amazon's that stands for all of its regions.
const AMAZON: &str = "https://s3.amazonaws.com";

/// The region of servers that have none.
const REGION: &str = "us-east-1";

/// A bucket of S3's, or of a server that speaks its language.
#[derive(Clone)]
pub struct S3Settings {
    /// The word that the addresses of its blobs begin with: `s3`, or another that the operator knows it by.
    pub scheme: String,
    /// Its URL. Amazon's without one.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// Beginning of the names of all blobs; may be empty.
    pub root: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// The bucket is part of the host's name, and not of the path.
    pub virtual_host: bool,
}

/// A directory of HDFS's, by WebHDFS.
#[derive(Clone)]
pub struct HdfsSettings {
    /// The namenode's URL, or a gateway's: `http://namenode:9870`.
    pub endpoint: String,
    /// User of the requests; none if empty.
    pub user: String,
    /// The directory of all blobs; it is made when it is needed.
    pub root: String,
}

/// Settings of a remote store.
#[derive(Debug, Clone)]
pub enum RemoteSettings {
    /// S3 and what speaks it.
    S3(S3Settings),
    /// HDFS.
    Hdfs(HdfsSettings),
}

impl fmt::Debug for S3Settings {
    /// Says nothing of the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("scheme", &self.scheme)
            .field("endpoint", &shown(&self.endpoint))
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("root", &self.root)
            .field("virtual_host", &self.virtual_host)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HdfsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = shown(&self.endpoint);
        f.debug_struct("HdfsSettings").field("endpoint", &endpoint).field("root", &self.root).finish_non_exhaustive()
    }
}

/// An endpoint for a log. With user information in it, it is not shown, nor will it be used.
fn shown(endpoint: &str) -> &str {
    if endpoint.contains('@') { "…" } else { endpoint }
}

impl S3Settings {
    pub(super) fn region(&self) -> &str {
        if self.region.is_empty() { REGION } else { &self.region }
    }

    /// The server's URL, without a slash at its end.
    pub(super) fn endpoint(&self) -> String {
        match self.endpoint.trim_end_matches('/') {
            "" | AMAZON => format!("https://s3.{}.amazonaws.com", self.region()),
            endpoint => endpoint.to_owned(),
        }
    }

    /// The bucket's URL, without a slash at its end.
    pub(super) fn bucket_url(&self) -> String {
        let endpoint = self.endpoint();
        if self.virtual_host {
            endpoint.replacen("//", &format!("//{}.", self.bucket), 1)
        } else {
            format!("{endpoint}/{}", self.bucket)
        }
    }

    pub(super) fn check(&self, store: &str) -> Result<(), StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let bucket = &self.bucket;
        let word = !self.scheme.is_empty() && self.scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if bucket.is_empty() || bucket.len() > BUCKET_BYTES_MAX || !bucket.bytes().all(plain) || bucket.starts_with('.')
        {
            return Err(unusable(store, "its bucket has no name that a bucket can have"));
        }
        if self.virtual_host && bucket.contains('.') {
            return Err(unusable(store, "its bucket has a dot in its name, and can't be a part of a host's"));
        }
        if self.access_key.is_empty() || self.secret_key.is_empty() {
            return Err(unusable(store, "it has no access key or no secret key"));
        }
        if !word {
            return Err(unusable(store, "the word that its addresses begin with is none"));
        }
        check_endpoint(store, &self.endpoint())
    }
}

/// Checks that an endpoint is a plain URL: nothing in it is secret, and nothing is left to interpret.
pub(super) fn check_endpoint(store: &str, endpoint: &str) -> Result<(), StoreError> {
    let plain = endpoint.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
            && !endpoint.contains('#')
    });
    if plain { Ok(()) } else { Err(unusable(store, "its endpoint is no plain http or https URL")) }
}

/// A root without slashes at its ends.
pub(super) fn root(store: &str, root: &str) -> Result<String, StoreError> {
    let root = root.trim_matches('/');
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == '\\');
    if root.len() <= ROOT_BYTES_MAX && (root.is_empty() || root.split('/').all(plain)) {
        Ok(root.to_owned())
    } else {
        Err(unusable(store, "its root is no plain path"))
    }
}

/// A store that can't be used as it is configured.
pub(super) fn unusable(store: &str, why: &str) -> StoreError {
    StoreError::Unavailable(format!("The store {store} can't be used: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_where_the_settings_say() {
        let url = |endpoint: &str, region: &str, virtual_host| {
            let (scheme, bucket) = ("s3".to_owned(), "images".to_owned());
            let (access_key, secret_key) = ("a".to_owned(), "s".to_owned());
            let (endpoint, region, root) = (endpoint.to_owned(), region.to_owned(), String::new());
            let settings = S3Settings { scheme, endpoint, region, bucket, root, access_key, secret_key, virtual_host };
            settings.check("attic").unwrap();
            settings.bucket_url()
        };
        assert_eq!(url("http://h:9000/", "", false), "http://h:9000/images");
        assert_eq!(url("http://h:8773/services/Walrus", "", false), "http://h:8773/services/Walrus/images");
        assert_eq!(url("https://h:9000", "x", true), "https://images.h:9000");
        assert_eq!(url("", "eu-1", false), "https://s3.eu-1.amazonaws.com/images");
        assert_eq!(url("https://s3.amazonaws.com/", "", true), "https://images.s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn roots_are_plain_paths() {
        for (given, kept) in [("", ""), ("/", ""), ("a", "a"), ("/a/b c/", "a/b c")] {
            assert_eq!(root("attic", given).unwrap(), kept);
        }
        for bad in ["a//b", "..", "a/./b", "a\nb", "a\\b", &"x".repeat(ROOT_BYTES_MAX + 1)] {
            assert!(root("attic", bad).is_err(), "{bad}");
        }
    }
}
