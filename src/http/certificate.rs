//! The certificate that the server makes at its first start. Later starts keep it, because clients remember it, until it has
//! expired: then no client accepts it, and a new one is made. A certificate of the operator's is never replaced.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::guard::machine_name;
use super::time::rfc_3339;
use crate::certificate::{Certificate, Validity};
use crate::image::Timestamp;

/// Years until the certificate expires.
const YEARS: i16 = 10;

/// Organisation in the certificates that the server makes.
const ORGANISATION: &str = "Visor";

/// Time before the end of a certificate in which the log warns of it.
const WARN_BEFORE_US: i64 = 60 * 86_400 * 1_000_000;

/// Longest common name that a certificate may have (RFC 5280, appendix A.1).
const COMMON_NAME_CHARS_MAX: usize = 64;

/// Paths of the certificate and its key.
#[derive(Debug)]
pub(super) struct KeyPairFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The end of the server's certificate, and the way to a new one.
#[derive(Debug, Clone)]
pub struct CertificateDates {
    file: PathBuf,
    self_made: bool,
    validity: Validity,
}

impl CertificateDates {
    pub(super) fn of(certificate: &Certificate, files: &KeyPairFiles) -> Self {
        let file = files.certificate.clone();
        Self { file, self_made: is_self_made(certificate), validity: certificate.validity }
    }

    /// A warning in words, if clients refuse the certificate now or soon.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let soon = Timestamp(now.0.saturating_add(WARN_BEFORE_US));
        if self.validity.holds_at(now) && self.validity.holds_at(soon) {
            return None;
        }
        let (verb, date) = match (self.validity.until < now, now < self.validity.from) {
            (true, _) => ("expired on", self.validity.until),
            (false, true) => ("is not valid before", self.validity.from),
            (false, false) => ("expires on", self.validity.until),
        };
        let file = self.file.display();
        let remedy = match self.self_made {
            true => "remove this file and start the server again to get a new one, which clients then have to accept",
            false => "put a new certificate and its key in place of this file and tls.key, and start the server again",
        };
        let date = rfc_3339(date).unwrap_or_default();
        Some(format!("the server's certificate {file} {verb} {date}: {remedy}"))
    }
}

fn is_self_made(certificate: &Certificate) -> bool {
    let name = certificate.common_name.as_deref().unwrap_or_default();
    certificate.organisation.as_deref() == Some(ORGANISATION) && name.starts_with("visor@")
}

/// Tells if there is a certificate that the server made, and that is past its end.
fn has_expired(certificate: &Path, now: Timestamp) -> bool {
    let text = std::fs::read_to_string(certificate).unwrap_or_default();
    Certificate::read_pem(&text).is_ok_and(|read| is_self_made(&read) && read.validity.until < now)
}

/// Finds the certificate in `keys`, or makes one for `localhost`, this machine's name, `names` and `addresses`.
///
/// # Errors
/// The directory can't be used.
pub(super) fn find_or_make(
    keys: &Path,
    names: &[String],
    addresses: &[SocketAddr],
    now: Timestamp,
) -> io::Result<KeyPairFiles> {
    let files = KeyPairFiles { certificate: keys.join("tls.crt"), key: keys.join("tls.key") };
    let there = || files.certificate.exists() && files.key.exists() && !has_expired(&files.certificate, now);
    if !there() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(keys)?;
        // A starting server and a command that needs the certificate must not each make half of it.
        let lock = File::options().write(true).create(true).truncate(true).mode(0o600).open(keys.join("tls.lock"))?;
        lock.lock()?;
        if !there() {
            if has_expired(&files.certificate, now) {
                log::warn!("the server's certificate has expired: a new one is made, which clients have to accept");
            }
            make(&files, names, addresses, now)?;
        }
    }
    Ok(files)
}

fn make(files: &KeyPairFiles, names: &[String], addresses: &[SocketAddr], now: Timestamp) -> io::Result<()> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let made = describe(names, addresses, now)?.self_signed(&key).map_err(io::Error::other)?;
    // The key is written first, without an old certificate beside it: an incomplete pair is made again.
    match std::fs::remove_file(&files.certificate) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write(&files.key, &key.serialize_pem())?;
    write(&files.certificate, &made.pem())
}

