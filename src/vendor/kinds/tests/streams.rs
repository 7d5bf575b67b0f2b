//! Simplestreams: trees as those of Ubuntu and of the images for Incus.

use super::*;

const ROOT: &str = "https://cloud-images.ubuntu.com/releases/";
const PRODUCTS: &str = "streams/v1/com.ubuntu.cloud:released:download";

fn index(ending: &str) -> String {
    format!(
        r#"{{"format":"index:1.0","updated":"Mon, 05 Jan 2026 09:00:00 +0000","index":{{
        "com.ubuntu.cloud:released:aws":{{"datatype":"image-ids","format":"products:1.0","path":"streams/v1/aws.{ending}"}},
        "com.ubuntu.cloud:released:download":{{"datatype":"image-downloads","format":"products:1.0","path":"{PRODUCTS}.{ending}",
        "products":["com.ubuntu.cloud:server:24.04:amd64"]}}}}}}"#
    )
}

fn item(ftype: &str, path: &str, digit: char) -> String {
    let (sha256, md5) = (digit.to_string().repeat(64), digit.to_string().repeat(32));
    format!(r#""{ftype}":{{"ftype":"{ftype}","path":"{path}","size":5,"sha256":"{sha256}","md5":"{md5}"}}"#)
}

fn version(serial: &str, arch: &str, digit: char) -> String {
    let path = |file: &str| format!("server/releases/noble/release-{serial}/ubuntu-24.04-server-cloudimg-{arch}{file}");
    let items = [
        item("disk1.img", &path(".img"), digit),
        item("lxd.tar.xz", &path("-lxd.tar.xz"), 'e'),
        item("squashfs", &path(".squashfs"), 'f'),
    ];
    format!(r#""{serial}":{{"label":"release","pubname":"ubuntu-noble","items":{{{}}}}}"#, items.join(","))
}

fn product(release: &str, codename: &str, aliases: &str, arch: &str, versions: &[String]) -> String {
    let versions = versions.join(",");
    format!(
        r#""com.ubuntu.cloud:server:{release}:{arch}":{{"aliases":"{aliases}","arch":"{arch}","os":"ubuntu","release":"{codename}",
        "release_codename":"{codename}","release_title":"{release}","supported":true,"version":"{release}","versions":{{{versions}}}}}"#
    )
}

