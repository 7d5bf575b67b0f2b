//! Proxies for requests to other servers: as the file says, or as the environment says it to every program.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::words::origin;
use super::{Config, ConfigError};
use crate::account::Secret;

/// Text in place of a name and a password, where settings are shown.
const HIDDEN: &str = "(set, not shown)";

/// The setting that no request leaves through a proxy.
const NEVER: &str = "none";

/// Form of a proxy's URL, for errors. They do not repeat what was given, which may hold a password.
const FORM: &str = "http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if it wants them";

/// The URL of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    origin: String,
    /// Name and password, as a URL has them.
    user: Option<Secret>,
}

impl ProxyUrl {
    /// Reads a URL, of a plain proxy if it has no scheme.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let is_user = |user: &str| !user.is_empty() && !user.contains(['/', '?', '#', '@']);
        let origin = origin(&format!("{scheme}://{host}")).filter(|_| user.is_none_or(is_user))?;
        Some(Self { origin, user: user.map(|user| Secret::new(user.to_owned())) })
    }

    /// The whole URL, with the password.
    pub fn reveal(&self) -> String {
        self.with_user(self.user.as_ref().map(Secret::reveal))
    }

    fn with_user(&self, user: Option<&str>) -> String {
        match user {
            None => self.origin.clone(),
            Some(user) => self.origin.replacen("://", &format!("://{user}@"), 1),
        }
    }
}

impl fmt::Display for ProxyUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Proxy that requests leave through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The one that the environment names, if it does.
    Environment,
    /// None.
    Never,
    /// This one.
    Given(ProxyUrl),
}

impl Serialize for ProxyChoice {
    /// Without the password: settings are written to be shown.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Environment => serializer.serialize_str(""),
            Self::Never => serializer.serialize_str(NEVER),
            Self::Given(url) => serializer.collect_str(&url.with_user(url.user.as_ref().map(|_| HIDDEN))),
        }
    }
}

impl<'de> Deserialize<'de> for ProxyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.trim() {
            "" => Ok(Self::Environment),
            NEVER => Ok(Self::Never),
            text => ProxyUrl::parse(text).map(Self::Given).ok_or_else(|| {
                serde::de::Error::custom(format!("this is not the URL of a proxy, which is {FORM}; nor \"{NEVER}\""))
            }),
        }
    }
}

/// Variables of the environment that name proxies.
#[derive(Debug, Clone, Default)]
pub(super) struct ProxyVariables {
    http: Option<(String, Secret)>,
    https: Option<(String, Secret)>,
    all: Option<(String, Secret)>,
    except: Option<(String, Secret)>,
}

impl ProxyVariables {
    /// Picks them out. Lower case goes first, as with curl; an empty one is none.
    pub(super) fn of(environment: &[(String, String)]) -> Self {
        let get = |name: &str| {
            let names = [name.to_ascii_lowercase(), name.to_owned()];
            let found = names.iter().find_map(|name| {
                environment.iter().find(|(variable, text)| variable == name && !text.trim().is_empty())
            });
            found.map(|(variable, text)| (variable.clone(), Secret::new(text.clone())))
        };
        Self { http: get("HTTP_PROXY"), https: get("HTTPS_PROXY"), all: get("ALL_PROXY"), except: get("NO_PROXY") }
    }

    fn url(&self, variable: &Option<(String, Secret)>) -> Result<Option<ProxyUrl>, ConfigError> {
        let Some((name, text)) = variable.as_ref().or(self.all.as_ref()) else { return Ok(None) };
        let bad = || {
            ConfigError(format!(
                "{name} in the environment is not the URL of a proxy that visor can use, which is {FORM}: set fetch.proxy to \
                 one, or to \"{NEVER}\""
            ))
        };
        ProxyUrl::parse(text.reveal()).map(Some).ok_or_else(bad)
    }
}

/// Proxies in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http`.
    pub http: Option<ProxyUrl>,
    /// For `https`.
    pub https: Option<ProxyUrl>,
    /// Hosts, domains, addresses and networks that are reached without them; `*` is everything.
    pub except: Vec<String>,
}

impl Config {
    /// The proxies in force. Asked for where something is fetched, so that other commands do not mind what the environment says.
    ///
    /// # Errors
    /// A variable of the environment is in force and is not the URL of a proxy.
    pub fn proxies(&self) -> Result<ProxySettings, ConfigError> {
        let mut except = self.fetch.no_proxy.clone();
        match &self.fetch.proxy {
            ProxyChoice::Never => Ok(ProxySettings::default()),
            ProxyChoice::Given(url) => Ok(ProxySettings { http: Some(url.clone()), https: Some(url.clone()), except }),
            ProxyChoice::Environment => {
                let variables = &self.proxy_variables;
                let listed = variables.except.as_ref().map(|(_, text)| text.reveal()).unwrap_or_default();
                except.extend(listed.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned));
                let (http, https) = (variables.url(&variables.http)?, variables.url(&variables.https)?);
                Ok(ProxySettings { http, https, except })
            }
        }
    }
}

