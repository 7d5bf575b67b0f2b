//! LXD as a peer: a daemon of its own directory, and a client that speaks to it and to Visor alike, over TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use serde_json::Value;

/// A daemon of LXD's, as root and without systemd. Ended by its own id when dropped.
pub struct Daemon {
    child: Child,
    dir: PathBuf,
    pub address: SocketAddr,
}

impl Daemon {
    /// `None` if there is none here, or it can't be run.
    pub fn start(root: &Path, identity: &Identity) -> Option<Self> {
        let dir = root.join("lxd");
        std::fs::create_dir_all(&dir).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(root.join("lxd.log")).unwrap();
        let child = Command::new("lxd")
            .args(["--group", "root"])
            .env("LXD_DIR", &dir)
            .env("HOME", root)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .ok()?;
        let daemon = Self { child, dir, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        daemon.run("lxd", &["waitready", "--timeout", "60"])?;
        daemon.run("lxc", &["config", "set", "core.https_address", &daemon.address.to_string()])?;
        let certificate = root.join("bench.crt");
        std::fs::write(&certificate, &identity.pem).unwrap();
        daemon.run("lxc", &["config", "trust", "add", certificate.to_str().unwrap()])?;
        Some(daemon)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Option<()> {
        let root = self.dir.parent().unwrap();
        let mut command = Command::new(program);
        let command = command.args(arguments).env("LXD_DIR", &self.dir).env("HOME", root).env("LXD_CONF", root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?.success().then_some(())
    }

    /// Puts images into its database, as many as it should have: importing them would take an hour.
    pub fn fill(&self, from: usize, to: usize) {
        for batch in (from..to).collect::<Vec<_>>().chunks(100) {
            let rows: Vec<String> = batch
                .iter()
                .map(|n| {
                    format!("('{n:064x}','',1000,1,2,'2023-11-14','2026-01-01','2040-01-01',0,'2026-01-01',0,1,0)")
                })
                .collect();
            let images = format!(
                "INSERT INTO images (fingerprint,filename,size,public,architecture,creation_date,upload_date,expiry_date,\
                 cached,last_use_date,auto_update,project_id,type) VALUES {}",
                rows.join(",")
            );
            self.run("lxd", &["sql", "global", &images]).expect("lxd takes no images");
            let low = format!("{:064x}", batch[0]);
            let properties = format!(
                "INSERT INTO images_properties (image_id,type,key,value) SELECT id,0,'description','Debian trixie amd64' \
                 FROM images WHERE fingerprint >= '{low}' UNION ALL SELECT id,0,'os','Debian' FROM images WHERE \
                 fingerprint >= '{low}'"
            );
            self.run("lxd", &["sql", "global", &properties]).expect("lxd takes no properties");
        }
    }

    /// Processor seconds used so far.
    pub fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.run("lxd", &["shutdown", "--timeout", "20"]);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client's certificate.
pub struct Identity {
    der: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
}

impl Identity {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["bench".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { der: made.der().clone(), key: key.serialize_der(), pem: made.pem() }
    }

    /// Settings for connections: any server will do, this is a benchmark.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
        let key = PrivatePkcs8KeyDer::from(self.key.clone()).into();
        Arc::new(config.with_client_auth_cert(vec![self.der.clone()], key).unwrap())
    }
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A kept connection over TLS.
pub struct Secure(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Secure {
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let session = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
        Self(BufReader::with_capacity(256 << 10, StreamOwned::new(session, socket)))
    }

    /// Sends a request and then `body`, as often as it takes to be `length` bytes.
    pub fn send(&mut self, head: &str, first: &[u8], body: &[u8], length: usize) {
        let text = format!("{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", first.len() + length);
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(first).unwrap();
        let mut left = length;
        while left > 0 {
            let piece = left.min(body.len());
            stream.write_all(&body[..piece]).unwrap();
            left -= piece;
        }
        stream.flush().unwrap();
    }

    /// Reads an answer that is a yes and counts its bytes; what they are is for `keep`.
    fn read(&mut self, keep: impl FnMut(&[u8])) -> usize {
        let (status, length) = self.read_any(keep);
        assert!(status.contains(" 20"), "{status}");
        length
    }

    /// The same for any answer, with its status line.
    fn read_any(&mut self, mut keep: impl FnMut(&[u8])) -> (String, usize) {
        let (mut status, mut line) = (String::new(), String::new());
        self.0.read_line(&mut status).unwrap();
        let mut length = Some(0);
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = Some(value.parse().unwrap()),
                Some(("transfer-encoding", _)) => length = None,
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        if let Some(length) = length {
            self.take(length, &mut keep);
            return (status, length);
        }
        let mut total = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            self.take(length, &mut keep);
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if length == 0 {
                return (status, total);
            }
            total += length;
        }
    }

    fn take(&mut self, mut left: usize, keep: &mut impl FnMut(&[u8])) {
        while left > 0 {
            let there = self.0.fill_buf().unwrap();
            assert!(!there.is_empty(), "the server closed {left} bytes early");
            let taken = there.len().min(left);
            keep(&there[..taken]);
            self.0.consume(taken);
            left -= taken;
        }
    }

    pub fn get(&mut self, path: &str) -> usize {
        self.send(&format!("GET {path}"), b"", b"", 0);
        self.read(|_| {})
    }

    /// The same from a server that may be too busy. Nothing then.
    pub fn try_get(&mut self, path: &str) -> Option<usize> {
        self.send(&format!("GET {path}"), b"", b"", 0);
        let (status, length) = self.read_any(|_| {});
        status.contains(" 20").then_some(length)
    }

    pub fn json(&mut self) -> Value {
        let mut text = Vec::new();
        self.read(|bytes| text.extend_from_slice(bytes));
        serde_json::from_slice(&text).unwrap()
    }

    /// Waits for the operation of the last answer, and returns what it says.
    pub fn operation(&mut self) -> Value {
        let path = self.json()["operation"].as_str().unwrap().to_owned();
        self.send(&format!("GET {path}/wait"), b"", b"", 0);
        let ended = self.json()["metadata"].clone();
        assert_eq!(ended["status_code"], 200, "{ended}");
        ended["metadata"].clone()
    }
}

/// Waits until something listens.
pub fn wait_for(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing listens at {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
