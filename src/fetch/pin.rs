//! A certificate that was given beforehand: the server has to have exactly this one, or one that it signed. LXD's servers make
//! their own, which no authority vouches for, or have one of their cluster's authority; a request that names such a server
//! brings the certificate with the name.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::certificate::Certificate;
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// Longest PEM that is read: a certificate with its chain has a tenth of this.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// The certificate that a server has to have, or that of the authority that signed the server's. Either has to be valid at the
/// moment. The names in the server's own do not matter; one that is signed has to be for the server's name.
#[derive(Clone)]
pub struct Pin(Arc<CertificateDer<'static>>);

impl Pin {
    /// The first certificate in a PEM, which is the server's own where a chain follows.
    ///
    /// # Errors
    /// `Invalid` when there is none.
    pub fn of_pem(pem: &str) -> Result<Self> {
        let bad = || Error::invalid("The server's certificate is not a certificate in PEM.");
        if pem.len() > PEM_BYTES_MAX {
            return Err(bad());
        }
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| bad().because(error.to_string()))?;
        Ok(Self(Arc::new(certificate)))
    }

    /// The TLS configuration for the server that has it.
    pub(super) fn config(&self) -> std::result::Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(self.clone(), Arc::clone(&provider));
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth())
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin")
    }
}

/// Checks that a certificate is valid at the moment: one that was given once is not trusted for ever.
fn check_dates(der: &[u8], now: UnixTime) -> std::result::Result<(), CertificateError> {
    let read = Certificate::read(der).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    read.validity.check(Timestamp(now)).map_err(|error| match error.reason() {
        Reason::CertificateNotYetValid => CertificateError::NotValidYet,
        _ => CertificateError::Expired,
    })
}

#[derive(Debug)]
struct Verifier {
    pin: Pin,
    /// Checks certificates that are signed by the pinned one. `None` if that can sign none.
    signed: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        let is_root = roots.add(pin.0.as_ref().clone()).is_ok();
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let signed = builder.build().ok().filter(|_| is_root);
        Self { pin, signed, provider }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.pin.0.as_ref().as_ref() {
            check_dates(end_entity, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &self.signed {
            Some(signed) => signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    // A certificate alone proves nothing; these two check that the server also has its key.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    /// An authority, and a certificate for this name that it signed until this year.
    fn signed(name: &str, until: i32) -> (Certificate, Certificate) {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(authority, key)).unwrap();
        (root, leaf)
    }

    fn accepts(pinned: &Certificate, shown: &Certificate, host: &str) -> bool {
        let verifier = Verifier::new(Pin::of_pem(&pinned.pem()).unwrap(), Arc::new(ring::default_provider()));
        let host = ServerName::try_from(host).unwrap();
        verifier.verify_server_cert(shown.der(), &[], &host, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn the_servers_own_certificate_or_its_authoritys() {
        let (root, leaf) = signed("127.0.0.1", 4000);
        let (other_root, other) = signed("127.0.0.1", 4000);
        assert!(accepts(&leaf, &leaf, "another.example") && accepts(&root, &leaf, "127.0.0.1"));
        assert!(!accepts(&root, &other, "127.0.0.1") && !accepts(&other_root, &leaf, "127.0.0.1"));
        assert!(!accepts(&leaf, &root, "127.0.0.1") && !accepts(&leaf, &other, "127.0.0.1"));
    }

    #[test]
    fn one_that_is_signed_is_for_its_name_and_time() {
        let (root, leaf) = signed("lxd.example", 4000);
        assert!(accepts(&root, &leaf, "lxd.example") && !accepts(&root, &leaf, "other.example"));
        let (root, leaf) = signed("lxd.example", 2001);
        assert!(!accepts(&root, &leaf, "lxd.example"));
    }
}
