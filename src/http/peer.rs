//! Facts of a request's connection, and of its other end.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use super::wire::ConnectionStream;
use crate::digest::hex;

/// Facts of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// True for TLS.
    pub secure: bool,
    /// The address of the listener.
    pub local: SocketAddr,
}

/// A certificate that a client sent, with proof that it has the key.
#[derive(Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// The certificate as it arrived.
    pub der: Vec<u8>,
    /// Its SHA-256 in hexadecimal.
    pub fingerprint: String,
}

/// The other end of a connection, as its handshake described it.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The certificate of a TLS client, if it has one. Its meaning is decided elsewhere.
    pub certificate: Option<Arc<ShownCertificate>>,
}

impl ConnectionStream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn introduce(&self, data: &mut Extensions) {
        data.insert(Peer::of(self));
    }
}

impl Peer {
    fn of(stream: &TlsStream<TcpStream>) -> Self {
        let first = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = |der: &[u8]| ShownCertificate { der: der.to_vec(), fingerprint: hex(&Sha256::digest(der)) };
        Self { certificate: first.map(|der| Arc::new(shown(der))) }
    }
}
