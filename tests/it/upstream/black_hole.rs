//! A host that does not answer: a listening socket whose queue is full, so that the kernel drops what asks for a connection.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

/// A listening socket that no connection is made with.
pub(crate) struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    /// Connections that fill the queue.
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) fn open() -> Self {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&fd, 0).unwrap();
        let listener = TcpListener::from(fd);
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(stream);
            assert!(queue.len() < 16, "the queue has no end");
        }
        Self { address, _listener: listener, _queue: queue }
    }

    pub(crate) fn door(&self, path: &str) -> String {
        format!("/cache/http/{}{path}", self.address)
    }
}
