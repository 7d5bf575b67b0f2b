//! The Keystone that the configuration names, with the user in whose name it is asked.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Span, hide, put_secret};
use crate::account::Secret;

/// Longest time for which an answer of Keystone's may be kept: revoked tokens are valid for as long.
const CACHE_MAX: Duration = Duration::from_secs(86_400);

/// A section of `visor.toml`, where its keys are explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct IdentitySection {
    pub url: String,
    pub public_url: String,
    pub ca_file: PathBuf,
    pub username: String,
    pub password: Secret,
    pub password_file: PathBuf,
    pub user_domain: String,
    pub project: String,
    pub project_domain: String,
    pub cache: Span,
    pub admin_roles: Vec<String>,
    pub reader_roles: Vec<String>,
    pub service_roles: Vec<String>,
}

impl IdentitySection {
    /// Tells if a Keystone knows the callers of OpenStack's protocols.
    pub fn is_elsewhere(&self) -> bool {
        !self.url.is_empty()
    }

    /// The URL with the version of the API, as requests need it.
    pub fn versioned_url(&self) -> String {
        versioned(&self.url)
    }

    /// The URL for clients.
    pub fn url_for_clients(&self) -> String {
        versioned(if self.public_url.is_empty() { &self.url } else { &self.public_url })
    }

    /// Takes the password out of its file, if it stands in one.
    pub(super) fn read_secret(&mut self) -> Result<(), ConfigError> {
        put_secret(&mut self.password, &self.password_file, "identity.password_file")
    }

    /// A copy without secrets.
    pub(super) fn shown(mut self) -> Self {
        hide(&mut self.password);
        self
    }

    /// Checks the settings that are wrong only in combination.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |what: &str| Err(ConfigError(format!("identity.{what}")));
        for (name, url) in [("url", &self.url), ("public_url", &self.public_url)] {
            let plain = url.starts_with("http://") || url.starts_with("https://");
            if !url.is_empty() && (!plain || url.contains(['@', '?', '#', '"']) || url.chars().any(char::is_control)) {
                return wrong(&format!("{name} must be like https://keystone.example/v3, without user and query"));
            }
        }
        if !self.is_elsewhere() {
            return match self.public_url.is_empty() && self.username.is_empty() && self.password.reveal().is_empty() {
                true => Ok(()),
                false => wrong("url is missing, and other keys of the section are set"),
            };
        }
        if self.username.is_empty() || self.password.reveal().is_empty() || self.project.is_empty() {
            return wrong("url needs identity.username, identity.password (or password_file) and identity.project");
        }
        if !self.ca_file.as_os_str().is_empty() && !self.url.starts_with("https://") {
            return wrong("ca_file needs a url with https://");
        }
        if self.admin_roles.iter().any(|role| self.reader_roles.iter().any(|other| other.eq_ignore_ascii_case(role))) {
            return wrong("admin_roles and reader_roles have a role in common");
        }
        if self.cache.duration() > CACHE_MAX {
            return wrong("cache must be a day at most: a revoked token is valid for as long");
        }
        Ok(())
    }
}

/// A URL of Keystone's with the version at its end.
fn versioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") }
}

/// Tells whether a file has the password.
pub(super) fn has_secret(file: &toml::Table) -> bool {
    let password = file.get("identity").and_then(|identity| identity.get("password"));
    password.is_some_and(|password| password.as_str() != Some(""))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::config::Config;

    const GOOD: &str = "[identity]\nurl = \"https://k.example\"\nusername = \"visor\"\nproject = \"service\"\n";

    fn with(text: &str, mode: u32) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        Config::from_parts(Some(file.path()), std::iter::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_url_has_its_version_in_any_case() {
        for (url, expected) in [
            ("https://k.example", "https://k.example/v3"),
            ("https://k.example/", "https://k.example/v3"),
            ("https://k.example/identity/v3/", "https://k.example/identity/v3"),
        ] {
            let text = format!("{GOOD}password = \"s3cret\"\n").replace("https://k.example", url);
            let identity = with(&text, 0o600).unwrap().identity;
            assert_eq!((identity.versioned_url(), identity.url_for_clients()), (expected.into(), expected.into()));
            let text = format!("{text}public_url = \"https://public.example:5000\"\n");
            assert_eq!(with(&text, 0o600).unwrap().identity.url_for_clients(), "https://public.example:5000/v3");
        }
    }

    #[test]
    fn the_password_is_its_owners_alone_and_never_shown() {
        let text = format!("{GOOD}password = \"s3cret\"\n");
        assert!(!with(&text, 0o600).unwrap().show().unwrap().contains("s3cret"));
        assert!(with(&text, 0o644).unwrap_err().contains("chmod 600"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from a file\n").unwrap();
        let text = format!("{GOOD}password_file = {:?}\n", file.path().to_str().unwrap());
        assert_eq!(with(&text, 0o644).unwrap().identity.password.reveal(), "from a file");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(with(&text, 0o644).unwrap_err().contains("chmod 600"));
    }

    #[test]
    fn what_could_not_work_is_refused() {
        let good = format!("{GOOD}password = \"p\"\n");
        for (text, word) in [
            (GOOD.to_owned(), "identity.password"),
            (good.replace("https://", "ftp://"), "identity.url"),
            (good.replace("https://", "https://me@"), "identity.url"),
            (good.replace("k.example", "k.example/v3?x"), "identity.url"),
            ("[identity]\nusername = \"visor\"\n".into(), "identity.url is missing"),
            (good.replace("https", "http") + "ca_file = \"/ca.pem\"\n", "ca_file"),
            (good.clone() + "reader_roles = [\"Admin\"]\n", "in common"),
            (good + "cache = \"2d\"\n", "cache"),
        ] {
            let said = with(&text, 0o600).unwrap_err();
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
