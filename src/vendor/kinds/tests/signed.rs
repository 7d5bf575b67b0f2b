//! Vendors that sign, by their shipped entries with a key of the test in the place of theirs: from a name to the proof of its file.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::vendor::Sum;
use crate::vendor::place::{folder, last_part};
use crate::vendor::proof::{file_signature, prove, verify_file_signature};
use crate::vendor::rules::VendorRules;

/// Vendors whose signatures are OpenPGP's.
const SIGNED: [&str; 12] = [
    "ubuntu",
    "ubuntu-daily",
    "debian-iso",
    "fedora",
    "coreos",
    "centos",
    "rocky",
    "almalinux",
    "leap",
    "tumbleweed",
    "gentoo",
    "flatcar",
];

/// Place of the signature of a case's sums.
#[derive(Clone, Copy, PartialEq)]
enum SignaturePlace {
    Inside,
    /// Beside, under the name with this ending.
    Beside(&'static str),
    Signify,
}

/// An image, and the tree that it is in.
struct SignedCase {
    name: &'static str,
    url: String,
    /// Documents that lead to it.
    lists: Vec<(String, String)>,
    /// Name of the sums beside it, and their form.
    sums: String,
    form: fn(&str, &str) -> String,
    signing: SignaturePlace,
}

fn bsd(file: &str, digit: &str) -> String {
    format!("SHA256 ({file}) = {}\n", digit.repeat(64))
}

fn gnu(file: &str, digit: &str) -> String {
    format!("{}  {file}\n", digit.repeat(64))
}

fn gnu512(file: &str, digit: &str) -> String {
    format!("{}  {file}\n", digit.repeat(128))
}

fn digests(file: &str, digit: &str) -> String {
    format!("# SHA512 HASH\n{}", gnu512(file, digit))
}

/// A key of signify and its line.
fn signify() -> (Ed25519KeyPair, String) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let line = STANDARD.encode([b"Ed".as_slice(), &[7; 8], pair.public_key().as_ref()].concat());
    (pair, line)
}

fn signed_by_signify(text: &str) -> String {
    let signature = [b"Ed".as_slice(), &[7; 8], signify().0.sign(text.as_bytes()).as_ref()].concat();
    format!("untrusted comment: verify with openbsd-78-base.pub\n{}\n{text}", STANDARD.encode(signature))
}

/// The shipped catalogue, with the test's keys.
fn pinned() -> Catalogue {
    let fingerprint = Signer::shared().fingerprint();
    let over = SIGNED.map(|vendor| format!("[{vendor}]\nkeys = [{fingerprint:?}]\n")).concat();
    let over = format!("{over}[openbsd]\nkeys = [{:?}]\n", signify().1);
    catalogue(&over).with_key(&Signer::shared().public(), "a key").unwrap()
}

impl SignedCase {
    fn tree(&self) -> FakeDocuments {
        let lists = self.lists.iter();
        let tree = lists.fold(FakeDocuments::default(), |tree, (url, content)| tree.with(url, content.clone()));
        let sums = format!("{}{}", folder(&self.url), self.sums);
        let text = (self.form)(last_part(&self.url), "a");
        match self.signing {
            SignaturePlace::Inside => tree.with(&sums, Signer::shared().sign(&text)),
            SignaturePlace::Signify => tree.with(&sums, signed_by_signify(&text)),
            SignaturePlace::Beside(ending) => {
                let signature = Signer::shared().detached(text.as_bytes());
                tree.with(&sums, text).with(&format!("{sums}{ending}"), signature)
            }
        }
    }
}

/// A case of a vendor that has listings of folders.
fn walked(name: &'static str, url: &str, pages: &[(&str, &[&str])], sums: &str, signing: SignaturePlace) -> SignedCase {
    let lists = pages.iter().map(|(url, names)| ((*url).to_owned(), page(names))).collect();
    let form = match sums {
        "SHA512SUMS" => gnu512,
        "SHA256.sig" | "CHECKSUM" => bsd,
        _ => gnu,
    };
    SignedCase { name, url: url.to_owned(), lists, sums: sums.to_owned(), form, signing }
}

