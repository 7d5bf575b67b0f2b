//! A way to a server whose address is known before the server is, and what was said on it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Beginning of an answer.
const STATUS: &str = "HTTP/1.1 ";

/// End of a head.
const END: &str = "\r\n\r\n";

/// A connection that was passed on, in both directions.
#[derive(Default)]
struct Passed {
    asked: Vec<u8>,
    answered: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    target: OnceLock<String>,
    passed: Mutex<Vec<Passed>>,
}

impl Shared {
    fn passed(&self) -> MutexGuard<'_, Vec<Passed>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a connection on until both sides have ended it.
    fn join(self: &Arc<Self>, client: TcpStream) {
        let Some(target) = self.target.get() else { return };
        let server = TcpStream::connect(target).unwrap();
        let at = {
            let mut passed = self.passed();
            passed.push(Passed::default());
            passed.len() - 1
        };
        let (all, from, to) = (Arc::clone(self), client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || copy(from, to, |piece| all.passed()[at].asked.extend(piece)));
        copy(server, client, |piece| self.passed()[at].answered.extend(piece));
    }
}

/// Passes connections on. Its threads end with the test.
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    pub(super) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let all = Arc::clone(&all);
                std::thread::spawn(move || all.join(client));
            }
        });
        Self { address, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn lead_to(&self, address: &str) {
        self.shared.target.set(address.to_owned()).unwrap();
    }

    /// Heads of the answers to requests for a path, from their status on; an empty one for a request that was not answered.
    pub(super) fn answers(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        for passed in self.shared.passed().iter() {
            let (asked, answered) = (text(&passed.asked), text(&passed.answered));
            // No request here has a body, and no body of an answer a line like the first one of a head.
            let requests = asked.split(END).filter(|head| !head.is_empty());
            let mut answers = answered.split(STATUS).skip(1).filter_map(|rest| rest.split(END).next());
            for request in requests {
                let answer = answers.next().unwrap_or_default();
                if request.split(' ').nth(1) == Some(path) {
                    found.push(answer.to_owned());
                }
            }
        }
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Copies what comes until its end. It is noted before it is passed on, so that a side that has it finds it noted.
fn copy(mut from: TcpStream, mut to: TcpStream, note: impl Fn(&[u8])) {
    let mut piece = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        note(&piece[..read]);
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
