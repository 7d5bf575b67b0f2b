//! Small files that want to be large: each is refused soon, in bounded memory, and nothing is left of it.

use std::io::Write;

use crate::bundles::{form, gzip, metadata, tar, yaml};
use crate::harness::{Answer, Server, noise, qcow2};
use crate::lxd_sources::assert_empty;

/// Two seconds of a processor, and five times that unoptimized. Not by the clock: other tests run beside this one.
const SECONDS_MAX: f64 = 10.0;

/// So much more memory may be used, at the highest.
const MORE_KIB_MAX: usize = 64 << 10;

const MEBIBYTE: usize = 1 << 20;

/// The head of a file in an archive, which may be of any size.
fn head(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// The same, which says that it needs a window of this size: 28 is 64 MiB, 40 is all that there can be.
fn with_window(mut xz: Vec<u8>, size: u8) -> Vec<u8> {
    // The header of the block, behind that of the stream: its size, flags, filter, and the size of the filter's window.
    let header = 12..12 + (usize::from(xz[12]) + 1) * 4;
    let filter = header.clone().find(|at| xz[*at..][..2] == [0x21, 1]).unwrap();
    xz[filter + 2] = size;
    let sum = crc32fast::hash(&xz[header.start..header.end - 4]).to_le_bytes();
    xz[header.end - 4..header.end].copy_from_slice(&sum);
    xz
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A frame of runs: each a block that says which byte, and how often.
fn zstd_runs(bytes: &[u8], then: Option<(u8, usize)>) -> Vec<u8> {
    // No checksum, no size; a window of 128 KiB.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x38".to_vec();
    let block = |last: u32, kind: u32, size: usize| (last | kind << 1 | (size as u32) << 3).to_le_bytes()[..3].to_vec();
    frame.extend(block(u32::from(then.is_none()), 0, bytes.len()));
    frame.extend(bytes);
    if let Some((byte, count)) = then {
        for left in (0..count).rev() {
            frame.extend(block(u32::from(left == 0), 1, 128 << 10));
            frame.push(byte);
        }
    }
    frame
}

/// A packing, by name: of what begins an archive, and behind it so many MiB of one byte. Each packs those once, and says it
/// over and over.
fn packed(packing: &str, start: &[u8], byte: u8, mebibytes: usize) -> Vec<u8> {
    let pack = match packing {
        "zstd" => return zstd_runs(start, Some((byte, mebibytes * 8))),
        "gzip" => smallest_gzip,
        "bzip2" => bzip2,
        _ => xz,
    };
    let piece = vec![byte; 16 * MEBIBYTE];
    [pack(start), pack(&piece).repeat(mebibytes.div_ceil(16))].concat()
}

/// Bytes in the smallest form that gzip has for them.
fn smallest_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The highest that a server's memory has been.
fn peak_kib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many seconds of a processor a server has had.
fn seconds(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    // Behind the name: user and system are the 12th and the 13th, in hundredths.
    let times = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// A server that has seen an image, and how high its memory was then.
fn warm() -> (Server, usize) {
    let server = Server::start();
    let fingerprint = server.import(&crate::bundles::container("warm"), &[]);
    server.succeeded(&server.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b""));
    let before = peak_kib(&server);
    (server, before)
}

/// Sends each of these and sees it refused, in one of these words.
fn all_fail(cases: Vec<(&str, Vec<u8>, &[&str])>) {
    let (server, before) = warm();
    for (name, bytes, texts) in cases {
        let began = seconds(&server);
        let said = server.failed(&server.send("POST", "/1.0/images", &[], &bytes));
        let took = seconds(&server) - began;
        assert!(texts.iter().any(|text| said.contains(text)), "{name}: {said}");
        assert!(took < SECONDS_MAX, "{name}: {took} s");
        let more = peak_kib(&server).saturating_sub(before);
        assert!(more < MORE_KIB_MAX, "{name}: {more} KiB");
        eprintln!("{name}: {} bytes, {took:.2} s, {more} KiB, {said}", bytes.len());
    }
    assert_empty(&server);
}

const FAR_MORE: &[&str] = &["The image unpacks to far more than it is"];

#[test]
fn sixteen_gibibytes_of_nothing() {
    let start = head("rootfs.bin", b'0', 16 << 30);
    let of = |packing: &str| packed(packing, &start, 0, 16 << 10);
    // 128 MiB, which would fill up before a byte comes out.
    let mut wide = of("zstd");
    wide[5] = 0x88;
    all_fail(vec![
        // A thousandth is as small as this packing can be.
        ("gzip", packed("gzip", &start, 0, 1 << 10), FAR_MORE),
        ("bzip2", of("bzip2"), FAR_MORE),
        ("xz", of("xz"), FAR_MORE),
        ("zstd", of("zstd"), FAR_MORE),
        ("zstd with a large window", wide, FAR_MORE),
    ]);
}

#[test]
fn a_description_of_two_hundred_mebibytes() {
    let start = head("metadata.yaml", b'0', 200 << 20);
    let of = |packing: &str| packed(packing, &start, b'#', 200);
    let texts = &["The image has a metadata.yaml of more than 1 MiB"];
    all_fail(["gzip", "bzip2", "xz", "zstd"].map(|packing| (packing, of(packing), texts.as_slice())).into());
}

#[test]
fn a_million_files_before_what_matters() {
    let thousand: Vec<u8> = (0..1000).flat_map(|n| head(&n.to_string(), b'0', 0)).collect();
    // One that has a million holes; their places can't be told beforehand, or it would be too good to be true already.
    let mut sparse = tar::Header::new_gnu();
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    sparse.set_size(0);
    sparse.as_gnu_mut().unwrap().isextended = [1];
    let mut places = vec![0; 512 * 1000];
    for (block, noise) in places.chunks_mut(512).zip(noise(9, 12_000).chunks(12)) {
        block[..12].copy_from_slice(noise);
        block[504] = 1;
    }
    let holes = [gzip(&sealed(sparse)), gzip(&places).repeat(1000)].concat();
    all_fail(vec![
        ("files", xz(&thousand).repeat(1000), FAR_MORE),
        ("holes", holes, &["The image has too many files"]),
        ("nothing at all", gzip(b"").repeat(100_000), &["The image has next to nothing in it"]),
    ]);
}

#[test]
fn files_of_eight_exbibytes() {
    let described = tar(&[("metadata.yaml", yaml("x").as_bytes())]);
    let huge = head("rootfs.img", b'0', (1 << 63) - 1);
    let larger = head("rootfs.img", b'0', u64::MAX);
    let mut sparse = tar::Header::new_gnu();
    sparse.as_mut_bytes()[..5].copy_from_slice(b"other");
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    sparse.set_size(0);
    sparse.as_gnu_mut().unwrap().realsize = [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let plain = sparse.clone();
    let plain = sealed(plain);
    sparse.as_gnu_mut().unwrap().isextended = [1];
    // A map that goes on and on.
    let mut map = [0; 512];
    map[504] = 1;
    let endless = [sealed(sparse), map.repeat(1 << 14)].concat();
    let said = b"43 GNU.sparse.realsize=9223372036854775807\n";
    let record = [head("x", b'x', said.len() as u64), said.to_vec(), vec![0; 512 - said.len()]].concat();
    let end = vec![0; 1024];
    let cut = &["unexpected EOF"];
    let ends = &["unexpected EOF", "is damaged", "neither a rootfs nor", "missing metadata.yaml"];
    all_fail(vec![
        ("as it is", [huge.clone(), end.clone()].concat(), cut),
        ("and zipped", gzip(&[huge, end.clone()].concat()), cut),
        ("larger", [larger, end.clone()].concat(), ends),
        ("sparse", [plain, end.clone()].concat(), ends),
        ("with a map without an end", endless, ends),
        ("said so", [record, head("other", b'0', 512), end.clone()].concat(), ends),
        ("behind the description", [&described[..1024], &head("other", b'0', 1 << 62)].concat(), cut),
    ]);
}

fn sealed(mut header: tar::Header) -> Vec<u8> {
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn descriptions_that_are_not_what_they_seem() {
    let link = |kind: u8| {
        let mut link = tar::Header::new_gnu();
        link.as_mut_bytes()[..13].copy_from_slice(b"metadata.yaml");
        link.as_mut_bytes()[157..168].copy_from_slice(b"/etc/passwd");
        link.set_entry_type(tar::EntryType::new(kind));
        link.set_size(0);
        [sealed(link), tar(&[("rootfs/x", b"")])].concat()
    };
    let one = yaml("one");
    let twice = tar(&[("metadata.yaml", one.as_bytes()), ("./metadata.yaml", b"x"), ("rootfs/x", b"")]);
    let outside = [head("../metadata.yaml", b'0', 0), tar(&[("rootfs/x", b"")])].concat();
    let of = |yaml: &str| gzip(&tar(&[("metadata.yaml", yaml.as_bytes()), ("rootfs/x", b"")]));
    // Ten of ten of ten …: a thousand million words.
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let ten = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{ten}]\n"));
    }
    let anchors: String = (0..20_000).map(|n| format!("k{n}: &k{n} x\n")).collect();
    let base: Vec<String> = (0..1000).map(|n| format!("k{n}: 1")).collect();
    let heirs: String = (0..1000).map(|n| format!("m{n}: {{ <<: *b }}\n")).collect();
    let merged = format!("base: &b {{ {} }}\n{heirs}", base.join(", "));
    let words = "Could not parse metadata.yaml";
    // What nothing reads is not unfolded; the rest of these has no architecture.
    let incomplete = "Architecture isn't supported";
    all_fail(vec![
        ("a symbolic link", link(b'2'), &["metadata.yaml is not a plain file"]),
        ("a hard link", link(b'1'), &["metadata.yaml is not a plain file"]),
        ("a device", link(b'3'), &["metadata.yaml is not a plain file"]),
        ("twice", gzip(&twice), &["The image has metadata.yaml twice"]),
        ("elsewhere", gzip(&outside), &["The image has a file with .. in its name"]),
        ("laughing", of(&format!("{one}more: *a8\n{laughs}")), &[words]),
        ("in its properties", of(&format!("{laughs}{}  more: *a8\n", yaml("x"))), &[words]),
        ("deep", of(&"[".repeat(500_000)), &[words]),
        ("deep in lines", of(&(0..600).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>()), &[words]),
        ("anchored", of(&anchors), &[words, incomplete]),
        ("merged", of(&merged), &[words, incomplete]),
        ("long", of(&format!("{one}more: \"{}\"\n", "x".repeat(2 * MEBIBYTE))), &["of more than 1 MiB"]),
        ("no text", of("\u{0}\u{1}\u{2}"), &[words]),
    ]);
}

/// As Go's library: an alias in a part that nothing reads stands for nothing.
#[test]
fn what_nothing_reads_may_stand_for_very_much() {
    let (server, before) = warm();
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        laughs.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    let yaml = format!("{laughs}{}more: *a8\n", yaml("one"));
    let began = seconds(&server);
    server.import(&gzip(&tar(&[("metadata.yaml", yaml.as_bytes()), ("rootfs/x", b"")])), &[]);
    assert!(seconds(&server) - began < SECONDS_MAX);
    assert!(peak_kib(&server).saturating_sub(before) < MORE_KIB_MAX);
}

/// What a packing says of the memory that it needs is not believed: only what is kept counts.
#[test]
fn windows_that_nobody_has_the_memory_for() {
    let start = [head("x", b'0', 0), tar(&[("metadata.yaml", yaml("x").as_bytes())])].concat();
    let wide = with_window(xz(&start), 40);
    let mut frame = zstd_runs(&start, None);
    frame[5] = 0xf8;
    let memory = &["The image takes more memory to unpack than it may"];
    let mut lzma = b"\x5d\x00\x00\x00\x80".to_vec();
    lzma.extend([0xff; 8]);
    lzma.extend([0; 2048]);
    all_fail(vec![
        ("xz", wide, &["neither a rootfs nor"]),
        ("zstd", frame, memory),
        (
            "lzma",
            lzma,
            &[
                "The image takes more memory to unpack than it may",
                "is damaged",
                "unexpected EOF",
                "is missing metadata.yaml",
            ],
        ),
    ]);
}

/// Each of these fills half of the largest window that there is, before it is told to be none.
#[test]
fn many_at_a_time_take_no_more_memory_than_a_few() {
    let (server, before) = warm();
    let zeros = [head("rootfs.bin", b'0', 16 << 30), vec![0; 40 * MEBIBYTE]].concat();
    let bytes = with_window(xz(&zeros), 28);
    std::thread::scope(|scope| {
        let send = || server.failed(&server.send("POST", "/1.0/images", &[], &bytes));
        let all: Vec<_> = (0..16).map(|_| scope.spawn(send)).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), FAR_MORE[0]));
    });
    let more = peak_kib(&server).saturating_sub(before);
    assert!(more < 256 << 10, "{more} KiB");
    assert_empty(&server);
}

/// What describes an image that has its root in a second file is read in the same way.
#[test]
fn descriptions_beside_a_root() {
    let (server, before) = warm();
    let send = |metadata: &[u8]| -> Answer {
        let (content_type, body) = form(&[("metadata", "", metadata), ("rootfs.img", "", &qcow2(b"x"))]);
        server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body)
    };
    let zeros = packed("bzip2", &head("x", b'0', 16 << 30), 0, 16 << 10);
    assert_eq!(server.failed(&send(&zeros)), FAR_MORE[0]);
    let long = packed("zstd", &head("metadata.yaml", b'0', 200 << 20), b'#', 200);
    assert_eq!(server.failed(&send(&long)), "The image has a metadata.yaml of more than 1 MiB");
    // It is held in memory, so there is an end to it before it is looked at.
    let huge = [metadata("x"), vec![0; 9 * MEBIBYTE]].concat();
    assert_eq!(server.refused(&send(&huge)).0, 413);
    let more = peak_kib(&server).saturating_sub(before);
    assert!(more < MORE_KIB_MAX, "{more} KiB");
    assert_empty(&server);
}
