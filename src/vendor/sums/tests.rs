//! Lists of checksums, in the shape of each vendor.

use proptest::prelude::*;

use super::*;

fn hex(digit: char, algorithm: SumAlgorithm) -> String {
    digit.to_string().repeat(algorithm.length() * 2)
}

fn sum(digit: char, algorithm: SumAlgorithm) -> Sum {
    Sum::of_hex(&hex(digit, algorithm)).unwrap()
}

fn found(own_name: &str, text: &str, file: &str) -> Option<FoundSums> {
    Sums::parse(text.as_bytes(), own_name).unwrap().find(file)
}

fn refused(own_name: &str, text: &str) -> String {
    let error = Sums::parse(text.as_bytes(), own_name).unwrap_err();
    assert_eq!(error.reason(), Reason::SumsRefused);
    error.to_string()
}

fn one(digit: char, algorithm: SumAlgorithm) -> Option<FoundSums> {
    Some(FoundSums { sums: vec![sum(digit, algorithm)], size: None })
}

const A512: SumAlgorithm = SumAlgorithm::Sha512;
const A256: SumAlgorithm = SumAlgorithm::Sha256;

#[test]
fn lists_of_a_folder_are_read() {
    let ubuntu = format!("{} *noble-amd64.img\n{} *noble-arm64.img\n", hex('a', A256), hex('b', A256));
    assert_eq!(found("SHA256SUMS", &ubuntu, "noble-arm64.img"), one('b', A256));
    assert_eq!(found("SHA256SUMS", &ubuntu, "noble"), None);
    let debian = format!("{}  debian-13-generic-amd64.qcow2\n", hex('c', A512));
    assert_eq!(found("SHA512SUMS", &debian, "debian-13-generic-amd64.qcow2"), one('c', A512));
    let freebsd = format!("SHA512 (FreeBSD-15.0-amd64.qcow2.xz) = {}\n", hex('d', A512));
    assert_eq!(found("CHECKSUM.SHA512", &freebsd, "FreeBSD-15.0-amd64.qcow2.xz"), one('d', A512));
    let alma = format!("{}  AlmaLinux-10.qcow2\n", hex('e', A256));
    assert_eq!(found("CHECKSUM", &alma, "AlmaLinux-10.qcow2"), one('e', A256));
    let cirros = format!("{}  cirros-0.6.3-x86_64-disk.img\n", hex('f', SumAlgorithm::Md5));
    assert_eq!(found("MD5SUMS", &cirros, "cirros-0.6.3-x86_64-disk.img"), one('f', SumAlgorithm::Md5));
    let netbsd = format!(
        "SHA512 (NetBSD-10.1-amd64.iso) = {0}\nRMD160 (NetBSD-10.1-amd64.iso) = {1}\n",
        hex('1', A512),
        "2".repeat(40)
    );
    assert_eq!(found("SHA512", &netbsd, "NetBSD-10.1-amd64.iso"), one('1', A512));
}

#[test]
fn sizes_in_comments_belong_to_the_file() {
    let rocky = format!(
        "# Rocky-10.qcow2: 536870912 bytes\nSHA256 (Rocky-10.qcow2) = {0}\n# Rocky-10.qcow2: 536870912 bytes\nSHA256 (Rocky-10.qcow2) = {0}\n",
        hex('a', A256)
    );
    let both = Some(FoundSums { sums: vec![sum('a', A256)], size: Some(536_870_912) });
    assert_eq!(found("CHECKSUM", &rocky, "Rocky-10.qcow2"), both);
    assert_eq!(found("CHECKSUM", "# a: 5 bytes\n", "a"), None, "a length is no digest");
    assert!(refused("CHECKSUM", "# a: 5 bytes\n\n# a: 6 bytes\n").contains("lines 1 and 3 give 'a' different lengths"));
}

#[test]
fn a_bare_digest_is_of_the_file_that_the_document_is_named_after() {
    for text in [hex('a', A512), format!("{}\r\n", hex('A', A512))] {
        assert_eq!(found("alpine.qcow2.sha512", &text, "alpine.qcow2"), one('a', A512));
        assert_eq!(found("alpine.qcow2.sha512", &text, "alpine.qcow2.sha512"), None);
        assert_eq!(found("SHA512SUMS", &text, "SHA512SUMS"), None);
    }
    assert!(refused("x.img.sha256", &hex('a', A512)).contains("line 1 has no sha256 of 64 digits"));
}