fn products() -> String {
    let both = |arch: &str| [version("20251213", arch, 'a'), version("20260105", arch, 'b')];
    let only_root =
        format!(r#""20260106":{{"items":{{{}}}}}"#, item("root.tar.xz", "server/releases/noble/root.tar.xz", 'c'));
    let amd64 = [both("amd64").to_vec(), vec![only_root]].concat();
    let all = [
        product("24.04", "noble", "24.04,n,noble,lts,default", "amd64", &amd64),
        product("24.04", "noble", "24.04,n,noble,lts,default", "arm64", &both("arm64")),
        product("25.10", "questing", "25.10,q,questing", "amd64", &[version("20260103", "amd64", 'd')]),
    ];
    format!(
        r#"{{"format":"products:1.0","content_id":"x","datatype":"image-downloads","products":{{{}}}}}"#,
        all.join(",")
    )
}

/// Ubuntu's tree, signed by the test's key, and a catalogue that pins it.
pub(super) fn signed() -> (Catalogue, FakeDocuments) {
    let signer = Signer::shared();
    let over = format!("[ubuntu]\nkeys = [{:?}]\n", signer.fingerprint());
    let catalogue = catalogue(&over).with_key(&signer.public(), "a key").unwrap();
    let documents = tree().0.into_iter();
    (catalogue, documents.fold(FakeDocuments::default(), |tree, (url, content)| tree.with(&url, content)))
}

/// Documents of Ubuntu's tree, signed, and the newest image that they lead to.
pub(super) fn tree() -> (Vec<(String, String)>, String) {
    documents("sjson", |text| Signer::shared().sign(text))
}

/// Documents of Ubuntu's tree as nobody signed them.
pub(super) fn unsigned() -> (Vec<(String, String)>, String) {
    documents("json", str::to_owned)
}

fn documents(ending: &str, write: impl Fn(&str) -> String) -> (Vec<(String, String)>, String) {
    let lists = vec![
        (format!("{ROOT}streams/v1/index.{ending}"), write(&index(ending))),
        (format!("{ROOT}{PRODUCTS}.{ending}"), write(&products())),
    ];
    (lists, format!("{ROOT}server/releases/noble/release-20260105/ubuntu-24.04-server-cloudimg-amd64.img"))
}

#[tokio::test]
async fn the_newest_build_of_a_signed_tree_is_found_with_its_proof() {
    let (catalogue, tree) = signed();
    let found = find_with(&catalogue, "ubuntu/noble", &tree, None).await.unwrap();
    let url = format!("{ROOT}server/releases/noble/release-20260105/ubuntu-24.04-server-cloudimg-amd64.img");
    assert_eq!((found.url.as_str(), found.name.to_string().as_str()), (url.as_str(), "ubuntu/24.04:20260105"));
    assert_eq!((found.serial.as_str(), found.format, found.packed), ("20260105", Some(Format::Qcow2), false));
    assert_eq!(found.aliases, ["ubuntu/24.04", "ubuntu/noble", "ubuntu/lts"]);
    assert_eq!((found.title.as_str(), found.architecture), ("Ubuntu Cloud Images 24.04", Architecture::X86_64));
    let expectation = found.expectation.unwrap();
    assert_eq!((expectation.size, expectation.evidence.level), (Some(5), Level::Signature));
    assert_eq!(
        expectation.sums.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!("sha256:{}", "b".repeat(64))]
    );
    assert_eq!(expectation.evidence.fingerprint, Some(Signer::shared().fingerprint()));
    assert!(
        expectation.evidence.words.starts_with("signed by Ubuntu Cloud Images ("),
        "{}",
        expectation.evidence.words
    );
    assert_eq!(expectation.evidence.documents, [format!("{ROOT}{PRODUCTS}.sjson")]);
    assert_eq!(tree.asked().len(), 2);
}

#[tokio::test]
async fn releases_builds_variants_and_processors_are_chosen() {
    let (catalogue, tree) = signed();
    let url = async |name: &str| find_with(&catalogue, name, &tree, None).await.map(|found| found.url);
    let at = |rest: &str| Ok::<_, ()>(format!("{ROOT}server/releases/noble/{rest}"));
    let is = |found: Result<String>, rest: &str| assert_eq!(found.map_err(|error| panic!("{error}")), at(rest));
    is(url("ubuntu/lts:20251213").await, "release-20251213/ubuntu-24.04-server-cloudimg-amd64.img");
    is(url("ubuntu/24.04+squashfs").await, "release-20260105/ubuntu-24.04-server-cloudimg-amd64.squashfs");
    is(url("ubuntu/24.04+root").await, "root.tar.xz");
    let latest = find_with(&catalogue, "ubuntu/latest", &tree, None).await.unwrap();
    assert_eq!(latest.name.to_string(), "ubuntu/25.10:20260103");
    assert!(latest.aliases.contains(&"ubuntu/latest".to_owned()), "{:?}", latest.aliases);
    let name = "ubuntu/24.04".parse().unwrap();
    let arm = resolve(&catalogue, &name, Architecture::Aarch64, &tree, None, now(), Level::Signature).await.unwrap();
    assert!(arm.url.ends_with("cloudimg-arm64.img"), "{}", arm.url);
    let older = find_with(&catalogue, "ubuntu/24.04:20251213", &tree, None).await.unwrap();
    assert_eq!(older.aliases, Vec::<String>::new(), "no name that moves stands for an older build");
    let mips = resolve(&catalogue, &name, Architecture::Mips, &tree, None, now(), Level::Signature).await;
    not_found(mips, "Ubuntu Cloud Images has no images for mips; it has aarch64, ");
    let s390x = resolve(&catalogue, &name, Architecture::S390x, &tree, None, now(), Level::Signature).await;
    not_found(s390x, "no images for s390x; it has amd64, arm64.");
    not_found(find_with(&catalogue, "ubuntu/26.04", &tree, None).await, "no release '26.04'; it has 25.10, 24.04.");
    not_found(
        find_with(&catalogue, "ubuntu/24.04:1", &tree, None).await,
        "no build '1' of 24.04; it has 20260106, 20260105,",
    );
    not_found(
        find_with(&catalogue, "ubuntu/24.04+tiny", &tree, None).await,
        "no variant 'tiny' of 24.04; it has default, disk,",
    );
}

