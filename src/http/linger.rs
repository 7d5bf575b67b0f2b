//! The end of a connection whose client still sends (RFC 9112, section 9.6): what arrives is dropped until the client has
//! sent all and can read the answer. To close at once would reset the connection, and the answer would be lost.
//!
//! The server has said its last word, so nothing is decrypted: the kernel drops the bytes where they are.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::exchange::Rest;

/// Maximum time without a byte.
const IDLE: Duration = Duration::from_secs(5);

/// Maximum time for a rest whose length is unknown.
const UNKNOWN_PATIENCE: Duration = Duration::from_secs(20);

/// Maximum time for a rest whose length was announced: many clients read no answer before they have sent everything.
const ANNOUNCED_PATIENCE: Duration = Duration::from_secs(300);

/// Maximum number of bytes of a rest whose length is unknown.
const UNKNOWN_BYTES_MAX: u64 = 16 << 30;

/// Bytes that are dropped at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that are dropped before other connections of the thread have their turn.
const TURN_PIECES: usize = 16;

thread_local! {
    /// The place of the bytes that are dropped, by all connections of this thread in turn.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_BYTES]);
}

impl Rest {
    fn patience(self) -> Duration {
        match self {
            Rest::Announced(_) => ANNOUNCED_PATIENCE,
            Rest::Unknown => UNKNOWN_PATIENCE,
        }
    }

    /// The bytes on the wire, at most. TLS adds to each of its records, and a client may write small ones.
    fn bytes_max(self) -> u64 {
        match self {
            Rest::Announced(bytes) => bytes.saturating_add(bytes / 4).saturating_add(1 << 20),
            Rest::Unknown => UNKNOWN_BYTES_MAX,
        }
    }
}

/// Drops what arrives until the client closes, within the bounds of the rest. The sending half must be closed already.
pub(super) async fn linger(stream: &TcpStream, rest: Rest) {
    let end = Instant::now() + rest.patience();
    let mut left = rest.bytes_max();
    loop {
        if !matches!(timeout_at(end.min(Instant::now() + IDLE), stream.readable()).await, Ok(Ok(()))) {
            return;
        }
        for _ in 0..TURN_PIECES {
            // The kernel writes nothing to the buffer with this flag: its length counts.
            let drop_piece = |scratch: &mut Vec<u8>| Ok(recv(stream, &mut scratch[..], RecvFlags::TRUNC)?.1);
            let dropped = stream.try_io(Interest::READABLE, || SCRATCH.with_borrow_mut(drop_piece));
            match dropped {
                Ok(0) => return,
                Ok(bytes) => match left.checked_sub(bytes as u64) {
                    Some(rest) => left = rest,
                    None => return,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        if Instant::now() >= end {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn a_client_that_only_sends_can_send_all_and_read_the_answer() {
        const BYTES: usize = 24 << 20;
        let (mut client, mut server) = pair().await;
        server.write_all(b"no").await.unwrap();
        server.shutdown().await.unwrap();
        let dropping = tokio::spawn(async move { linger(&server, Rest::Announced(BYTES as u64)).await });
        client.write_all(&vec![7; BYTES]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "no");
        drop(client);
        tokio::time::timeout(Duration::from_secs(2), dropping).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn more_than_was_announced_ends_it() {
        let (mut client, server) = pair().await;
        let dropping = tokio::spawn(async move { linger(&server, Rest::Announced(1 << 20)).await });
        let piece = vec![7; 1 << 20];
        let mut sent = 0;
        while client.write_all(&piece).await.is_ok() {
            sent += 1;
            assert!(sent < 4096, "listened to for ever");
        }
        dropping.await.unwrap();
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let (_client, server) = pair().await;
        tokio::time::timeout(IDLE * 2, linger(&server, Rest::Unknown)).await.unwrap();
    }
}