#[test]
fn headings_give_the_algorithm() {
    let gentoo = format!(
        "# BLAKE2B HASH\n{1}  di.qcow2\n# SHA512 HASH\n{0}  di.qcow2\n{2}  di.qcow2.CONTENTS.gz\n",
        hex('a', A512),
        hex('b', A512),
        hex('c', A512)
    );
    assert_eq!(found("di.qcow2.DIGESTS", &gentoo, "di.qcow2"), one('a', A512));
    assert_eq!(found("di.qcow2.DIGESTS", &gentoo, "di.qcow2.CONTENTS.gz"), one('c', A512));
    let flatcar = format!(
        "# MD5 HASH\n{}  f.img.bz2\n# SHA1 HASH\n{}  f.img.bz2\n# SHA512 HASH\n{}  f.img.bz2\n",
        hex('1', SumAlgorithm::Md5),
        hex('2', SumAlgorithm::Sha1),
        hex('3', A512)
    );
    let sums = vec![sum('3', A512), sum('2', SumAlgorithm::Sha1), sum('1', SumAlgorithm::Md5)];
    assert_eq!(found("f.img.bz2.DIGESTS", &flatcar, "f.img.bz2"), Some(FoundSums { sums, size: None }));
    assert!(refused("x.DIGESTS", &format!("# SHA512 HASH\n{}  x", hex('a', A256))).contains("line 2 has no sha512"));
    let own = format!("# BLAKE2B HASH\nSHA256 (x) = {}", hex('a', A256));
    assert_eq!(found("x.DIGESTS", &own, "x"), one('a', A256), "a line that names its algorithm needs no heading");
}

#[test]
fn folders_are_compared_by_the_last_part_if_it_is_unique() {
    let text = format!(
        "{0}  ./images/disk.img\n{1}  amd64/root.img\n{2}  arm64/root.img\n{3}  top.img\n{4}  sub/top.img\n",
        hex('a', A256),
        hex('b', A256),
        hex('c', A256),
        hex('d', A256),
        hex('e', A256)
    );
    assert_eq!(found("SHA256SUMS", &text, "disk.img"), one('a', A256));
    assert_eq!(found("SHA256SUMS", &text, "images/disk.img"), one('a', A256));
    assert_eq!(found("SHA256SUMS", &text, "root.img"), None);
    assert_eq!(found("SHA256SUMS", &text, "arm64/root.img"), one('c', A256));
    assert_eq!(found("SHA256SUMS", &text, "top.img"), one('d', A256), "its own name comes first");
}

#[test]
fn names_that_climb_vouch_for_nothing() {
    let text =
        format!("{0}  ../../etc/passwd\n{1}  /abs/x.img\n{2}  ..\n", hex('a', A256), hex('b', A256), hex('c', A256));
    assert_eq!(found("SHA256SUMS", &text, "../../etc/passwd"), None);
    assert_eq!(found("SHA256SUMS", &text, "/abs/x.img"), None);
    assert_eq!(found("SHA256SUMS", &text, "passwd"), None);
    assert_eq!(found("SHA256SUMS", &text, "x.img"), None);
    let both = format!("{text}{}  d/passwd\n", hex('d', A256));
    assert_eq!(found("SHA256SUMS", &both, "passwd"), one('d', A256), "nor do they stand in the way of another");
}

#[test]
fn two_digests_for_one_name_refuse_the_document() {
    let text = format!("{0}  a\n\n{1}  b\n{2} *./a\n", hex('a', A256), hex('b', A256), hex('c', A256));
    assert!(
        refused("SHA256SUMS", &text).contains("lines 1 and 4 give 'a' different digests"),
        "{}",
        refused("SHA256SUMS", &text)
    );
    let repeated = format!("{0}  a\n{1} *a\n", hex('a', A256), hex('A', A256));
    assert_eq!(found("SHA256SUMS", &repeated, "a"), one('a', A256));
    let strong = format!("SHA256 (a) = {}\nSHA512 (a) = {}\n", hex('a', A256), hex('b', A512));
    let sums = vec![sum('b', A512), sum('a', A256)];
    assert_eq!(found("CHECKSUM", &strong, "a"), Some(FoundSums { sums, size: None }));
}