/// Builds the content of the certificate.
fn describe(names: &[String], addresses: &[SocketAddr], now: Timestamp) -> io::Result<CertificateParams> {
    // Clients written in Go ask for the first name, whatever they connect to, so every TLS library must accept it.
    let mut subjects = vec!["localhost".to_owned()];
    let ours = [machine_name()].into_iter().chain(names.iter().cloned());
    subjects.extend(ours.filter(|name| is_host_name(name)));
    subjects.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    subjects.extend(addresses.iter().map(|a| a.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    let mut seen = std::collections::BTreeSet::new();
    subjects.retain(|name| seen.insert(name.clone()));

    let mut certificate = CertificateParams::new(subjects).map_err(io::Error::other)?;
    let name: String = format!("visor@{}", machine_name()).chars().take(COMMON_NAME_CHARS_MAX).collect();
    certificate.distinguished_name = DistinguishedName::new();
    certificate.distinguished_name.push(DnType::OrganizationName, ORGANISATION);
    certificate.distinguished_name.push(DnType::CommonName, name);
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = jiff::Timestamp::from_microsecond(now.0).map_err(io::Error::other)?.to_zoned(jiff::tz::TimeZone::UTC);
    // The clocks of clients may be a little behind.
    let begin = today.date().yesterday().map_err(io::Error::other)?;
    // The first of a month exists in every year.
    let end = (today.year().saturating_add(YEARS), today.month());
    let part = |number: i8| u8::try_from(number).map_err(io::Error::other);
    certificate.not_before = date_time_ymd(begin.year().into(), part(begin.month())?, part(begin.day())?);
    certificate.not_after = date_time_ymd(end.0.into(), part(end.1)?, 1);
    Ok(certificate)
}

/// Tells whether a name can stand in a certificate and be asked for in a handshake.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Writes a file for its owner only, under another name, and renames it when it is whole: half a key would never be
/// replaced.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new().prefix(".tls").tempfile_in(dir)?;
    aside.write_all(text.as_bytes())?;
    aside.as_file().sync_all()?;
    aside.persist(path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::SanType;

    use super::*;

    /// 2026-02-28.
    const NOW: Timestamp = Timestamp(1_772_280_000_000_000);

    #[test]
    fn it_is_made_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let files = find_or_make(&keys, &["visor.lab".into()], &[], NOW).unwrap();
        let read = || [&files.certificate, &files.key].map(|path| std::fs::read(path).unwrap());
        let first = read();
        find_or_make(&keys, &[], &[], NOW).unwrap();
        assert_eq!(first, read());
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_that_has_expired_is_made_again_and_an_operators_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let files = find_or_make(dir.path(), &[], &[], NOW).unwrap();
        let read = || Certificate::read_pem(&std::fs::read_to_string(&files.certificate).unwrap()).unwrap();
        let (first, day) = (read(), 86_400 * 1_000_000);
        let end = first.validity.until;
        let warned = |at: i64| CertificateDates::of(&read(), &files).warning(Timestamp(at));
        assert_eq!(warned(NOW.0), None);
        assert_eq!(warned(end.0 - WARN_BEFORE_US - day), None);
        let soon = warned(end.0 - 30 * day).unwrap();
        assert!(soon.contains("tls.crt expires on 2036-02-01") && soon.contains("remove this file"), "{soon}");
        assert!(warned(end.0 + day).unwrap().contains("expired on 2036-02-01"));
        assert!(warned(0).unwrap().contains("is not valid before 2026-02-27"));

        find_or_make(dir.path(), &[], &[], end).unwrap();
        assert_eq!(read(), first, "clients still accept it");
        find_or_make(dir.path(), &[], &[], Timestamp(end.0 + 1)).unwrap();
        assert!(read().fingerprint != first.fingerprint && read().validity.until > end);

        let mut given = CertificateParams::new(["lab".to_owned()]).unwrap();
        given.not_after = date_time_ymd(2001, 1, 1);
        let key = KeyPair::generate().unwrap();
        std::fs::write(&files.certificate, given.self_signed(&key).unwrap().pem()).unwrap();
        let given = read();
        find_or_make(dir.path(), &[], &[], NOW).unwrap();
        assert_eq!(read(), given);
        assert!(warned(NOW.0).unwrap().contains("put a new certificate and its key in place of this file"));
    }

    #[test]
    fn what_a_crash_left_is_made_again_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let files = find_or_make(dir.path(), &[], &[], NOW).unwrap();
        let read = || [&files.certificate, &files.key].map(|path| std::fs::read_to_string(path).unwrap());
        for gone in [&files.certificate, &files.key] {
            let before = read();
            std::fs::remove_file(gone).unwrap();
            find_or_make(dir.path(), &[], &[], NOW).unwrap();
            let after = read();
            assert!(before.iter().zip(&after).all(|(before, after)| before != after), "the two belong together");
            assert!(after.iter().all(|text| text.ends_with("-----\n")));
        }
        // The file is never overwritten in place: a reader that has it open reads the old content to the end.
        let open = File::open(&files.key).unwrap();
        write(&files.key, "x").unwrap();
        let [_, key] = read();
        assert_eq!((std::io::read_to_string(open).unwrap().len() > 1, key.as_str()), (true, "x"));
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "nothing lies aside: {names:?}");
    }

    #[test]
    fn it_says_what_clients_look_for() {
        let addresses = ["10.1.2.3:8443".parse().unwrap(), "0.0.0.0:8443".parse().unwrap()];
        let names = ["visor.lab".to_owned(), "bad_name".to_owned(), "ünïcode".to_owned(), "localhost".to_owned()];
        let made = describe(&names, &addresses, NOW).unwrap();
        assert!(matches!(&made.subject_alt_names[0], SanType::DnsName(name) if name.as_str() == "localhost"));
        let names: Vec<&str> = made
            .subject_alt_names
            .iter()
            .filter_map(|name| match name {
                SanType::DnsName(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(names.iter().filter(|name| **name == "localhost").count(), 1);
        assert!(names.contains(&"visor.lab") && !names.contains(&"bad_name"), "{names:?}");
        for ip in ["127.0.0.1", "::1", "10.1.2.3"] {
            assert!(made.subject_alt_names.contains(&SanType::IpAddress(ip.parse().unwrap())), "{ip}");
        }
        assert!(!made.subject_alt_names.contains(&SanType::IpAddress("0.0.0.0".parse().unwrap())));
        assert_eq!((made.not_before, made.not_after), (date_time_ymd(2026, 2, 27), date_time_ymd(2036, 2, 1)));
        assert_eq!(made.extended_key_usages, [ExtendedKeyUsagePurpose::ServerAuth]);
    }
}
