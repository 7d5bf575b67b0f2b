//! Guard of every fetch: judges the URL first, then every address of its host.
//!
//! The addresses are judged where the client library resolves the name, so those that were judged are those that are
//! connected to; there is no second look-up in between that could answer something else. Behind a proxy of the operator's there is none
//! of ours at all: what is local never goes there ([`Proxies`]).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{is_public, literal};
use super::error::{FetchError, Refusal, redacted};
use super::{FetchRules, Proxies};

/// Words of the system for `EAI_AGAIN`, which has no kind of its own: there is no way to a name service.
const NO_NAME_SERVICE: &str = "Temporary failure in name resolution";

/// Addresses that the host of a URL may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Public ones, and those that the operator listed.
    Public,
    /// Only those that the operator listed: the URL names an unusual port.
    Listed,
    /// Any: the URL names the very server that the operator configured (see [`AddressGuard::granting`]).
    Own,
    /// Any that a proxy finds: nothing but the proxy is connected to.
    Proxied,
}

impl Reach {
    /// Number of them.
    pub(super) const COUNT: usize = Self::Proxied as usize + 1;
}

/// A server that the operator configured, and may well stand next to this one.
#[derive(Debug)]
struct Own {
    https: bool,
    host: String,
    port: u16,
    /// Addresses of its name. URLs that it redirects to may have them too, on other ports.
    addresses: RwLock<Vec<IpAddr>>,
}

