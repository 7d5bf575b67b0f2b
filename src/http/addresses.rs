//! Addresses at which clients reach the listeners, for answers that tell clients to come back later or from elsewhere.

use std::net::{IpAddr, SocketAddr};

use super::tls::Tls;

/// Sources of the addresses. A machine gains and loses addresses while it runs, so they are read when needed.
#[derive(Debug, Clone, Default)]
pub struct Reachable {
    /// Addresses of the listeners.
    pub listeners: Vec<SocketAddr>,
    /// Names of the machine.
    pub names: Vec<String>,
    /// The address that clients use, from the configuration.
    pub public_url: String,
}

/// Addresses and certificate of the HTTPS listeners, as answers show them.
#[derive(Debug, Clone, Default)]
pub struct HttpsEndpoint {
    /// Addresses of the HTTPS listeners.
    pub reachable: Reachable,
    /// The certificate of these listeners, as PEM.
    pub certificate: String,
    /// SHA-256 of it in hexadecimal.
    pub fingerprint: String,
}

impl HttpsEndpoint {
    /// Creates the endpoint at these addresses, with this certificate.
    pub fn new(reachable: Reachable, tls: Option<&Tls>) -> Self {
        let (certificate, fingerprint) = tls.map(|tls| (tls.pem.clone(), tls.fingerprint.clone())).unwrap_or_default();
        Self { reachable, certificate, fingerprint }
    }
}

impl Reachable {
    /// Addresses (`host:port`) of the listeners, best first: the configured one if it is HTTPS, the machine's names,
    /// then its addresses. A listener on all addresses is reached at those that the machine has now.
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
        // A listener on every IPv6 address also listens on every IPv4 address.
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

/// Tells whether other machines can use an address. Link-local ones also need the name of an interface.
fn can_be_called(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// `host:port` of an HTTPS address.
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
