//! What the benchmark programs share: servers as processes of their own, what they cost, and tables of medians.
//!
//! Everything is on loopback and below the build directory. Peers are run in the same round as Visor, in turn, because
//! a machine's speed drifts more than the differences that matter.
#![allow(dead_code, reason = "each program uses its part")]
#![allow(missing_docs, unreachable_pub, reason = "a module of a program")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub mod bare;
pub mod lxd;

pub const MIB: usize = 1 << 20;

/// A command line argument `--name value` (behind `--` of `cargo bench`).
pub fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(default, |value| value.parse().expect("a number"))
}

/// The same of a text; `None` without it.
pub fn text(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// A directory of our own on the disk that holds the build directory. Removed when dropped.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Bytes that do not compress and do not repeat within a page.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A server as a process. Ended by its own id when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Visor on this data directory.
    pub fn visor(data: &Path) -> Self {
        Self::visor_with(data, &["--no-tls"])
    }

    /// Visor on this data directory, and where it serves TLS.
    pub fn visor_tls(data: &Path) -> (Self, SocketAddr) {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        (Self::visor_with(data, &["--listen-tls", &address.to_string()]), address)
    }

    /// Visor on this data directory, with a configuration.
    pub fn visor_configured(data: &Path, config: &Path) -> Self {
        Self::visor_with(data, &["--no-tls", "--config", config.to_str().unwrap()])
    }

    /// Visor on a disk that answers each write later by so many milliseconds. `None` without strace on the machine, which delays
    /// them.
    pub fn visor_slowed(data: &Path, milliseconds: usize) -> Option<Self> {
        Command::new("strace").arg("--version").stdout(Stdio::null()).status().ok()?;
        let delay = format!("inject=pwrite64:delay_exit={}", milliseconds * 1000);
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", &delay]);
        Some(Self::started(command.arg(env!("CARGO_BIN_EXE_visor")), data, &["--no-tls"]))
    }

    fn visor_with(data: &Path, arguments: &[&str]) -> Self {
        Self::started(&mut Command::new(env!("CARGO_BIN_EXE_visor")), data, arguments)
    }

    fn started(command: &mut Command, data: &Path, arguments: &[&str]) -> Self {
        let ready = data.with_extension("ready");
        let child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .args([data, Path::new("--ready-file"), &ready])
            .args(arguments)
            .env("VISOR__LOG__ACCESS", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self::ready(child, &ready)
    }

    /// This program as a server of its own that answers everything with these bytes; `--bare ANSWER READY`.
    pub fn bare(root: &Path, answer: &[u8]) -> Self {
        std::fs::write(root.join("bare"), answer).unwrap();
        Self::this("bare", root, &["--bare"])
    }

    /// This program as a server of its own, told so by `arguments` and then a file or directory below `root` and its ready file.
    pub fn this(name: &str, root: &Path, arguments: &[&str]) -> Self {
        let (dir, ready) = (root.join(name), root.join(name).with_extension("ready"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = command.args(arguments).args([&dir, &ready]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self::ready(child.unwrap(), &ready)
    }

    /// Waits until a server has written its address.
    fn ready(child: Child, ready: &Path) -> Self {
        let began = Instant::now();
        let text = loop {
            assert!(began.elapsed() < Duration::from_secs(1200), "the server does not start");
            match std::fs::read_to_string(ready) {
                Ok(text) if text.ends_with('\n') => break text,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        std::fs::remove_file(ready).unwrap();
        let address = text.lines().next().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { child, address }
    }

    /// nginx with two workers, tuned for large files, serving and taking (`PUT`) what is in `root`. `None` if there is
    /// no nginx here.
    pub fn nginx(root: &Path) -> Option<Self> {
        Self::nginx_as(root, "nginx", "", &format!("root {}; dav_methods PUT;", root.display()))
    }

    /// nginx as [`Process::nginx`], as a caching proxy of a server: of clients that ask for a file at once one goes on, and the others
    /// wait for it. Without buffers a file leaves its cache by `sendfile`.
    pub fn nginx_cache(root: &Path, of: SocketAddr) -> Option<Self> {
        let zone = format!("proxy_cache_path {} levels=1:2 keys_zone=z:10m max_size=64g;", root.join("kept").display());
        let lock = "proxy_cache z; proxy_cache_valid 200 1h; proxy_cache_lock on; proxy_cache_lock_timeout 600s;";
        let limits = "proxy_http_version 1.1; proxy_max_temp_file_size 0; proxy_cache_lock_age 600s;";
        let all = format!("location / {{ proxy_pass http://{of}; {lock} {limits} }}");
        Self::nginx_as(root, "nginx-cache", &zone, &all)
    }

    /// nginx as [`Process::nginx`], with a scratch directory of this name, and these lines for all servers and for its own.
    pub fn nginx_as(root: &Path, name: &str, all: &str, server: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let scratch = root.join(name);
        std::fs::create_dir_all(&scratch).unwrap();
        let dir = scratch.display();
        let text = format!(
            "daemon off; user root; worker_processes 2; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; client_max_body_size 0;\n\
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; {all}\n\
             server {{ listen 127.0.0.1:{port}; {server} }} }}\n"
        );
        let config = scratch.join("conf");
        std::fs::write(&config, text).unwrap();
        let child = Command::new("nginx")
            .args([Path::new("-p"), &scratch, Path::new("-c"), &config])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "nginx does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { child, address })
    }

    /// Stops the process and its children from answering, or lets them go on. Connections to them are still taken by the system.
    pub fn halt(&self, halted: bool) {
        let signal = if halted { "-STOP" } else { "-CONT" };
        for pid in self.family() {
            let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
        }
    }

    /// The process and its children.
    fn family(&self) -> Vec<u32> {
        let own = self.child.id();
        let parent_is_own = |pid: &u32| stat(*pid).is_some_and(|fields| fields[1] == u64::from(own));
        let all =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.filter(parent_is_own).chain([own]).collect()
    }

    /// Processor seconds used so far.
    pub fn cpu(&self) -> f64 {
        let ticks: u64 = self.family().into_iter().filter_map(stat).map(|fields| fields[11] + fields[12]).sum();
        ticks as f64 / 100.0
    }

    /// Largest resident memory so far, in MiB, of the process alone.
    pub fn peak_mib(&self) -> f64 {
        memory_mib(&self.child.id().to_string(), "VmHWM:")
    }

    /// Resident memory now, in MiB, of the process alone.
    pub fn resident_mib(&self) -> f64 {
        memory_mib(&self.child.id().to_string(), "VmRSS:")
    }

    pub fn connect(&self) -> Connection {
        Connection::new(self.address)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: a killed nginx leaves its workers behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The numbers of `/proc/PID/stat` behind the name: [1] is the parent, [11] and [12] are user and system ticks, of
/// which Linux shows 100 a second everywhere.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(')')?.1;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// Processor seconds of all children that have ended.
pub fn cpu_of_children() -> f64 {
    let fields = stat(std::process::id()).unwrap();
    (fields[13] + fields[14]) as f64 / 100.0
}

/// Largest resident memory of this process, in MiB.
pub fn own_peak_mib() -> f64 {
    memory_mib("self", "VmHWM:")
}

fn memory_mib(pid: &str, what: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// A kept connection, for clients that should cost as little as possible.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::with_capacity(64 * 1024, stream) }
    }

    /// Sends a request with an empty body, reads the whole answer, and returns its body. It has to be a success.
    pub fn request(&mut self, method: &str, path: &str, headers: &str) -> Vec<u8> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.reader.get_mut().write_all(head.as_bytes()).unwrap();
        self.answer()
    }

    /// Sends a request with an empty body, and returns the whole answer as it came.
    pub fn raw(&mut self, method: &str, path: &str) -> Vec<u8> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.reader.get_mut().write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut length = 0;
        loop {
            let begin = answer.len();
            self.reader.read_until(b'\n', &mut answer).unwrap();
            let line = String::from_utf8_lossy(&answer[begin..]).to_ascii_lowercase();
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("transfer-encoding", _)) => panic!("an answer without a length"),
                _ if line == "\r\n" => break,
                _ => assert!(!line.is_empty(), "the server closed"),
            }
        }
        if method != "HEAD" {
            let begin = answer.len();
            answer.resize(begin + length, 0);
            self.reader.read_exact(&mut answer[begin..]).unwrap();
        }
        answer
    }

    /// Sends a head and gives the socket, to send a body.
    pub fn send_head(&mut self, head: &str) -> &mut TcpStream {
        self.reader.get_mut().write_all(head.as_bytes()).unwrap();
        self.reader.get_mut()
    }

    /// Reads an answer's head: its length, or `None` when it is chunked.
    fn head(&mut self) -> Option<usize> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert!(line.contains(" 20"), "{line}");
        let mut length = Some(0);
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = Some(value.parse().unwrap()),
                Some(("transfer-encoding", _)) => length = None,
                _ if line.is_empty() => return length,
                _ => {}
            }
        }
    }

    /// Reads an answer.
    pub fn answer(&mut self) -> Vec<u8> {
        let Some(length) = self.head() else { return self.chunks() };
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        body
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let begin = body.len();
            body.resize(begin + length + 2, 0);
            self.reader.read_exact(&mut body[begin..]).unwrap();
            body.truncate(begin + length);
            if length == 0 {
                return body;
            }
        }
    }

    /// Asks for a file and waits for the first byte of its body; the rest is not read.
    pub fn first_byte(mut self, path: &str) {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.reader.get_mut().write_all(head.as_bytes()).unwrap();
        self.head();
        self.reader.read_exact(&mut [0]).unwrap();
    }

    /// Downloads and forgets. A discarding client lets the kernel drop the bytes, so that only the server works; a
    /// copying one reads them into its memory, as real clients do. Returns how many there were.
    pub fn download(&mut self, path: &str, copying: bool) -> usize {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.reader.get_mut().write_all(head.as_bytes()).unwrap();
        let length = self.head().expect("a download says its length");
        let mut buffer = vec![0; 256 * 1024];
        let there = self.reader.buffer().len().min(length);
        self.reader.consume(there);
        let mut left = length - there;
        while left > 0 {
            let wanted = left.min(buffer.len());
            let got = if copying {
                self.reader.get_mut().read(&mut buffer[..wanted]).unwrap()
            } else {
                let flags = rustix::net::RecvFlags::TRUNC;
                rustix::net::recv(self.reader.get_ref(), &mut buffer[..wanted], flags).unwrap().1
            };
            assert!(got > 0, "the server closed {left} bytes early");
            left -= got;
        }
        length
    }
}

