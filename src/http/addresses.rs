//! Under which addresses clients can reach the listeners, for what tells clients to come back later or from elsewhere.

use std::net::{IpAddr, SocketAddr};

use super::tls::Tls;

/// What the addresses follow from. A machine gets and loses some while it runs, so they are asked for when they are needed.
#[derive(Debug, Clone, Default)]
pub struct Reachable {
    /// Where the server listens.
    pub listeners: Vec<SocketAddr>,
    /// What the machine is called.
    pub names: Vec<String>,
    /// Where the operator says that clients call.
    pub public_url: String,
}

/// Addresses and certificate of the HTTPS listeners, as clients are told about them.
#[derive(Debug, Clone, Default)]
pub struct HttpsEndpoint {
    /// The addresses by which the server is reached by HTTPS.
    pub reachable: Reachable,
    /// The certificate that it shows there, as PEM.
    pub certificate: String,
    /// SHA-256 of it in hexadecimal.
    pub fingerprint: String,
}

impl HttpsEndpoint {
    /// The endpoint of a server that is reached there, and shows this certificate.
    pub fn new(reachable: Reachable, tls: Option<&Tls>) -> Self {
        let (certificate, fingerprint) = tls.map(|tls| (tls.pem.clone(), tls.fingerprint.clone())).unwrap_or_default();
        Self { reachable, certificate, fingerprint }
    }
}

impl Reachable {
    /// Addresses (`host:port`) that lead to the listeners, best first: the one that the operator says clients call, if it is
    /// HTTPS, the machine's names, then its addresses. A listener on every address is reached on those that the machine has now.
    pub fn now(&self) -> Vec<String> {
        resolve(self, || if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect())
    }
}

fn resolve(Reachable { listeners, names, public_url }: &Reachable, own: impl Fn() -> Vec<IpAddr>) -> Vec<String> {
    let mut found: Vec<String> = authority(public_url).into_iter().collect();
    for listener in listeners.iter().filter(|listener| !listener.ip().is_loopback()) {
        found.extend(names.iter().map(|name| format!("{name}:{}", listener.port())));
    }
    for listener in listeners {
        let at = |ip: IpAddr| SocketAddr::new(ip, listener.port()).to_string();
        if !listener.ip().is_unspecified() {
            found.push(at(listener.ip()));
            continue;
        }
        // Whoever listens on every IPv6 address listens on every other as well.
        let reached = |ip: &IpAddr| can_be_called(*ip) && (ip.is_ipv4() || listener.is_ipv6());
        let before = found.len();
        found.extend(own().into_iter().filter(reached).map(at));
        if found.len() == before {
            found.push(at(IpAddr::from([127, 0, 0, 1])));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|address| seen.insert(address.clone()));
    found
}

/// Whether an address leads here from elsewhere: link-local ones need to be told through which interface.
fn can_be_called(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// `host:port` of an address of HTTPS.
fn authority(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { authority.to_owned() } else { format!("{authority}:443") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_where_they_can_come() {
        let names = vec!["visor.lab".to_owned()];
        let own = || {
            ["127.0.0.1", "::1", "10.0.0.5", "169.254.1.1", "fe80::1", "2001:db8::5"]
                .map(|ip| ip.parse().unwrap())
                .into()
        };
        for (listeners, public, expected) in [
            (&["127.0.0.1:8443"][..], "", &["127.0.0.1:8443"][..]),
            (&["10.0.0.5:8443"], "", &["visor.lab:8443", "10.0.0.5:8443"]),
            (&["0.0.0.0:8443"], "", &["visor.lab:8443", "10.0.0.5:8443"]),
            (&["[::]:8443"], "", &["visor.lab:8443", "10.0.0.5:8443", "[2001:db8::5]:8443"]),
            (&["127.0.0.1:8443", "[::1]:8443"], "", &["127.0.0.1:8443", "[::1]:8443"]),
            (&["127.0.0.1:8443"], "https://img.example", &["img.example:443", "127.0.0.1:8443"]),
            (&["127.0.0.1:8443"], "https://[2001:db8::1]/x", &["[2001:db8::1]:443", "127.0.0.1:8443"]),
            (&["127.0.0.1:1"], "https://img.example:1443/visor", &["img.example:1443", "127.0.0.1:1"]),
            (&["127.0.0.1:8443"], "http://img.example", &["127.0.0.1:8443"]),
            (&[], "", &[]),
        ] {
            let listeners = listeners.iter().map(|text| text.parse().unwrap()).collect();
            let reachable = Reachable { listeners, names: names.clone(), public_url: public.to_owned() };
            assert_eq!(resolve(&reachable, own), expected, "{reachable:?}");
        }
        let everywhere = everywhere();
        let nowhere = resolve(&everywhere, Vec::new);
        assert_eq!(nowhere, ["127.0.0.1:8443"], "a machine without a network reaches itself");
        assert_eq!(resolve(&everywhere, own), ["10.0.0.5:8443"], "it may get one later");
    }

    fn everywhere() -> Reachable {
        Reachable { listeners: vec!["0.0.0.0:8443".parse().unwrap()], ..Reachable::default() }
    }

    #[test]
    fn this_machine_has_addresses() {
        assert!(!everywhere().now().is_empty());
    }
}
