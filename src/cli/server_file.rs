//! The file by which commands find the server that has a data directory: its addresses, while it runs.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Content of the file.
#[derive(Serialize, Deserialize)]
struct Running {
    urls: Vec<String>,
    /// File with the certificate of the HTTPS ones.
    certificate: Option<PathBuf>,
}

/// Way to a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RunningServer {
    pub(super) url: String,
    /// File with its certificate, of one with HTTPS only.
    pub(super) certificate: Option<PathBuf>,
}

fn place(data_dir: &Path) -> PathBuf {
    data_dir.join("server.json")
}

/// Says where a server can be reached. Called by the holder of the directory's lock, and so is [`remove`].
///
/// # Errors
/// The file can't be written.
pub(super) fn write(data_dir: &Path, urls: &[String], certificate: Option<&Path>) -> io::Result<()> {
    let mut aside = tempfile::NamedTempFile::new_in(data_dir)?;
    let urls = urls.iter().map(|url| from_here(url)).collect();
    serde_json::to_writer(&mut aside, &Running { urls, certificate: certificate.map(Path::to_owned) })?;
    aside.persist(place(data_dir))?;
    Ok(())
}

/// URL of a listener as a program on this machine can use it: one that listens everywhere is asked at the loopback address.
fn from_here(url: &str) -> String {
    let read = || {
        let (scheme, address) = url.split_once("://")?;
        let mut address: SocketAddr = address.parse().ok()?;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        Some(format!("{scheme}://{address}"))
    };
    read().unwrap_or_else(|| url.to_owned())
}

/// Takes the word back: nothing serves the directory, or not any more.
pub(super) fn remove(data_dir: &Path) {
    match std::fs::remove_file(place(data_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("{} can't be removed: {error}", place(data_dir).display());
        }
        _ => {}
    }
}

/// Way to the server that has the directory; plain HTTP, if it has that. `None` while its holder is no server.
pub(super) fn read(data_dir: &Path) -> Option<RunningServer> {
    let text = std::fs::read(place(data_dir)).ok()?;
    let Running { urls, certificate } = serde_json::from_slice(&text).ok()?;
    let is_plain = |url: &&String| url.starts_with("http://");
    let plain = urls.iter().find(is_plain);
    let certificate = certificate.filter(|_| plain.is_none());
    Some(RunningServer { url: plain.or(urls.first())?.clone(), certificate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let certificate = Path::new("/keys/server.crt");
        let way = |url: &str, certificate: Option<&Path>| {
            Some(RunningServer { url: url.to_owned(), certificate: certificate.map(Path::to_owned) })
        };
        for (urls, expected) in [
            (["https://[::1]:2", "http://127.0.0.1:1"], way("http://127.0.0.1:1", None)),
            (["https://[::1]:2", "https://h:3"], way("https://[::1]:2", Some(certificate))),
            (["http://0.0.0.0:1", "https://[::1]:2"], way("http://127.0.0.1:1", None)),
            (["https://[::]:2", "https://h:3"], way("https://[::1]:2", Some(certificate))),
        ] {
            write(dir.path(), &urls.map(str::to_owned), Some(certificate)).unwrap();
            assert_eq!(read(dir.path()), expected);
        }
        remove(dir.path());
        remove(dir.path());
        assert_eq!(read(dir.path()), None);
    }
}