#[tokio::test]
async fn what_can_be_pulled_is_listed() {
    let (catalogue, tree) = signed();
    let names = |builds: Vec<(String, String)>| builds.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let all = names(list(&catalogue, "ubuntu", None, &tree).await);
    assert_eq!(all, ["ubuntu/25.10:20260103", "ubuntu/24.04:20260105", "ubuntu/24.04:20251213"]);
    let noble = names(list(&catalogue, "ubuntu", Some("noble"), &tree).await);
    assert_eq!(noble, ["ubuntu/24.04:20260105", "ubuntu/24.04:20251213"]);
}

#[tokio::test]
async fn lists_that_were_changed_or_are_not_signed_are_refused() {
    let (catalogue, tree) = signed();
    let url = format!("{ROOT}{PRODUCTS}.sjson");
    let changed = Signer::shared().sign(&products()).replace("20260105", "20260107");
    let tampered = tree.with(&url, changed);
    let with = async |tree: &FakeDocuments| find_with(&catalogue, "ubuntu/noble", tree, None).await;
    refused(with(&tampered).await, Reason::SignatureRefused, "com.ubuntu.cloud:released:download.sjson");
    let strangers = tampered.with(&url, Signer::new().sign(&products()));
    refused(with(&strangers).await, Reason::SignatureRefused, "none of the keys that count");
    let plain = strangers.with(&url, products());
    refused(with(&plain).await, Reason::SignatureMissing, "released:download.sjson");
    let unsigned = FakeDocuments::default().with(&format!("{ROOT}streams/v1/index.json"), index("json"));
    refused(with(&unsigned).await, Reason::SignatureMissing, "index.sjson");
    let (catalogue, tree) = signed();
    let day = 86_400_000_000;
    let held = |at: i64| Evidence { level: Level::Signature, signed_at: Some(now().0 + at), ..Evidence::default() };
    let newer = find_with(&catalogue, "ubuntu/noble", &tree, Some(&held(day))).await;
    refused(newer, Reason::RolledBack, "released:download.sjson");
    assert!(find_with(&catalogue, "ubuntu/noble", &tree, Some(&held(-day))).await.is_ok());
    // A list is as old as it says, though it was signed anew.
    let written = products().replacen('{', "{\"updated\":\"Mon, 05 Jan 2026 10:00:00 +0000\",", 1);
    let tree = tree.with(&url, Signer::shared().sign(&written));
    let at = |day: &str| Evidence {
        level: Level::Signature,
        signed_at: Some(format!("{day}T12:00:00Z").parse::<jiff::Timestamp>().unwrap().as_microsecond()),
        ..Evidence::default()
    };
    let older = find_with(&catalogue, "ubuntu/noble", &tree, Some(&at("2026-02-01"))).await;
    refused(older, Reason::RolledBack, "older than the one of 2026-02-01");
    // What was held of it before had the day of the signature.
    let found = find_with(&catalogue, "ubuntu/noble", &tree, Some(&at("2026-01-05"))).await.unwrap();
    let evidence = found.expectation.unwrap().evidence;
    assert!(evidence.words.ends_with("sums of 2026-01-05"), "{}", evidence.words);
    assert!(find_with(&catalogue, "ubuntu/noble", &tree, Some(&evidence)).await.is_ok());
}

