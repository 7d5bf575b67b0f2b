//! Servers for tests, on 127.0.0.1: they say what a script says, over TLS if they have a certificate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// In an answer of a fake: is not sent, and the connection is not closed afterwards.
pub(crate) const HOLD: &str = "\0";

/// The answer of a fake.
pub(crate) enum Say {
    /// These bytes, and then nothing more.
    Bytes(Vec<u8>),
    /// These bytes, and then the next request of the same connection.
    Keep(Vec<u8>),
    /// These bytes, and then silence until the other side leaves.
    Hold(Vec<u8>),
    /// The first, and then the second over and over until the other side leaves.
    Endless(Vec<u8>, Vec<u8>),
    /// `Endless` with a pause before each repetition.
    Dripping(Vec<u8>, Vec<u8>),
}

/// An answer with these headers (each ending in `\r\n`) and a body of its length.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Say {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Say::Bytes(bytes)
}

/// A request to a fake.
#[derive(Clone)]
pub(crate) struct Asked {
    /// Request line and headers, as they came.
    pub(crate) head: String,
    /// The body, without the marks of chunks.
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A certificate for a fake, in PEM, and what a server needs to show it.
pub(crate) fn certificate() -> (String, Arc<rustls::ServerConfig>) {
    certificate_for("fake")
}

/// Certificate for a fake of this name.
pub(crate) fn certificate_for(name: &str) -> (String, Arc<rustls::ServerConfig>) {
    certificate_with(&rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap())
}

/// Certificate for a fake that is described in full.
pub(crate) fn certificate_with(described: &rcgen::CertificateParams) -> (String, Arc<rustls::ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = described.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .unwrap();
    (made.pem(), Arc::new(config))
}

/// A listener that takes no connection, since its queue is full of these.
pub(crate) async fn black_hole() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (address, patience, mut queued) = (listener.local_addr().unwrap(), Duration::from_secs(2), Vec::new());
    while let Ok(stream) = tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    (listener, queued)
}

trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

/// A server that answers every connection by script and counts them.
pub(crate) struct Fake {
    scheme: &'static str,
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// `answer` gets what is asked and says what to send.
    pub(crate) fn serving(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&Asked) -> Say + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (count, seen, answer) = (Arc::clone(&connections), Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || {
                    let _ = match tls {
                        None => serve(socket, &seen, &*answer),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(tls).unwrap();
                            serve(rustls::StreamOwned::new(session, socket), &seen, &*answer)
                        }
                    };
                });
            }
        });
        Self { scheme, address, connections, asked }
    }

    /// `answer` gets the request's head and gives the bytes to send, after which the connection is closed; `None`
    /// says nothing and holds it.
    pub(crate) async fn new(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::serving(None, move |asked| match answer(&asked.head) {
            None => Say::Hold(Vec::new()),
            Some(text) if text.contains(HOLD) => Say::Hold(text.replace(HOLD, "").into_bytes()),
            Some(text) => Say::Bytes(text.into_bytes()),
        })
    }

    pub(crate) async fn fixed(text: &'static str) -> Self {
        Self::new(move |_| Some(text.to_owned())).await
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}://{}/{rest}", self.scheme, self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.head).collect()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    mut socket: impl Socket + Finish,
    seen: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> Say + Send + Sync),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(&mut socket)?);
    }
    let mut asked = Asked { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    asked.body = body(&mut socket, &asked)?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    match answer(&asked) {
        Say::Bytes(bytes) => socket.write_all(&closing(bytes))?,
        Say::Keep(bytes) => {
            socket.write_all(&bytes)?;
            socket.flush()?;
            return serve(socket, seen, answer);
        }
        Say::Hold(bytes) => {
            socket.write_all(&closing(bytes))?;
            socket.flush()?;
            std::io::copy(&mut socket, &mut std::io::sink())?;
        }
        Say::Endless(head, piece) => {
            socket.write_all(&closing(head))?;
            loop {
                socket.write_all(&piece)?;
            }
        }
        Say::Dripping(head, piece) => {
            socket.write_all(&closing(head))?;
            loop {
                std::thread::sleep(Duration::from_millis(50));
                socket.write_all(&piece)?;
                socket.flush()?;
            }
        }
    }
    socket.finish()
}

/// An answer that says that the connection ends with it, as it does: a client that may keep connections would send its
/// next request into the one that is about to be closed.
fn closing(mut answer: Vec<u8>) -> Vec<u8> {
    const CLOSE: &[u8] = b"Connection: close\r\n";
    let status_line = answer.windows(2).position(|two| two == b"\r\n").map(|at| at + 2);
    if let Some(end) = status_line.filter(|_| answer.starts_with(b"HTTP/1.1 ")) {
        answer.splice(end..end, CLOSE.iter().copied());
    }
    answer
}

/// Says good-bye as the other side expects it.
trait Finish {
    fn finish(&mut self) -> std::io::Result<()>;
}

impl Finish for TcpStream {
    fn finish(&mut self) -> std::io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

impl Finish for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn finish(&mut self) -> std::io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.finish()
    }
}

fn byte(socket: &mut impl Read) -> std::io::Result<u8> {
    let mut byte = [0];
    socket.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn body(socket: &mut impl Read, asked: &Asked) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = asked.header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        socket.read_exact(&mut body)?;
    } else if asked.header("transfer-encoding").is_some() {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(byte(socket)?);
            }
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let start = body.len();
            body.resize(start + size + 2, 0);
            socket.read_exact(&mut body[start..])?;
            body.truncate(start + size);
            if size == 0 {
                break;
            }
        }
    }
    Ok(body)
}