fn cases_of_folders() -> Vec<SignedCase> {
    let rocky = |name: &'static str, major: &str, version: &str| {
        let base = "https://dl.rockylinux.org/pub/rocky/";
        let folder = format!("{base}{version}/images/x86_64/");
        let file = format!("Rocky-{major}-GenericCloud-Base-{version}-20251120.0.x86_64.qcow2");
        let (folders, url) = (format!("{version}/"), format!("{folder}{file}"));
        let pages: [(&str, &[&str]); 2] = [(base, &[&folders]), (&folder, &[&file])];
        let mut case = walked(name, &url, &pages, "CHECKSUM", SignaturePlace::Beside(".asc"));
        // A list about the one file, which nobody signed.
        case.lists.push((format!("{url}.CHECKSUM"), bsd(&file, "a")));
        case
    };
    let alma = "https://repo.almalinux.org/almalinux/10.1/cloud/x86_64/images/";
    let alma_file = "AlmaLinux-10-GenericCloud-10.1-20251124.0.x86_64.qcow2";
    let debian = "https://cdimage.debian.org/debian-cd/";
    let openbsd = "https://cdn.openbsd.org/pub/OpenBSD/";
    let suse = "https://download.opensuse.org/tumbleweed/appliances/";
    let snapshot = "openSUSE-Tumbleweed-Minimal-VM.x86_64-1.1.0-Cloud-Snapshot20260105.qcow2";
    let leap =
        "https://download.opensuse.org/distribution/leap/16.0/appliances/Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2";
    vec![
        rocky("rocky/8", "8", "8.10"),
        rocky("rocky/10", "10", "10.1"),
        walked(
            "almalinux/10",
            &format!("{alma}{alma_file}"),
            &[("https://repo.almalinux.org/almalinux/", &["10.1/"]), (alma, &[alma_file])],
            "CHECKSUM",
            SignaturePlace::Beside(".asc"),
        ),
        walked(
            "debian-iso/13",
            &format!("{debian}13.2.0/amd64/iso-cd/debian-13.2.0-amd64-netinst.iso"),
            &[(debian, &["13.2.0/"])],
            "SHA512SUMS",
            SignaturePlace::Beside(".sign"),
        ),
        walked(
            "openbsd/7.8",
            &format!("{openbsd}7.8/amd64/install78.img"),
            &[(openbsd, &["7.8/"])],
            "SHA256.sig",
            SignaturePlace::Signify,
        ),
        walked(
            "tumbleweed/latest",
            &format!("{suse}{snapshot}"),
            &[(&format!("{suse}?jsontable"), &[snapshot])],
            &format!("{snapshot}.sha256"),
            SignaturePlace::Beside(".asc"),
        ),
        walked("leap/16.0", leap, &[], &format!("{}.sha256", last_part(leap)), SignaturePlace::Beside(".asc")),
    ]
}