#[tokio::test]
async fn a_list_never_leads_out_of_its_tree() {
    let signer = Signer::shared();
    for path in ["../../etc/passwd", "/etc/passwd", "http://169.254.169.254/x", "a//b"] {
        let (catalogue, tree) = signed();
        let lying =
            products().replace("server/releases/noble/release-20260105/ubuntu-24.04-server-cloudimg-amd64.img", path);
        let tree = tree.with(&format!("{ROOT}{PRODUCTS}.sjson"), signer.sign(&lying));
        refused(
            find_with(&catalogue, "ubuntu/noble", &tree, None).await,
            Reason::PlaceRefused,
            "not one of the vendor's",
        );
    }
    let (catalogue, tree) = signed();
    let lying = index("sjson").replace(PRODUCTS, "../../streams");
    let tree = tree.with(&format!("{ROOT}streams/v1/index.sjson"), signer.sign(&lying));
    refused(find_with(&catalogue, "ubuntu/noble", &tree, None).await, Reason::PlaceRefused, "not one of the vendor's");
}

#[tokio::test]
async fn lists_that_are_none_are_refused() {
    let signer = Signer::shared();
    let broken = [
        ("{}", "has no products"),
        ("[]", "expected an object"),
        ("{\"products\":{\"a\":3}}", "expected an object"),
        ("{\"products\":{\"a\":{", "EOF"),
    ];
    for (content, words) in broken {
        let (catalogue, tree) = signed();
        let tree = tree.with(&format!("{ROOT}{PRODUCTS}.sjson"), signer.sign(content));
        refused(find_with(&catalogue, "ubuntu/noble", &tree, None).await, Reason::Upstream, words);
    }
    let (catalogue, tree) = signed();
    let wrong = products().replace(&"b".repeat(64), "beef");
    let tree = tree.with(&format!("{ROOT}{PRODUCTS}.sjson"), signer.sign(&wrong));
    refused(find_with(&catalogue, "ubuntu/noble", &tree, None).await, Reason::Upstream, "\"beef\" is no sha256");
}

/// Incus's tree: products of distributions, with variants, attributes of which some stand above, and no signature.
fn incus() -> FakeDocuments {
    let root = "https://images.linuxcontainers.org/";
    let version = |variant: &str, serial: &str, digit: char| {
        let path = |file: &str| format!("images/debian/trixie/amd64/{variant}/{serial}/{file}");
        let sha = digit.to_string().repeat(64);
        format!(
            r#""{serial}":{{"items":{{"incus.tar.xz":{{"ftype":"incus.tar.xz","path":"{}","size":1,"sha256":"{sha}","combined_squashfs_sha256":"{sha}"}},
            "disk.qcow2":{{"ftype":"disk-kvm.img","path":"{}","size":2,"sha256":"{sha}"}},
            "rootfs.squashfs":{{"ftype":"squashfs","path":"{}","size":3,"sha256":"{sha}"}}}}}}"#,
            path("incus.tar.xz"),
            path("disk.qcow2"),
            path("rootfs.squashfs")
        )
    };
    let product = |variant: &str, aliases: &str, versions: &[String]| {
        format!(
            r#""debian:trixie:amd64:{variant}":{{"aliases":"{aliases}","os":"Debian","release":"trixie","release_title":"trixie",
            "variant":"{variant}","requirements":{{"secureboot":"false"}},"versions":{{{}}}}}"#,
            versions.join(",")
        )
    };
    let default = [version("default", "20260104_05:24", 'a'), version("default", "20260105_05:24", 'b')];
    let all = [
        product("default", "debian/trixie/default,debian/trixie,debian/13/default,debian/13", &default),
        product("cloud", "debian/trixie/cloud,debian/13/cloud", &[version("cloud", "20260105_05:26", 'c')]),
    ];
    let products = format!(r#"{{"format":"products:1.0","arch":"amd64","products":{{{}}}}}"#, all.join(","));
    let index = r#"{"format":"index:1.0","index":{"images":{"datatype":"image-downloads","format":"products:1.0",
        "path":"streams/v1/images.json","products":["debian:trixie:amd64:default"]}}}"#;
    FakeDocuments::default()
        .with(&format!("{root}streams/v1/index.json"), index)
        .with(&format!("{root}streams/v1/images.json"), products)
}