impl Own {
    fn is_at(&self, ip: IpAddr) -> bool {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).contains(&ip)
    }

    fn found_at(&self, addresses: &[SocketAddr]) {
        let found = addresses.iter().map(|address| address.ip().to_canonical()).collect();
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// The operator's rules about addresses and ports.
#[derive(Debug, Clone)]
pub(super) struct AddressGuard {
    allow: Arc<[IpNet]>,
    ports: Arc<[u16]>,
    resolve_timeout: Duration,
    proxies: Proxies,
    own: Option<Arc<Own>>,
}

impl AddressGuard {
    pub(super) fn new(rules: &FetchRules) -> Self {
        let FetchRules { allow, ports, resolve_timeout, proxies, .. } = rules.clone();
        Self { allow: allow.into(), ports: ports.into(), resolve_timeout, proxies, own: None }
    }

    /// The proxies that requests leave through.
    pub(super) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// These rules, except that the host and port of `url` may have any address. It and what it points at are reached without a
    /// proxy: such a server mostly stands nearby.
    pub(super) fn granting(&self, url: &str) -> Result<Self, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Refused)?;
        let plain = url.username().is_empty() && url.password().is_none();
        let named = url.host_str().zip(url.port_or_known_default());
        match (named, url.scheme()) {
            (Some((host, port)), scheme @ ("http" | "https")) if plain => {
                let addresses = RwLock::new(literal(host).map(|ip| ip.to_canonical()).into_iter().collect());
                let own = Own { https: scheme == "https", host: host.to_owned(), port, addresses };
                Ok(Self { own: Some(Arc::new(own)), proxies: Proxies::default(), ..self.clone() })
            }
            _ => Err(FetchError::Refused),
        }
    }

    /// Tells whether this is the granted server.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        self.own.as_ref().is_some_and(|own| {
            url.host_str() == Some(&own.host)
                && url.port_or_known_default() == Some(own.port)
                && (url.scheme() == "https") == own.https
        })
    }

    /// Parses and judges what a caller gave us.
    pub(super) fn parse(&self, text: &str) -> Result<(Url, Reach), FetchError> {
        let Ok(url) = Url::parse(text) else {
            log::info!("a fetch is refused: its URL is malformed");
            return Err(FetchError::Refused);
        };
        let reach = self.judge(&url)?;
        Ok((url, reach))
    }

    /// Judges a URL by itself. Odd spellings of addresses (decimal, octal, hexadecimal, short) are no longer odd
    /// here: parsing made the address of them that they mean. A name is judged when it is resolved.
    pub(super) fn judge(&self, url: &Url) -> Result<Reach, FetchError> {
        self.reason_against(url).map_err(|reason| {
            log::info!("a fetch of {} is refused: {reason}", redacted(url));
            FetchError::Refused
        })
    }

    fn reason_against(&self, url: &Url) -> Result<Reach, &'static str> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https are fetched");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds user information");
        }
        if self.is_own(url) {
            return Ok(Reach::Own);
        }
        if url.scheme() == "http" && self.own.as_ref().is_some_and(|own| own.https) {
            return Err("it is not https, although the configured server is");
        }
        let port = url.port_or_known_default().ok_or("it has no port")?;
        let reach = if self.ports.contains(&port) { Reach::Public } else { Reach::Listed };
        match literal(url.host_str().ok_or("it has no host")?) {
            Some(ip) if !self.may_reach(ip, reach) => Err("its address, with this port, is not allowed"),
            _ if reach == Reach::Public && self.proxies.take(url) => Ok(Reach::Proxied),
            _ => Ok(reach),
        }
    }

    fn may_reach(&self, ip: IpAddr, reach: Reach) -> bool {
        let ip = ip.to_canonical();
        matches!(reach, Reach::Own | Reach::Proxied)
            || self.allow.iter().any(|net| net.contains(&ip))
            || self.own.as_ref().is_some_and(|own| own.is_at(ip))
            || (reach == Reach::Public && is_public(ip))
    }

    /// The addresses of a host, if every single one may be reached. With port 0: the URL's own is put in later.
    async fn resolve(&self, host: &str, reach: Reach) -> Result<Vec<SocketAddr>, Refusal> {
        if reach == Reach::Proxied && !self.proxies.are_at(host) {
            return Err(Refusal::Barred(format!("{host} is not the proxy that it was to be reached through")));
        }
        let looked_up = tokio::time::timeout(self.resolve_timeout, tokio::net::lookup_host((host, 0))).await;
        let unresolved = |why: String| Refusal::Unresolved { host: host.to_owned(), why };
        let addresses: Vec<SocketAddr> = match looked_up {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) if error.to_string().contains(NO_NAME_SERVICE) => {
                return Err(Refusal::NoNameService(format!("{host}: {error}")));
            }
            Ok(Err(error)) => return Err(unresolved(error.to_string())),
            Err(_) => return Err(Refusal::NoNameService(format!("{host}: the name service takes too long"))),
        };
        if addresses.is_empty() {
            return Err(unresolved("the name service has none".to_owned()));
        }
        match addresses.iter().find(|address| !self.may_reach(address.ip(), reach)) {
            None => {
                if let (Reach::Own, Some(own)) = (reach, &self.own) {
                    own.found_at(&addresses);
                }
                Ok(addresses)
            }
            Some(address) => {
                Err(Refusal::Barred(format!("{host} is {}, which with this port is not allowed", address.ip())))
            }
        }
    }
}

