//! Proxies: servers of the operator's that pass requests on. A proxy resolves names by itself, so that nothing here can judge the
//! addresses behind them: it gets what is public by its name or its address, and all else is reached directly, under the guard.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Proxy, Url};

use super::address::{is_public, literal};
use crate::error::{Error, Result};

/// Last parts of names that have a meaning in the local network only (RFC 6761, 6762, 8375, and what ICANN set apart).
const LOCAL_NAMES: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// Proxies for each scheme, and the hosts that are reached without them.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    matcher: Option<Arc<Matcher>>,
}

impl Proxies {
    /// Proxies for `http` and `https`, whose URLs may hold a name and a password. `except` lists hosts, domains with all that is
    /// under them, addresses and networks; `*` stands for everything.
    ///
    /// # Errors
    /// `Invalid` for what is no `http` or `https` URL of a server. The text says nothing of the URL.
    pub fn new(http: Option<&str>, https: Option<&str>, except: &[String]) -> Result<Self> {
        let (http, https) = (http.map(parse).transpose()?, https.map(parse).transpose()?);
        // Some write *.example.com for what the library knows as .example.com.
        let except: Vec<&str> = except.iter().map(|entry| entry.trim()).map(plain_domain).collect();
        let text = |url: &Option<Url>| url.as_ref().map(ToString::to_string).unwrap_or_default();
        let matcher = Matcher::builder().http(text(&http)).https(text(&https)).no(except.join(",")).build();
        Ok(Self { http, https, matcher: Some(Arc::new(matcher)) })
    }

    /// Tells whether a URL is for a proxy.
    pub(super) fn take(&self, url: &Url) -> bool {
        let (Some(matcher), Some(host)) = (&self.matcher, url.host_str()) else { return false };
        let host = host.trim_end_matches('.');
        let asked = format!("{}://{host}/", url.scheme()).parse();
        !is_local(host) && asked.is_ok_and(|uri: hyper::Uri| matcher.intercept(&uri).is_some())
    }

    /// Tells whether this is the host of a proxy.
    pub(super) fn are_at(&self, host: &str) -> bool {
        [&self.http, &self.https].into_iter().flatten().any(|url| url.host_str() == Some(host))
    }

    /// A client that goes through the proxies, and nowhere else.
    pub(super) fn put_into(&self, mut builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        if let Some(http) = &self.http {
            builder = builder.proxy(Proxy::http(http.clone())?);
        }
        if let Some(https) = &self.https {
            builder = builder.proxy(Proxy::https(https.clone())?);
        }
        Ok(builder)
    }
}

impl fmt::Debug for Proxies {
    /// Says nothing of the URLs, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

fn parse(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.filter(Url::has_host).ok_or_else(|| Error::invalid("the URL of the proxy is not one of http or https"))
}

fn plain_domain(entry: &str) -> &str {
    entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry)
}

/// Tells whether a host has a meaning in the local network only. A proxy could reach something else there than was meant, or what
/// must not be reached.
fn is_local(host: &str) -> bool {
    match literal(host) {
        Some(ip) => !is_public(ip),
        None => !host.contains('.') || LOCAL_NAMES.iter().any(|end| host.ends_with(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(except: &[&str], url: &str) -> bool {
        let except: Vec<String> = except.iter().map(|&entry| entry.to_owned()).collect();
        Proxies::new(Some("http://p:1"), Some("http://p:1"), &except).unwrap().take(&Url::parse(url).unwrap())
    }

    #[test]
    fn what_is_public_is_for_the_proxy_and_what_is_local_never() {
        for url in ["http://example.org/", "https://Example.org.:8443/x", "https://8.8.8.8/", "https://[2606:4700::1]/"]
        {
            assert!(taken(&[], url), "{url}");
        }
        for url in [
            "http://localhost/",
            "http://lab/",
            "http://lab./",
            "http://a.localhost/",
            "http://nas.local/",
            "http://NAS.local./",
            "http://metadata.google.internal/",
            "http://router.home.arpa/",
            "http://10.0.0.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            assert!(!taken(&[], url), "{url}");
        }
        let https_only = Proxies::new(None, Some("http://p:1"), &[]).unwrap();
        assert!(https_only.take(&Url::parse("https://example.org/").unwrap()));
        assert!(!https_only.take(&Url::parse("http://example.org/").unwrap()));
        assert!(!Proxies::default().take(&Url::parse("http://example.org/").unwrap()));
    }

    #[test]
    fn exceptions_are_hosts_domains_addresses_networks_or_everything() {
        for (except, url, expected) in [
            (".example.com", "https://example.com/", false),
            (".example.com", "https://a.b.example.com/", false),
            ("example.com", "https://a.example.com/", false),
            ("*.example.com", "https://A.example.com/", false),
            (" example.com ", "https://example.com.:8443/", false),
            ("example.com", "https://notexample.com/", true),
            ("a.example.com", "https://example.com/", true),
            ("8.8.0.0/16", "https://8.8.8.8/", false),
            ("8.8.0.0/16", "https://9.9.9.9/", true),
            ("2606:4700::/32", "https://[2606:4700::1]/", false),
            ("*", "https://example.org/", false),
            ("", "https://example.org/", true),
        ] {
            assert_eq!(taken(&["other.example", except], url), expected, "{except}: {url}");
        }
    }

    #[test]
    fn a_proxy_is_a_server_with_a_url_and_its_password_is_never_told() {
        for bad in ["", "p:1", "socks5://u:s3cret@p:1", "ftp://p/", "http://"] {
            let error = Proxies::new(Some(bad), None, &[]).unwrap_err();
            assert!(!format!("{error:?} {}", error.message()).contains("s3cret"), "{bad}");
        }
        let proxies = Proxies::new(Some("http://u:s3cret@p:1"), None, &[]).unwrap();
        assert!(proxies.are_at("p") && !proxies.are_at("q") && !format!("{proxies:?}").contains("s3cret"));
    }
}