#[tokio::test]
async fn images_of_incus_have_two_parts_in_their_release() {
    let tree = incus();
    let found = find("images/debian/13", &tree).await.unwrap();
    let root = "https://images.linuxcontainers.org/images/debian/trixie/amd64/";
    assert_eq!(found.url, format!("{root}default/20260105_05:24/disk.qcow2"));
    assert_eq!(found.name.to_string(), "images/debian/13:20260105_05:24");
    assert_eq!(found.aliases, ["images/debian/13", "images/debian/trixie"]);
    let evidence = found.expectation.unwrap().evidence;
    assert_eq!(
        (evidence.level, evidence.words.as_str()),
        (Level::Checksum, "matches images.json of the same host, over https")
    );
    let cloud = find("images/debian/trixie+cloud", &tree).await.unwrap();
    assert_eq!(cloud.url, format!("{root}cloud/20260105_05:26/disk.qcow2"));
    assert_eq!(cloud.name.to_string(), "images/debian/13:20260105_05:26+cloud", "whichever of its names is asked for");
    assert_eq!(cloud.aliases, ["images/debian/13+cloud", "images/debian/trixie+cloud"]);
    let older = find("images/debian/13:20260104_05:24+squashfs", &tree).await.unwrap();
    assert_eq!(
        (older.url, older.format),
        (format!("{root}default/20260104_05:24/rootfs.squashfs"), Some(Format::Squashfs))
    );
    assert_eq!(found.metadata.map(|metadata| metadata.url), None, "a machine has none");
    assert_eq!(found.properties, [("requirements.secureboot".to_owned(), "false".to_owned())].into());
    let spelled = find("images/debian/13/cloud+squashfs", &tree).await.unwrap();
    assert_eq!(spelled.url, format!("{root}cloud/20260105_05:26/rootfs.squashfs"));
    assert_eq!(spelled.name.to_string(), "images/debian/13/cloud:20260105_05:26+squashfs");
    assert_eq!(spelled.aliases, ["images/debian/13/cloud+squashfs", "images/debian/trixie/cloud+squashfs"]);
    let metadata = spelled.metadata.unwrap();
    assert_eq!(metadata.url, format!("{root}cloud/20260105_05:26/incus.tar.xz"));
    assert_eq!(metadata.fingerprint, [0xcc; 32]);
    let expectation = metadata.expectation.unwrap();
    assert_eq!((expectation.size, expectation.evidence.level), (Some(1), Level::Checksum));
    not_found(find("images/debian/14", &tree).await, "no release 'debian/14'; it has debian/trixie.");
    not_found(find("images/latest", &tree).await, "no release 'latest'; it has debian/trixie.");
    let http = catalogue("[images]\nbase = \"http://lab.example/\"\n");
    let base = "http://lab.example/streams/v1/";
    let index = r#"{"products":{"x":{"aliases":"x/1","arch":"amd64","versions":{"1":{"items":{"d":{"ftype":"disk-kvm.img","path":"d-1.qcow2",
        "sha256":"AAAA"}}}}}}}"#;
    let tree = FakeDocuments::default().with(&format!("{base}index.json"), index.replace("AAAA", &"a".repeat(64)));
    let found = find_with(&http, "images/x/1", &tree, None).await.unwrap();
    assert_eq!(found.url, "http://lab.example/d-1.qcow2", "the products may be in the place of the index");
    let words = found.expectation.unwrap().evidence.words;
    assert!(words.contains("over http: it can have been changed on the way"), "{words}");
}
