//! An image through Visor into a bucket and out again, beside the same bytes by curl to the same server of S3's, which is
//! this program called with `--bucket DELAY DIRECTORY READY`: in one request, and in the parts in which Visor sends them.
//! `cargo bench --bench stores -- --rounds 3 --mib 1024 --delay 50`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that fails has no result")]

mod common;

use std::ffi::OsStr;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{MIB, Process, Spread, argument, directory, noise, warm};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

const ACCESS: &str = "AKIDBENCH";
const SECRET: &str = "secret-of-the-bench";

/// Who transfers.
const WHO: [&str; 3] = ["visor", "curl", "curl in parts"];

/// As Visor has them.
const PART_MIB: usize = 8;

fn main() {
    if let Some(at) = std::env::args().position(|argument| argument == "--bucket") {
        let arguments: Vec<String> = std::env::args().skip(at + 1).collect();
        let delay = Duration::from_millis(arguments[0].parse().unwrap());
        return serve(Path::new(&arguments[1]), Path::new(&arguments[2]), delay);
    }
    let (rounds, mib) = (argument("--rounds", 3), argument("--mib", 1024));
    let dir = directory();
    let bucket = Process::this("bucket", dir.path(), &["--bucket", &argument("--delay", 0).to_string()]);
    std::fs::create_dir_all(dir.path().join("bucket/images")).unwrap();
    let config = dir.path().join("visor.toml");
    std::fs::write(&config, configuration(&bucket)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&config, mode).unwrap();
    let visor = Process::visor_configured(&dir.path().join("data"), &config);
    let (file, block) = (dir.path().join("file"), noise(64 * MIB));
    let mut target = std::fs::File::create(&file).unwrap();
    (0..mib.div_ceil(64)).for_each(|_| target.write_all(&block).unwrap());
    target.set_len((mib * MIB) as u64).unwrap();
    let parts = cut(&file, &dir.path().join("parts"));
    let mut all: [[Vec<f64>; WHO.len()]; 2] = Default::default();
    let (mut cpu, mut idle) = ([Vec::new(), Vec::new()], 0.0);
    let gb = mib as f64 * 1.048_576e-3;
    for round in 0..rounds {
        if round == 0 {
            idle = visor.peak_mib();
        }
        for (at, name) in WHO.into_iter().enumerate() {
            warm(&dir.path().join("warm"), &block, 2 * mib);
            let (before, began) = (visor.cpu(), Instant::now());
            let there = match name {
                "visor" => add(&visor.address, &file),
                _ => put(&format!("http://{}/images/plain-{round}", bucket.address), &file, &parts, name != "curl"),
            };
            all[0][at].push(gb * 1e3 / began.elapsed().as_secs_f64());
            let (between, began) = (visor.cpu(), Instant::now());
            let signed = name != "visor";
            curl(signed, &["-o", "/dev/null", &there]);
            all[1][at].push(gb * 1e3 / began.elapsed().as_secs_f64());
            if !signed {
                cpu[0].push((between - before) / gb);
                cpu[1].push((visor.cpu() - between) / gb);
            }
            curl(signed, &["-X", "DELETE", &there]);
        }
    }
    println!("| {mib} MiB, MB/s | through Visor | curl | ratio | curl in parts | ratio | Visor CPU-s/GB |");
    println!("|---|---|---|---|---|---|---|");
    for (words, all, cpu) in [("upload", &all[0], &cpu[0]), ("download", &all[1], &cpu[1])] {
        let ratio = |at: usize| Spread::of(all[0].iter().zip(&all[at]).map(|(ours, theirs)| ours / theirs));
        let [ours, whole, parts] = all.each_ref().map(|values| Spread::of(values.iter().copied()));
        let cpu = Spread::of(cpu.iter().copied());
        println!("| {words} | {ours} | {whole} | {} | {parts} | {} | {cpu} |", ratio(1), ratio(2));
    }
    println!("\nVisor's memory: {idle:.0} MiB before, {:.0} MiB at its peak", visor.peak_mib());
}

