//! A certificate that was given beforehand: the server has to have exactly this one. LXD's servers make their own, which
//! no authority vouches for, and a request that names such a server brings its certificate with the name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::certificate::Certificate;
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// Longest PEM that is read: a certificate with its chain has a tenth of this.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// The one certificate that a server may have. Neither its issuer nor the names in it matter: the server has this one, and it
/// is valid at the moment, or the connection is not made.
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
        let verifier = Verifier { pin: self.clone(), provider: Arc::clone(&provider) };
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
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() != self.pin.0.as_ref().as_ref() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        check_dates(end_entity, now).map(|()| ServerCertVerified::assertion()).map_err(Into::into)
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
