//! X.509 certificates, read: fingerprint, name, and the time in which each is valid. Knows no trust: a certificate that is
//! read and valid still stands for no client and no server.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode, Encode};
use x509_cert::time::Time;

use crate::digest::hex;
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;

/// Largest certificate, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// Longest PEM that is read: a certificate with its chain has a tenth of this.
const PEM_BYTES_MAX: usize = 64 << 10;

/// A certificate, read and found to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of it in hexadecimal.
    pub fingerprint: String,
    /// The certificate as PEM.
    pub pem: String,
    /// The name in it, if it has one.
    pub common_name: Option<String>,
    /// The organisation in it, if it has one.
    pub organisation: Option<String>,
    /// The time in which it is valid.
    pub validity: Validity,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// `Invalid` for bytes that are no certificate, or too many.
    pub fn read(der: &[u8]) -> Result<Self> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(Error::invalid(format!("A certificate has at most {CERTIFICATE_BYTES_MAX} bytes.")));
        }
        let wrong = |error| Error::invalid("This is no X.509 certificate.").because(error);
        let read = CertificateInner::<Raw>::from_der(der).map_err(wrong)?;
        let content = read.tbs_certificate();
        let subject = content.subject();
        let pem = encode_string("CERTIFICATE", LineEnding::LF, der);
        Ok(Self {
            fingerprint: hex(&Sha256::digest(der)),
            pem: pem.map_err(|error| Error::internal(error.to_string()))?,
            common_name: subject.common_name().ok().flatten().map(|name| name.value().into_owned()),
            organisation: subject.organization().ok().flatten().map(|name| name.value().into_owned()),
            validity: Validity {
                from: moment(content.validity().not_before),
                until: moment(content.validity().not_after),
            },
        })
    }

    /// Reads the first certificate in a PEM.
    ///
    /// # Errors
    /// `Invalid` for a text that has none.
    pub fn read_pem(pem: &str) -> Result<Self> {
        let wrong = || Error::invalid("This is no certificate in PEM.");
        if pem.len() > PEM_BYTES_MAX {
            return Err(wrong());
        }
        let der = CertificateDer::from_pem_slice(pem.as_bytes());
        Self::read(&der.map_err(|error| wrong().because(error.to_string()))?)
    }
}

/// The public key of a certificate, as its DER.
///
/// # Errors
/// `Invalid` for bytes that are no certificate.
pub fn public_key(der: &[u8]) -> Result<Vec<u8>> {
    let wrong = |error| Error::invalid("This is no X.509 certificate.").because(error);
    let read = CertificateInner::<Raw>::from_der(der).map_err(wrong)?;
    read.tbs_certificate().subject_public_key_info().to_der().map_err(wrong)
}

/// Certificates name moments to the second.
fn moment(time: Time) -> Timestamp {
    let micros = time.to_unix_duration().as_micros();
    Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// A time in which a certificate is valid, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

impl Validity {
    /// The validity of a certificate that can't be read: there is no moment in it.
    pub const NEVER: Self = Self { from: Timestamp(i64::MAX), until: Timestamp(i64::MIN) };

    /// Checks that a moment lies in it.
    ///
    /// # Errors
    /// `Invalid`, with a reason of its own before the begin and after the end.
    pub fn check(self, now: Timestamp) -> Result<()> {
        match () {
            () if self.until < now => Err(Reason::CertificateExpired.into()),
            () if now < self.from => Err(Reason::CertificateNotYetValid.into()),
            () => Ok(()),
        }
    }

    /// Tells if a moment lies in it.
    pub fn holds_at(self, now: Timestamp) -> bool {
        self.check(now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;
    use crate::error::Kind;

    /// 2026-11-30.
    const NOW: Timestamp = Timestamp(1_796_000_400_000_000);

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut described = CertificateParams::default();
        change(&mut described);
        described.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_its_names_and_its_dates() {
        let der = made(|it| {
            it.distinguished_name.push(DnType::CommonName, "root@laptop");
            it.distinguished_name.push(DnType::OrganizationName, "Lab");
            it.not_before = date_time_ymd(2026, 1, 1);
            it.not_after = date_time_ymd(2027, 1, 1);
        });
        let read = Certificate::read(&der).unwrap();
        assert_eq!((read.fingerprint.len(), read.common_name.as_deref()), (64, Some("root@laptop")));
        assert_eq!(read.organisation.as_deref(), Some("Lab"));
        let validity = Validity { from: Timestamp(1_767_225_600_000_000), until: Timestamp(1_798_761_600_000_000) };
        assert_eq!(read.validity, validity);
        assert!(read.pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert_eq!(Certificate::read_pem(&format!("a chain\n{}{}", read.pem, read.pem)).unwrap(), read);
        assert!(!public_key(&der).unwrap().is_empty());
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for wrong in [&b""[..], b"x", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &vec![0x30; CERTIFICATE_BYTES_MAX + 1]] {
            assert_eq!(Certificate::read(wrong).unwrap_err().kind(), Kind::Invalid);
            assert!(public_key(wrong).is_err());
        }
        for wrong in ["", "x", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &"x".repeat(1 << 20)] {
            assert_eq!(Certificate::read_pem(wrong).unwrap_err().kind(), Kind::Invalid);
        }
    }

    #[test]
    fn both_ends_belong_to_the_time_in_which_a_certificate_is_valid() {
        let (second, validity) = (1_000_000, Validity { from: NOW, until: Timestamp(NOW.0 + 5_000_000) });
        let reason = |at: i64| validity.check(Timestamp(NOW.0 + at)).err().map(|error| error.reason());
        assert_eq!(reason(-1), Some(Reason::CertificateNotYetValid));
        assert_eq!((reason(0), reason(second), reason(5 * second)), (None, None, None));
        assert_eq!(reason(5 * second + 1), Some(Reason::CertificateExpired));
        assert!(!Validity::NEVER.holds_at(NOW) && !Validity::NEVER.holds_at(Timestamp(i64::MAX)));
    }

    #[test]
    fn dates_beyond_what_fits_are_the_last_moment() {
        let read = Certificate::read(&made(|it| it.not_after = date_time_ymd(9999, 12, 31))).unwrap();
        assert!(read.validity.holds_at(NOW));
    }
}