fn configuration(bucket: &Process) -> String {
    format!(
        "[stores]\ndefault = \"cold\"\n[stores.cold]\nkind = \"s3\"\nendpoint = \"http://{}\"\nbucket = \"images\"\n\
         access_key = \"{ACCESS}\"\nsecret_key = \"{SECRET}\"\n",
        bucket.address
    )
}

/// The file in pieces of the size that Visor sends.
fn cut(file: &Path, into: &Path) -> Vec<PathBuf> {
    std::fs::create_dir(into).unwrap();
    let bytes = std::fs::read(file).unwrap();
    let pieces = bytes.chunks(PART_MIB * MIB).enumerate();
    let write = |(at, piece): (usize, &[u8])| {
        let path = into.join(at.to_string());
        std::fs::write(&path, piece).unwrap();
        path
    };
    pieces.map(write).collect()
}

/// Uploads an image to Visor. Returns where it is.
fn add(address: &SocketAddr, file: &Path) -> String {
    let named = ["-H", "x-image-meta-name: a", "-H", "x-image-meta-architecture: i386"];
    let there = format!("http://{address}/images");
    let answer = curl(false, &[&["-X", "POST", "-T", file.to_str().unwrap()], &named[..], &[&there]].concat());
    format!("{there}/{}", answer.split("\"_id\":\"").nth(1).unwrap().get(..36).unwrap())
}

/// Uploads a file to the bucket, whole or one part after the other over one connection. Returns where it is.
fn put(there: &str, file: &Path, parts: &[PathBuf], in_parts: bool) -> String {
    if !in_parts {
        curl(true, &["-T", file.to_str().unwrap(), there]);
        return there.to_owned();
    }
    let begun = curl(true, &["-X", "POST", &format!("{there}?uploads=")]);
    let id = begun.split(['<', '>']).skip_while(|word| *word != "UploadId").nth(1).unwrap().to_owned();
    let mut arguments = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let url = format!("{there}?partNumber={}&uploadId={id}", at + 1);
        if at > 0 {
            arguments.push("--next".to_owned());
            arguments.extend(told(true));
        }
        let one = ["-o", "/dev/null", "-w", "%header{etag}\\n", "-T", part.to_str().unwrap(), &url];
        arguments.extend(one.map(str::to_owned));
    }
    let tags = curl(true, &arguments);
    let parts = tags.lines().enumerate();
    let listed = parts.map(|(at, tag)| format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", at + 1));
    let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", listed.collect::<String>());
    curl(true, &["-X", "POST", "-d", &body, &format!("{there}?uploadId={id}")]);
    there.to_owned()
}

/// What each of curl's requests is told.
fn told(signed: bool) -> Vec<String> {
    let keys = format!("{ACCESS}:{SECRET}");
    let signing =
        ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &keys, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    ["-sS", "--fail"].into_iter().chain(signing.into_iter().filter(|_| signed)).map(str::to_owned).collect()
}

/// Runs curl, which signs what goes to the bucket itself. Returns what it printed.
fn curl(signed: bool, arguments: &[impl AsRef<OsStr>]) -> String {
    let mut command = Command::new("curl");
    let done = command.args(told(signed)).args(arguments).stdin(Stdio::null()).output().expect("curl is needed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Serves a bucket below a directory; says where in `ready`. Every answer takes `delay` longer, as over a longer way.
fn serve(root: &Path, ready: &Path, delay: Duration) {
    std::fs::create_dir_all(root).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
    let service = builder.build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        std::fs::write(ready, format!("http://{}\n", listener.local_addr().unwrap())).unwrap();
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            let answer = service_fn(move |request| {
                let answer = Service::<Request<Incoming>>::call(&service, request);
                async move {
                    tokio::time::sleep(delay).await;
                    answer.await
                }
            });
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(socket), answer).await;
            });
        }
    });
}