/// Tells whether a file holds the password of a proxy.
pub(super) fn has_secret(file: &toml::Table) -> bool {
    let proxy = file.get("fetch").and_then(|fetch| fetch.get("proxy"));
    proxy.and_then(toml::Value::as_str).is_some_and(|proxy| proxy.contains('@'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with(text: &str, mode: u32, environment: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(Some(file.path()), environment).map_err(|error| error.to_string())
    }

    /// The proxies for http and https, and the exceptions.
    fn in_force(text: &str, environment: &[(&str, &str)]) -> (String, String, String) {
        let ProxySettings { http, https, except } = with(text, 0o600, environment).unwrap().proxies().unwrap();
        let text = |url: Option<ProxyUrl>| url.map(|url| url.reveal()).unwrap_or_default();
        (text(http), text(https), except.join(" "))
    }

    fn three(http: &str, https: &str, except: &str) -> (String, String, String) {
        (http.into(), https.into(), except.into())
    }

    const ENVIRONMENT: [(&str, &str); 5] = [
        ("HTTP_PROXY", "http://upper:1"),
        ("http_proxy", "lower:1"),
        ("HTTPS_PROXY", "http://u:p@secure:3128/"),
        ("all_proxy", "socks5://never:1"),
        ("NO_PROXY", ".corp.example, 10.0.0.0/8,,*"),
    ];

    #[test]
    fn the_file_goes_before_the_environment() {
        let given = "[fetch]\nproxy = \"http://squid:3128\"\nno_proxy = [\"lab.example\"]";
        assert_eq!(in_force(given, &ENVIRONMENT), three("http://squid:3128", "http://squid:3128", "lab.example"));
        assert_eq!(in_force("[fetch]\nproxy = \"none\"", &ENVIRONMENT), three("", "", ""));
        assert_eq!(in_force(given, &[("VISOR__FETCH__PROXY", "none")]), three("", "", ""));
    }

    #[test]
    fn the_environment_is_read_as_other_programs_read_it() {
        let (http, https) = ("http://lower:1", "http://u:p@secure:3128");
        assert_eq!(in_force("", &ENVIRONMENT), three(http, https, ".corp.example 10.0.0.0/8 *"));
        let own = "[fetch]\nno_proxy = [\"lab.example\"]";
        assert_eq!(in_force(own, &[("no_proxy", "a"), ("NO_PROXY", "b")]), three("", "", "lab.example a"));
        let all = [("ALL_PROXY", "http://all:1"), ("https_proxy", " "), ("HTTP_PROXY", "http://plain:1")];
        assert_eq!(in_force("", &all), three("http://plain:1", "http://all:1", ""));
        assert_eq!(in_force("", &[("HOME", "/")]), three("", "", ""));
    }

    #[test]
    fn what_visor_can_not_use_is_named_when_it_is_needed_and_its_password_never() {
        let socks = [("ALL_PROXY", "socks5://u:s3cret@p:1")];
        let error = with("", 0o600, &socks).unwrap().proxies().unwrap_err().to_string();
        assert!(
            error.starts_with("ALL_PROXY ") && error.contains("fetch.proxy") && !error.contains("s3cret"),
            "{error}"
        );
        assert!(with("[fetch]\nproxy = \"none\"", 0o600, &socks).unwrap().proxies().is_ok());
        for bad in [
            "socks5://u:s3cret@p:1",
            "http://u:s3cret@",
            "http://u:s3c/ret@p:1",
            "http://@p:1",
            "http://p:0",
            "http://p/x",
        ] {
            let error = with(&format!("[fetch]\nproxy = \"{bad}\""), 0o600, &[]).unwrap_err();
            assert!(error.contains("fetch.proxy: ") && !error.contains("s3c"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_password_is_its_owners_alone_and_never_shown() {
        let text = "[fetch]\nproxy = \"https://me:s3cret@squid.example:3129\"";
        assert!(with(text, 0o644, &[]).unwrap_err().contains("chmod 600"));
        let config = with(text, 0o600, &[("HTTP_PROXY", "http://u:s3cret@p:1")]).unwrap();
        assert_eq!(config.proxies().unwrap().https.unwrap().to_string(), "https://squid.example:3129");
        for shown in [config.show().unwrap(), format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
            assert!(!shown.contains("s3cret") && shown.contains("squid.example"), "{shown}");
        }
        assert!(with(&config.show().unwrap(), 0o600, &[]).is_ok());
        assert!(with("[fetch]\nproxy = \"http://squid.example:3128\"", 0o644, &[]).is_ok());
    }
}