/// Makes so many requests with so many clients at the same time; each request is told its number.
pub fn at_once(server: &Process, clients: usize, requests: usize, request: impl Fn(&mut Connection, usize) + Sync) {
    std::thread::scope(|scope| {
        for client in 0..clients {
            let request = &request;
            scope.spawn(move || {
                let mut connection = server.connect();
                (0..requests / clients).for_each(|n| request(&mut connection, n * clients + client));
            });
        }
    });
}

/// Appends of 600 bytes, each synced: how many a second this disk does for one thread.
pub fn syncs(path: &Path) -> f64 {
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    let began = Instant::now();
    for _ in 0..400 {
        file.write_all(&[b'x'; 600]).unwrap();
        file.sync_data().unwrap();
    }
    400.0 / began.elapsed().as_secs_f64()
}

/// Sends a head and so many MiB behind it, and reads the answer. No two bodies are the same: those would be stored once.
pub fn send(server: &Process, head: &str, block: &[u8], mib: usize) {
    static TAG: AtomicU64 = AtomicU64::new(0);
    let mut connection = server.connect();
    let length = mib << 20;
    let socket = connection.send_head(&format!("{head}Host: localhost\r\nContent-Length: {length}\r\n\r\n"));
    let tag = TAG.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    socket.write_all(&tag).unwrap();
    let mut left = length - tag.len();
    while left > 0 {
        let piece = left.min(block.len());
        socket.write_all(&block[..piece]).unwrap();
        left -= piece;
    }
    connection.answer();
}

/// Has the machine bring as much memory as a work will fill. A virtual machine gives what is free back to its host, and
/// whoever writes next pays for getting it again: up to ten times the cost of writing, and not the writer's doing.
pub fn warm(path: &Path, block: &[u8], mib: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    (0..mib / 64 + 1).for_each(|_| file.write_all(block).unwrap());
    file.sync_all().unwrap();
    std::fs::remove_file(path).unwrap();
}

/// What a round measured.
#[derive(Clone, Copy)]
pub struct Sample {
    pub seconds: f64,
    pub cpu: f64,
}

/// Runs a piece of work and says what it took of the clock and of a server's processor time.
pub fn measure(server: &Process, work: impl FnOnce()) -> Sample {
    let (began, cpu) = (Instant::now(), server.cpu());
    work();
    Sample { seconds: began.elapsed().as_secs_f64(), cpu: server.cpu() - cpu }
}

/// Median and range.
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], low: values[0], high: values[values.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median >= 100.0 { 0 } else { 2 };
        write!(f, "{:.digits$} [{:.digits$}–{:.digits$}]", self.median, self.low, self.high)
    }
}

/// The value below which a share of the values lies.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}