fn cases_of_lists() -> Vec<SignedCase> {
    let signer = Signer::shared();
    let centos = "https://cloud.centos.org/centos/10-stream/x86_64/images/";
    let centos_file = "CentOS-Stream-GenericCloud-10-20260105.0.x86_64.qcow2";
    let fedora = "https://download.fedoraproject.org/pub/fedora/linux/releases/44/Cloud/x86_64/images/Fedora-Cloud-Base-Generic-44-1.5.x86_64.qcow2";
    let releases = format!(
        r#"[{{"version":"44","arch":"x86_64","link":"{fedora}","variant":"Cloud","sha256":"{}","size":"5"}}]"#,
        "a".repeat(64)
    );
    let gentoo = "https://distfiles.gentoo.org/releases/amd64/autobuilds/";
    let gentoo_file = "di-amd64-console-20260104T164557Z.qcow2";
    let latest = signer.sign(&format!("20260104T164557Z/{gentoo_file} 1234567\n"));
    let flatcar = "https://stable.release.flatcar-linux.net/amd64-usr/";
    let flatcar_file = "flatcar_production_qemu_image.img.bz2";
    let (streams, ubuntu) = super::streams::tree();
    vec![
        SignedCase {
            name: "centos/10",
            url: format!("{centos}{centos_file}"),
            // That of the one file is not signed.
            lists: vec![(format!("{centos}{centos_file}.SHA256SUM"), bsd(centos_file, "a"))],
            sums: "CHECKSUM".to_owned(),
            form: bsd,
            signing: SignaturePlace::Beside(".asc"),
        },
        SignedCase {
            name: "fedora/44",
            url: fedora.to_owned(),
            lists: vec![("https://fedoraproject.org/releases.json".to_owned(), releases)],
            sums: "Fedora-Cloud-44-1.5-x86_64-CHECKSUM".to_owned(),
            form: bsd,
            signing: SignaturePlace::Inside,
        },
        SignedCase {
            name: "gentoo/latest",
            url: format!("{gentoo}20260104T164557Z/{gentoo_file}"),
            lists: vec![(format!("{gentoo}latest-di-amd64-console.txt"), latest)],
            sums: format!("{gentoo_file}.DIGESTS"),
            form: digests,
            signing: SignaturePlace::Inside,
        },
        SignedCase {
            name: "flatcar/stable",
            url: format!("{flatcar}4230.2.3/{flatcar_file}"),
            lists: vec![(format!("{flatcar}current/version.txt"), "FLATCAR_VERSION=4230.2.3\n".to_owned())],
            sums: format!("{flatcar_file}.DIGESTS"),
            form: digests,
            signing: SignaturePlace::Beside(".sig"),
        },
        SignedCase {
            name: "ubuntu/24.04",
            url: ubuntu,
            lists: streams,
            sums: "SHA256SUMS".to_owned(),
            form: gnu,
            signing: SignaturePlace::Beside(".gpg"),
        },
    ]
}

#[tokio::test]
async fn each_vendor_that_signs_is_believed_by_its_signature() {
    let catalogue = pinned();
    for case in cases_of_folders().into_iter().chain(cases_of_lists()) {
        let (name, tree) = (case.name, case.tree());
        let found = find_with(&catalogue, name, &tree, None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.url, case.url, "{name}");
        let vendor = catalogue.of_url(&found.url).unwrap();
        assert_eq!(name.split('/').next(), Some(vendor.name.as_str()));
        let rules = VendorRules { require: Level::Signature, ..vendor.rules_for(&found.url) };
        let proof =
            async |tree: &FakeDocuments| prove(&found.url, Some(&rules), catalogue.keyring(), tree, None, now()).await;
        let proved = proof(&tree).await.unwrap_or_else(|error| panic!("{name}: {error}")).unwrap();
        let key = Some(vendor.rules.keys[0].as_str());
        assert_eq!((proved.evidence.level, proved.evidence.fingerprint.as_deref()), (Level::Signature, key), "{name}");
        let sums: Vec<String> = proved.sums.iter().map(Sum::hex).collect();
        assert!(matches!(&sums[..], [hex] if hex.bytes().all(|digit| digit == b'a')), "{name}: {sums:?}");
        let url = format!("{}{}", folder(&case.url), case.sums);
        let changed = tree.content(&url).replace("aaaa", "bbbb");
        let tampered = proof(&tree.with(&url, changed)).await.unwrap_err();
        assert_eq!(tampered.reason(), Reason::SignatureRefused, "{name}");
    }
}