/// Resolves names for a client, under one reach. All that such a client connects to has passed it.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) guard: AddressGuard,
    pub(super) reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, reach) = (self.guard.clone(), self.reach);
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str(), reach).await.inspect_err(|refusal| {
                log::info!("a fetch is refused: {refusal}");
            })?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> AddressGuard {
        let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        AddressGuard::new(&FetchRules { allow, ports: vec![80, 443], ..FetchRules::default() })
    }

    fn reach(guard: &AddressGuard, url: &str) -> Option<Reach> {
        guard.parse(url).ok().map(|(_, reach)| reach)
    }

    #[test]
    fn urls_are_judged_before_anything_is_sent() {
        let guard = guard(&[]);
        for url in [
            "",
            "example.org",
            "//example.org/",
            "http://",
            "file:///etc/passwd",
            "gopher://example.org/",
            "ftp://example.org/",
            "data:,x",
            "javascript:1",
            "unix:/run/x.sock",
            "http://user@example.org/",
            "http://user:pass@example.org/",
            "http://:pass@example.org/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://0/",
            "http://[::]/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://①②⑦.0.0.1/",
            "http://10.0.0.1:22/",
            "http://8.8.8.8:22/",
            "https://8.8.8.8:8443/",
            "http://1.2.3.4.5/",
            "http://[fe80::1%25eth0]/",
            "http://256.256.256.256/",
        ] {
            assert_eq!(reach(&guard, url), None, "{url}");
        }
        for url in ["http://example.org/", "https://example.org:80/a?b", "http://8.8.8.8/", "https://[2606:4700::1]/"] {
            assert_eq!(reach(&guard, url), Some(Reach::Public), "{url}");
        }
        assert_eq!(reach(&guard, "http://example.org:22/"), Some(Reach::Listed));
    }

    #[test]
    fn listed_addresses_are_allowed_with_any_port_and_in_any_spelling() {
        let guard = guard(&["127.0.0.0/8", "fd00::/8"]);
        for url in
            ["http://127.0.0.1:5000/", "http://2130706433:22/", "http://[::ffff:127.0.0.1]/", "http://[fd00::1]:81/"]
        {
            assert!(reach(&guard, url).is_some(), "{url}");
        }
        for url in ["http://10.0.0.1/", "http://[::1]/", "http://[fc00::1]/", "http://8.8.8.8:22/"] {
            assert_eq!(reach(&guard, url), None, "{url}");
        }
    }

    #[tokio::test]
    async fn a_server_that_was_granted_has_any_address_and_takes_no_others_with_it() {
        let granted = guard(&[]).granting("http://127.0.0.1:9870/x").unwrap();
        assert_eq!(reach(&granted, "http://127.0.0.1:9870/y"), Some(Reach::Own));
        // Its own address on another port, as a server of two parts has it.
        assert_eq!(reach(&granted, "http://127.0.0.1:9864/"), Some(Reach::Listed));
        for url in ["http://127.0.0.2:9870/", "http://10.0.0.1/", "http://169.254.169.254/", "http://u@127.0.0.1:9870/"]
        {
            assert_eq!(reach(&granted, url), None, "{url}");
        }
        assert_eq!(reach(&granted, "http://8.8.8.8/"), Some(Reach::Public));
        for url in ["", "x", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/"] {
            assert!(guard(&[]).granting(url).is_err(), "{url}");
        }
        let granted = guard(&[]).granting("https://store.example/").unwrap();
        assert_eq!(reach(&granted, "https://STORE.example:443/y"), Some(Reach::Own));
        assert_eq!(reach(&granted, "http://8.8.8.8/"), None, "not in the clear");
        // Where it lies is known when its name was looked up.
        let granted = guard(&[]).granting("http://localhost:1/").unwrap();
        assert!(granted.resolve("localhost", Reach::Listed).await.is_err());
        granted.resolve("localhost", Reach::Own).await.unwrap();
        assert!(granted.resolve("localhost", Reach::Listed).await.is_ok());
    }

    #[tokio::test]
    async fn names_are_judged_by_every_address_they_have() {
        assert!(guard(&[]).resolve("localhost", Reach::Public).await.is_err());
        assert!(guard(&[]).resolve("localhost", Reach::Listed).await.is_err());
        let listed = guard(&["127.0.0.0/8", "::1/128"]);
        for reach in [Reach::Public, Reach::Listed] {
            let addresses = listed.resolve("localhost", reach).await.unwrap();
            assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        }
        let unknown = listed.resolve("no-such-name.invalid", Reach::Public).await;
        assert!(matches!(unknown, Err(Refusal::Unresolved { .. } | Refusal::NoNameService(_))), "{unknown:?}");
        assert!(matches!(guard(&[]).resolve("localhost", Reach::Public).await, Err(Refusal::Barred(_))));
    }
}
