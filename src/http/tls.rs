//! The TLS settings of the listeners, and the client's certificate from a handshake.
//!
//! The meaning of a certificate is decided elsewhere.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

pub use super::certificate::CertificateDates;
use super::certificate::find_or_make;
use crate::certificate::{Certificate, public_key};
use crate::image::Timestamp;

/// Maximum size of a client's certificate or chain: it stays in memory as long as the connection.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// TLS settings, and the certificate that clients remember.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Settings of the listeners.
    pub config: ServerConfig,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
    /// File of the certificate.
    pub file: PathBuf,
    /// The certificate as PEM, without the rest of its file.
    pub pem: String,
    /// The end of the certificate, to warn of.
    pub dates: CertificateDates,
}

/// Reads the certificate in `keys`, or makes one for `localhost`, this machine's name, `names` and `addresses`. Later
/// starts keep it as long as it is valid, because clients remember it.
///
/// # Errors
/// The directory is unusable, or its file has no certificate.
pub fn open(keys: &Path, names: &[String], addresses: &[SocketAddr], now: Timestamp) -> io::Result<Tls> {
    let files = find_or_make(keys, names, addresses, now)?;
    let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", files.certificate.display()));
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect).map_err(|error| named(&error))?;
    let private = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| named(&error))?;
    let first = chain.first().ok_or_else(|| named(&"there is no certificate in it"))?;
    let own = Certificate::read(first).map_err(|error| named(&error))?;
    let provider = Arc::new(ring::default_provider());
    let anyone = AnyClient(provider.signature_verification_algorithms);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| named(&error))?
        .with_client_cert_verifier(Arc::new(anyone))
        .with_single_cert(chain, private)
        .map_err(|error| named(&error))?;
    let dates = CertificateDates::of(&own, &files);
    Ok(Tls { config, fingerprint: own.fingerprint, pem: own.pem, dates, file: files.certificate })
}

/// Reads the first certificate in a PEM file, as DER.
///
/// # Errors
/// The file has none; the text names the file.
pub fn first_certificate(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let first = CertificateDer::from_pem_file(path).map_err(|error| named(&error))?;
    Ok(first.to_vec())
}

/// Accepts every client with the key of its certificate, and every client without a certificate.
///
/// rustls calls this dangerous, and it would be where acceptance gives rights. Here it gives none: LXD's clients make
/// their own certificates, so no chain leads anywhere, and a client with an unknown certificate must be able to ask for
/// trust. The proof that the client has the key counts; its account is looked up for each request by the fingerprint.
#[derive(Debug)]
struct AnyClient(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// There is no hint: with one, clients would withhold their certificates.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if shown.len() + others.iter().map(|other| other.len()).sum::<usize>() > SHOWN_BYTES_MAX {
            return Err(CertificateError::BadEncoding.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signature, &self.0)
    }

    /// Verifies by the key alone. rustls's own verification refuses certificates of version 1 and those with an unknown
    /// extension, neither of which matters here.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(shown).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::digest::hex;

    const NOW: Timestamp = Timestamp(1_772_280_000_000_000);

    #[test]
    fn the_certificate_stays_and_is_told_without_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), &["visor.lab".into()], &[], NOW).unwrap();
        let second = open(dir.path(), &[], &[], NOW).unwrap();
        assert_eq!((&first.fingerprint, &first.pem), (&second.fingerprint, &second.pem));
        let file = dir.path().join("tls.crt");
        assert_eq!(first.pem, std::fs::read_to_string(&file).unwrap());
        assert_eq!(first.fingerprint, hex(&Sha256::digest(first_certificate(&file).unwrap())));
        assert!(first_certificate(&dir.path().join("tls.key")).is_err());
    }

    #[test]
    fn one_of_an_earlier_version_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let old = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("tls.crt"), old.cert.pem()).unwrap();
        std::fs::write(dir.path().join("tls.key"), old.signing_key.serialize_pem()).unwrap();
        assert_eq!(open(dir.path(), &[], &[], NOW).unwrap().fingerprint, hex(&Sha256::digest(old.cert.der())));
    }

    #[test]
    fn more_than_a_certificate_is_refused() {
        let anyone = AnyClient(ring::default_provider().signature_verification_algorithms);
        let of = |bytes: usize| CertificateDer::from(vec![0; bytes]);
        let shown = |bytes, more: &[usize]| {
            let more: Vec<_> = more.iter().map(|bytes| of(*bytes)).collect();
            anyone.verify_client_cert(&of(bytes), &more, UnixTime::since_unix_epoch(std::time::Duration::ZERO)).is_ok()
        };
        assert!(shown(1000, &[]) && shown(SHOWN_BYTES_MAX / 2, &[SHOWN_BYTES_MAX / 2]));
        assert!(!shown(SHOWN_BYTES_MAX + 1, &[]) && !shown(SHOWN_BYTES_MAX, &[1]));
    }
}
