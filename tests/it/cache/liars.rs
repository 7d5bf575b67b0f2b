//! A server that says what is not so: each lie ends in the right bytes or in an error, and is forgotten when the server means it again.

use super::{Lab, with};
use crate::harness::noise;
use crate::upstream::{File, Length, Ranges, Tag, Upstream};

const SIZE: usize = 2 << 20;

/// Reads a file that a lying server has, cut in its middle so that it has to be asked twice. Whatever comes is right or is no answer.
fn reads_right(name: &str, seed: u64, lie: impl Fn(File) -> File) {
    let content = noise(seed, SIZE);
    let sums = format!("{}  f\n", crate::harness::sha256(&content));
    let lies_well = lie(File::new("")).ranges == Ranges::WrongBytes;
    for cuts in [Vec::new(), vec![SIZE * 6 / 10]] {
        let lab = Lab::configured("patience = \"5s\"\n");
        lab.upstream.put("/d/SHA256SUMS", File::new(sums.clone()));
        lab.upstream.put("/d/f", lie(File::new(content.clone())).cut_at(cuts.clone()));
        for range in [None, Some((100, 199)), Some((SIZE - 100, SIZE - 1)), None] {
            let header = range.map(|(first, last)| format!("bytes={first}-{last}"));
            let headers: Vec<(&str, &str)> = header.iter().map(|range| ("Range", range.as_str())).collect();
            let outcome = lab.read("/d/f", &headers);
            let right = match (outcome.status, range) {
                (200, _) if outcome.complete => outcome.body == content,
                // Other bytes of the right length at the right place are told by the digest alone: until it is known, no client
                // has all of the file, and parts say that they are not verified.
                (206, Some((first, last))) if outcome.complete && outcome.body == content[first..=last] => true,
                (200, _) if lies_well => outcome.body.len() < SIZE,
                (206, _) if lies_well => outcome.header("cache-status").unwrap().ends_with("detail=unverified"),
                (200, _) => outcome.body.len() < SIZE && outcome.body == content[..outcome.body.len()],
                (206, Some((first, _))) if !outcome.complete => content[first..].starts_with(&outcome.body),
                (status, _) => status >= 400,
            };
            assert!(
                right,
                "{name} {range:?} {cuts:?}: {} {} {:?}",
                outcome.status,
                outcome.body.len(),
                outcome.headers
            );
        }
        assert!(lab.upstream.sent("/d/f") < 12 * SIZE as u64, "{name}: {} bytes", lab.upstream.sent("/d/f"));
    }
}

#[test]
fn ranges_that_are_not_those_asked_for() {
    for (seed, ranges) in [
        (31, Ranges::Ignored),
        (32, Ranges::Refused),
        (33, Ranges::WrongStart),
        (34, Ranges::WrongBytes),
        (35, Ranges::WrongTotal),
    ] {
        reads_right(&format!("{ranges:?}"), seed, |file| file.ranges(ranges));
    }
}

#[test]
fn tags_that_are_none() {
    for (seed, tag) in
        [(41, Tag::Missing), (42, Tag::Random), (43, Tag::Is("W/\"w\"".into())), (44, Tag::Is("bare".into()))]
    {
        reads_right(&format!("{tag:?}"), seed, |file| file.tagged(tag.clone()));
    }
}

#[test]
fn lengths_that_are_wrong() {
    for (seed, length) in
        [(51, Length::Short(1000)), (52, Length::Long(1000)), (53, Length::Chunked), (54, Length::ToTheEnd)]
    {
        reads_right(&format!("{length:?}"), seed, |file| file.length(length));
    }
}

#[test]
fn compressed_bytes_are_no_file() {
    reads_right("gzip", 61, |file| file.with("Content-Encoding", "gzip"));
}

/// A page that says that something went wrong, with the status of a success, and the digest of the file beside it.
#[test]
fn an_error_page_is_no_file() {
    let content = noise(62, SIZE);
    let lab = Lab::start();
    lab.upstream.put("/d/SHA256SUMS", File::new(format!("{}  f\n", crate::harness::sha256(&content))));
    lab.upstream.put("/d/f", File { content_type: "text/html".into(), ..File::new("<h1>Sorry</h1>") });
    let outcome = lab.read("/d/f", &[]);
    assert_eq!((outcome.status, outcome.header("x-visor-error")), (502, Some("vendor-mismatch")), "{outcome:?}");
    assert!(!outcome.text().contains("Sorry"), "{outcome:?}");
    let asked = lab.upstream.gets("/d/f").len();
    // The mismatch is remembered for a while: no client makes the server of the file send it again and again.
    let again = lab.read("/d/f", &[]);
    assert!(!(again.status == 200 && again.complete), "{again:?}");
    assert!(lab.upstream.gets("/d/f").len() <= asked + 1);
}

