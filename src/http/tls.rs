//! The certificate that visor makes for itself, and the TLS settings around it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::guard::machine_name;
use crate::image::digest::hex;

/// TLS settings, and the certificate's fingerprint for people to compare.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For the listener.
    pub config: ServerConfig,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
}

/// Reads the certificate in `keys`, or makes one for `localhost`, this machine's name, `names` and `addresses`. Once
/// made it stays, because clients remember it.
///
/// # Errors
/// The directory can't be used, or what is in it is no certificate.
pub fn open(keys: &Path, names: &[String], addresses: &[SocketAddr]) -> io::Result<Tls> {
    let (certificate, key) = (keys.join("tls.crt"), keys.join("tls.key"));
    if !certificate.exists() || !key.exists() {
        make(keys, &certificate, &key, names, addresses)?;
    }
    let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", certificate.display()));
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&certificate).and_then(Iterator::collect).map_err(|error| named(&error))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| named(&error))?;
    let fingerprint = chain.first().map(|first| hex(&Sha256::digest(first))).unwrap_or_default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| named(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| named(&error))?;
    Ok(Tls { config, fingerprint })
}

fn make(keys: &Path, certificate: &Path, key: &Path, names: &[String], addresses: &[SocketAddr]) -> io::Result<()> {
    let mut subjects = vec!["localhost".to_owned(), machine_name(), "127.0.0.1".to_owned(), "::1".to_owned()];
    subjects.extend(names.iter().cloned());
    subjects.extend(addresses.iter().map(|a| a.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    subjects.retain(|name| !name.is_empty());
    subjects.sort();
    subjects.dedup();
    let made = rcgen::generate_simple_self_signed(subjects).map_err(io::Error::other)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(keys)?;
    // The key first: a certificate without one would never be replaced.
    write_new(key, &made.signing_key.serialize_pem())?;
    write_new(certificate, &made.cert.pem())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), &["visor.lab".into()], &[]).unwrap();
        let second = open(dir.path(), &[], &[]).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.fingerprint.len(), 64);
    }
}