#[test]
fn windows_line_ends_and_marks_are_taken_as_they_come() {
    let text = format!("\u{feff}{} *a b.img\r\n\r\n{}  c.img\r\n", hex('a', A256), hex('b', A256));
    assert_eq!(found("SHA256SUMS", &text, "a b.img"), one('a', A256));
    assert_eq!(found("SHA256SUMS", &text, "c.img"), one('b', A256));
}

#[test]
fn only_the_content_of_a_signed_document_counts() {
    let inside = format!("SHA256 (a) = {}", hex('a', A256));
    let outside = format!("SHA256 (b) = {}", hex('b', A256));
    let signed = format!(
        "{outside}\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{inside}\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n{outside}\n"
    );
    assert_eq!(found("CHECKSUM", &signed, "a"), one('a', A256));
    assert_eq!(found("CHECKSUM", &signed, "b"), None);
    let key = format!("{}=", "A".repeat(99));
    let openbsd = format!("untrusted comment: verify with openbsd-78-base.pub\n{key}\n{inside}\n{outside}\n");
    assert_eq!(found("SHA256.sig", &openbsd, "a"), one('a', A256));
    assert_eq!(found("SHA256.sig", &openbsd, "b"), one('b', A256));
    refused("CHECKSUM", "-----BEGIN PGP SIGNED MESSAGE-----\n\nwithout an end\n");
}

#[test]
fn what_is_no_list_names_nothing_and_what_is_too_long_is_refused() {
    let page = format!("\n<!DOCTYPE html><p>{}  a</p>\n{0}  a\n{}", hex('a', A256), "x".repeat(5000));
    for nothing in [page.as_str(), "", "\0\0\u{1}", "404: not found\n"] {
        assert_eq!(found("SHA256SUMS", nothing, "a"), None);
    }
    assert!(refused("SHA256SUMS", &"x".repeat(4097)).contains("line 1"));
    assert!(refused("SHA256SUMS", &"\n".repeat(SUMS_BYTES_MAX + 1)).contains("8 MiB"));
    let mut latin = format!("{}  ", hex('a', A256)).into_bytes();
    latin.extend(b"\xe4.img\n");
    latin.extend(format!("{}  b.img\n", hex('b', A256)).bytes());
    assert_eq!(Sums::parse(&latin, "SHA256SUMS").unwrap().find("b.img"), one('b', A256));
}

fn any_sum() -> impl Strategy<Value = Sum> {
    (0_usize..4, any::<[u8; 64]>())
        .prop_map(|(at, bytes)| Sum::new(SumAlgorithm::ALL[at], &bytes[..SumAlgorithm::ALL[at].length()]).unwrap())
}

proptest! {
    #[test]
    fn what_is_written_is_read(sum in any_sum(), name in "[a-zA-Z0-9 ()._=\\\\\n\r#*ä-]{1,40}", form in 0..3) {
        prop_assume!(!name.trim().is_empty());
        let escaped = name.contains(['\\', '\n', '\r']);
        let mark = if escaped { "\\" } else { "" };
        let written = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        let line = match form {
            0 => format!("{mark}{}  {written}\n", sum.hex()),
            1 => format!("{mark}{} *{written}\n", sum.hex().to_uppercase()),
            _ => format!("{mark}{} ({written}) = {}\n", sum.algorithm().name().to_uppercase(), sum.hex()),
        };
        let read = Sums::parse(line.as_bytes(), "CHECKSUM").unwrap().find(&name);
        prop_assert_eq!(read, Some(FoundSums { sums: vec![sum], size: None }));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), name in ".{0,20}") {
        let _ = Sums::parse(&bytes, &name).map(|list| list.find(&name));
    }

    #[test]
    fn no_text_like_a_list_panics(
        text in "([0-9a-f]{32}|[0-9a-f]{64}|# |SHA256|MD5| |\\(|\\)|=|\\*|\\\\|\n|\r|a|/|\\.\\.|ä| bytes|: 5| HASH|-----BEGIN PGP SIGNED MESSAGE-----\n)*"
    ) {
        if let Ok(list) = Sums::parse(text.as_bytes(), "a.sha256") {
            for (name, facts) in list.iter() {
                prop_assert!(!facts.sums.is_empty(), "{}", name);
            }
        }
    }
}