/// Reads a file twice whose sums are not to be trusted: it is refused both times, and fetched once.
fn is_refused_twice(lab: &Lab, path: &str, code: &str) {
    let content = noise(64, 300_000);
    lab.upstream.put(path, File::new(content.clone()));
    for _ in 0..2 {
        let outcome = lab.read(path, &[]);
        assert!(outcome.body.len() <= content.len() - (64 << 10) && !outcome.complete || outcome.status == 502);
    }
    let outcome = lab.read(path, &[]);
    assert_eq!((outcome.status, outcome.header("x-visor-error")), (502, Some(code)), "{:?}", outcome.text());
    assert_eq!(lab.upstream.gets(path).len(), 1);
}

#[test]
fn sums_that_contradict_themselves_vouch_for_nothing() {
    let lab = Lab::start();
    let lines = [b"one", b"two"].map(|other| format!("{}  f\n", crate::harness::sha256(other)));
    lab.upstream.put("/d/SHA256SUMS", File::new(lines.concat()));
    is_refused_twice(&lab, "/d/f", "checksums-refused");
}

#[test]
fn sums_that_are_not_signed_as_their_vendor_signs_vouch_for_nothing() {
    let content = noise(64, 300_000);
    for (signature, code) in [(None, "signature-missing"), (Some("nothing of a key"), "signature-refused")] {
        let upstream = Upstream::start();
        let vendor = format!(
            "[vendors.mine]\ntitle = \"Mine\"\nkind = \"sums\"\nbase = \"{}\"\nlist = \"SHA256SUMS\"\n\
             image = \"{{release}}/{{build}}.{{arch}}.qcow2\"\nsums = [\"SHA256SUMS\"]\nsignature = [\"{{sums}}.gpg\"]\n\
             keys = [\"D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81\"]\nrequire = \"signature\"\nreleases = [\"1\"]\n\
             format = \"qcow2\"\narchitectures = {{ x86_64 = \"x86_64\" }}\n",
            upstream.url("/vendor/"),
        );
        let lab = Lab { server: with(&[], &vendor), upstream };
        lab.upstream
            .put("/vendor/1/SHA256SUMS", File::new(format!("{}  2.x86_64.qcow2\n", crate::harness::sha256(&content))));
        if let Some(signature) = signature {
            lab.upstream.put("/vendor/1/SHA256SUMS.gpg", File::new(signature));
        }
        is_refused_twice(&lab, "/vendor/1/2.x86_64.qcow2", code);
    }
}

#[test]
fn redirects_end_somewhere() {
    let content = noise(63, 100_000);
    let lab = Lab::start();
    lab.upstream.put("/real", File::new(content.clone()));
    lab.upstream.put("/moved", File::to("/real"));
    lab.upstream.put("/self", File::to("/self"));
    lab.upstream.put("/one", File::to("/two"));
    lab.upstream.put("/two", File::to("/one"));
    lab.read("/moved", &[]).is_all_of(&content);
    for path in ["/self", "/one"] {
        let outcome = lab.read(path, &[]);
        assert_eq!(outcome.status, 502, "{path}: {outcome:?}");
        assert!(lab.upstream.all().len() < 60, "a loop has an end");
    }
}

/// All of its bytes wait for the verdict, so the verdict is the answer.
#[test]
fn a_small_file_with_other_bytes_is_an_error_with_a_head() {
    let lab = Lab::start();
    lab.upstream.put("/d/SHA256SUMS", File::new(format!("{}  f\n", crate::harness::sha256(b"other"))));
    lab.upstream.put("/d/f", File::new(noise(77, 50_000)));
    for range in [None, Some(("Range", "bytes=0-9"))] {
        let outcome = lab.read("/d/f", range.as_slice());
        assert_eq!((outcome.status, outcome.header("x-visor-error")), (502, Some("vendor-mismatch")), "{outcome:?}");
    }
}