#[tokio::test]
async fn a_vendor_that_signs_the_file_itself_is_believed_by_that() {
    let (catalogue, file) = (pinned(), b"an image");
    let url = "https://builds.coreos.fedoraproject.org/prod/streams/stable/builds/44.20260101.3.0/x86_64/fedora-coreos-44.20260101.3.0-qemu.x86_64.qcow2.xz";
    let stream = format!(
        r#"{{"architectures":{{"x86_64":{{"artifacts":{{"qemu":{{"release":"44.20260101.3.0","formats":{{"qcow2.xz":{{"disk":
        {{"location":"{url}","sha256":"{}"}}}}}}}}}}}}}}}}"#,
        "a".repeat(64)
    );
    let tree = FakeDocuments::default()
        .with("https://builds.coreos.fedoraproject.org/streams/stable.json", stream)
        .with(&format!("{url}.sig"), Signer::shared().detached(file));
    let found = find_with(&catalogue, "coreos/stable", &tree, None).await.unwrap();
    assert_eq!(found.url, url);
    let rules = catalogue.of_url(url).unwrap().rules_for(url);
    assert_eq!(prove(url, Some(&rules), catalogue.keyring(), &tree, None, now()).await.unwrap(), None);
    let signature = file_signature(url, &rules, &tree, None).await.unwrap().unwrap();
    let verify = |bytes: &[u8]| {
        verify_file_signature(&signature, &mut Cursor::new(bytes), &rules, catalogue.keyring(), None, now())
    };
    assert_eq!(verify(file).unwrap().level, Level::Signature);
    assert_eq!(verify(b"another").unwrap_err().reason(), Reason::SignatureRefused);
}

#[tokio::test]
async fn a_level_that_is_asked_for_goes_before_the_catalogues() {
    let catalogue = Catalogue::shipped();
    let at = async |name: &str, require: Level, tree: &FakeDocuments| {
        resolve(&catalogue, &name.parse().unwrap(), Architecture::X86_64, tree, None, now(), require).await
    };
    let flatcar = FakeDocuments::default()
        .with("https://stable.release.flatcar-linux.net/amd64-usr/current/version.txt", "FLATCAR_VERSION=4230.2.3\n");
    assert!(at("flatcar/stable", Level::Checksum, &flatcar).await.is_ok(), "no key is needed for that");
    refused(at("flatcar/stable", Level::Signature, &flatcar).await, Reason::KeyMissing, "keys/vendors/");
    let (lists, url) = super::streams::unsigned();
    let tree = lists.into_iter().fold(FakeDocuments::default(), |tree, (url, content)| tree.with(&url, content));
    let found = at("ubuntu/24.04", Level::Checksum, &tree).await.unwrap();
    assert_eq!((found.url, found.expectation.unwrap().evidence.level), (url, Level::Checksum));
    refused(at("ubuntu/24.04", Level::Signature, &tree).await, Reason::SignatureMissing, "index.sjson");
}

#[tokio::test]
async fn a_name_never_chooses_the_host() {
    let (catalogue, tree) = (pinned(), FakeDocuments::default());
    for name in ["flatcar/evil.example/x", "flatcar/evil", "flatcar/evil.example/x:1.2.3"] {
        not_found(find_with(&catalogue, name, &tree, None).await, "it has stable, beta, alpha, lts.");
    }
    assert_eq!(tree.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn text_outside_what_is_signed_chooses_no_build() {
    let catalogue = pinned();
    let list = "https://distfiles.gentoo.org/releases/amd64/autobuilds/latest-di-amd64-console.txt";
    let line = |build: &str| format!("{build}/di-amd64-console-{build}.qcow2 1234567\n");
    let signed = Signer::shared().sign(&line("20260104T164557Z"));
    let around = format!("{0}{signed}{0}", line("20270101T000000Z"));
    let found = find_with(&catalogue, "gentoo/latest", &FakeDocuments::default().with(list, around), None).await;
    assert!(found.unwrap().url.ends_with("-20260104T164557Z.qcow2"));
    let plain = FakeDocuments::default().with(list, line("20270101T000000Z"));
    refused(find_with(&catalogue, "gentoo/latest", &plain, None).await, Reason::SignatureMissing, "Gentoo");
}
