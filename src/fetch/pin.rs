//! A certificate that was given beforehand: the server has to have exactly this one. LXD's servers make their own, which
//! no authority vouches for, and a request that names such a server brings its certificate with the name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::error::{Error, Result};

/// Longest PEM that is read: a certificate with its chain has a tenth of this.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// The one certificate that a server may have. Neither who signed it nor for which names or until when matters: it is
/// this one, or the connection is not made.
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
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.pin.0.as_ref().as_ref() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
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
