//! A server for the fetcher's tests, on 127.0.0.1.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// In an answer of a fake: is not sent, and the connection is not closed afterwards.
pub(super) const HOLD: &str = "\0";

/// A server that answers every connection by script and counts them.
pub(super) struct Fake {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// `answer` gets the request's head and gives the bytes to send, after which the connection is closed; `None`
    /// says nothing and holds it.
    pub(super) async fn new(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, seen, answer) = (Arc::clone(&connections), Arc::clone(&heads), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = socket.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
                    match answer(&head) {
                        Some(text) => {
                            let _ = socket.write_all(text.replace(HOLD, "").as_bytes()).await;
                            if text.contains(HOLD) {
                                std::future::pending::<()>().await;
                            }
                        }
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, connections, heads }
    }

    pub(super) async fn fixed(text: &'static str) -> Self {
        Self::new(move |_| Some(text.to_owned())).await
    }

    pub(super) fn url(&self, rest: &str) -> String {
        format!("http://{}/{rest}", self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
