//! A server of files that fails as it is told: it cuts, stalls, lies about lengths and ranges, and changes what it has. It counts
//! what it is asked, by path. No framework: what a library would refuse to send is what the tests need.

mod black_hole;
mod file;
mod wire;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub(crate) use self::black_hole::BlackHole;
pub(crate) use self::file::{File, Length, MODIFIED, Ranges, Tag};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query, as they stood in the request.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes of the answer's body that were sent.
    pub(crate) sent: u64,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told whenever a file changes, and at the end.
    changed: Condvar,
    connections: AtomicUsize,
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    files: HashMap<String, File>,
    asked: Vec<Asked>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// A running server on loopback. Its threads end when it is dropped.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Thread that waits for connections.
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let all = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if all.has_ended() {
                    return;
                }
                all.connections.fetch_add(1, Ordering::SeqCst);
                let all = Arc::clone(&all);
                std::thread::spawn(move || wire::serve(&all, stream));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Ends, and refuses connections from now on.
    pub(crate) fn die(self) -> SocketAddr {
        self.address
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path of the cache's door for a path here.
    pub(crate) fn door(&self, path: &str) -> String {
        format!("/cache/http/{}{path}", self.address)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a file at a path, in place of the one that is there.
    pub(crate) fn put(&self, path: &str, file: File) {
        self.shared.lock().files.insert(path.to_owned(), file);
        self.shared.changed.notify_all();
    }

    /// Changes the file at a path.
    pub(crate) fn change(&self, path: &str, how: impl FnOnce(&mut File)) {
        how(self.shared.lock().files.get_mut(path).unwrap());
        self.shared.changed.notify_all();
    }

    /// Lets the file at a path go on behind the byte at which it is held.
    pub(crate) fn release(&self, path: &str) {
        self.change(path, |file| file.hold = None);
    }

    /// Requests for a path, of all methods, the first one first.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let is_of = |asked: &&Asked| asked.target.split('?').next() == Some(path);
        self.shared.lock().asked.iter().filter(is_of).cloned().collect()
    }

    /// Requests for the bytes of a path.
    pub(crate) fn gets(&self, path: &str) -> Vec<Asked> {
        self.asked(path).into_iter().filter(|asked| asked.method == "GET").collect()
    }

    /// Bytes of bodies that were sent for a path.
    pub(crate) fn sent(&self, path: &str) -> u64 {
        self.asked(path).iter().map(|asked| asked.sent).sum()
    }

    /// All requests.
    pub(crate) fn all(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// Connections that were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // For the thread that waits for the next connection.
        drop(TcpStream::connect(self.address));
        // Its socket is closed when it has ended.
        self.accepting.take().map(JoinHandle::join);
    }
}
