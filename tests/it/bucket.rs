//! A server of S3's with one bucket, by other hands than ours: it checks signatures and keeps files in a directory. It can be
//! told to fail.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;

pub(crate) const BUCKET: &str = "images";
pub(crate) const ACCESS: &str = "AKIDVISOR";
pub(crate) const SECRET: &str = "s3cr3t-of-the-bucket";

/// The server. Ends with the process.
pub(crate) struct Bucket {
    dir: TempDir,
    pub(crate) address: SocketAddr,
    /// Whether connections are closed as soon as they are made.
    down: Arc<AtomicBool>,
    /// Whether what is sent to it waits.
    held: Arc<AtomicBool>,
    gets: Arc<AtomicUsize>,
    shut: Arc<tokio::sync::Notify>,
}

impl Bucket {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
        let (service, down) = (builder.build(), Arc::new(AtomicBool::new(false)));
        let held = Arc::<AtomicBool>::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let gets = Arc::<AtomicUsize>::default();
        let shut = Arc::<tokio::sync::Notify>::default();
        let shutting = Arc::clone(&shut);
        let (refuses, holds, count) = (Arc::clone(&down), Arc::clone(&held), Arc::clone(&gets));
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        () = shutting.notified() => return,
                    };
                    let Ok((socket, _)) = accepted else { return };
                    if refuses.load(Ordering::Relaxed) {
                        continue;
                    }
                    let (service, holds, count) = (service.clone(), Arc::clone(&holds), Arc::clone(&count));
                    tokio::spawn(async move {
                        let mut method = [0; 3];
                        let sends = socket.peek(&mut method).await.is_ok_and(|_| &method == b"PUT");
                        count.fetch_add(usize::from(&method == b"GET"), Ordering::Relaxed);
                        while sends && holds.load(Ordering::Relaxed) {
                            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                        }
                        let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        // So that whoever comes after it went down finds it so.
                        server.http1().keep_alive(false);
                        let _ = server.serve_connection(TokioIo::new(socket), service).await;
                        Ok::<(), Infallible>(())
                    });
                }
            });
        });
        Self { dir, address, down, held, gets, shut }
    }

    /// The store `cold` of a configuration, in this bucket. `more` is put behind it.
    pub(crate) fn configuration(&self, more: &str) -> String {
        format!(
            "[stores.cold]\nkind = \"s3\"\nendpoint = \"http://{}\"\nbucket = \"{BUCKET}\"\nroot = \"lab\"\n\
             access_key = \"{ACCESS}\"\nsecret_key = \"{SECRET}\"\n{more}",
            self.address
        )
    }

    /// Closes its port for good.
    pub(crate) fn shut(&self) {
        self.shut.notify_one();
        crate::harness::eventually("its port is closed", || std::net::TcpStream::connect(self.address).is_err());
    }

    /// Whether new connections come to nothing.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// Whether bytes that are sent to it wait until they are let in.
    pub(crate) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Number of requests for bytes or lists so far.
    pub(crate) fn gets(&self) -> usize {
        self.gets.load(Ordering::Relaxed)
    }

    fn objects_dir(&self) -> PathBuf {
        self.dir.path().join(BUCKET).join("lab")
    }

    /// The names of all objects of the store.
    pub(crate) fn objects(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.objects_dir()).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// The bytes of an object.
    pub(crate) fn object(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.objects_dir().join(name)).unwrap()
    }

    /// Puts other bytes in the place of an object's.
    pub(crate) fn damage(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.objects_dir().join(name), bytes).unwrap();
    }
}
