//! Lists in JSON: Debian's, Fedora's, those of CoreOS, and Oracle's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::*;

const DEBIAN: &str = "https://cloud.debian.org/images/cloud/";

fn upload(path: &str, format: &str, digest: &[u8]) -> String {
    let digest = STANDARD_NO_PAD.encode(digest);
    format!(
        r#"{{"apiVersion":"cloud.debian.org/v1alpha1","kind":"Upload","metadata":{{"annotations":{{"cloud.debian.org/digest":"sha512:{digest}"}},
        "labels":{{"cloud.debian.org/version":"20260105-2299","upload.cloud.debian.org/image-format":"{format}"}}}},
        "data":{{"provider":"cloud.debian.org","ref":"{path}"}}}}"#
    )
}

fn debian_list(build: &str, digest: &[u8]) -> String {
    let path = |ending: &str| format!("trixie/{build}/debian-13-generic-amd64-{build}.{ending}");
    let items = [
        r#"{"apiVersion":"cloud.debian.org/v1alpha1","kind":"Build","metadata":{"labels":{}},"data":{"info":{"arch":"amd64"}}}"#.to_owned(),
        upload(&path("tar.xz"), "internal", &[0; 64]),
        upload(&path("qcow2"), "qcow2", digest),
        upload(&path("raw"), "raw", &[1; 64]),
    ];
    format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","))
}

#[tokio::test]
async fn debians_newest_build_is_named_by_its_date_and_verified_by_its_list() {
    let list = format!("{DEBIAN}trixie/latest/debian-13-generic-amd64.json");
    let of_build = format!("{DEBIAN}trixie/20260105-2299/debian-13-generic-amd64-20260105-2299.json");
    let content = debian_list("20260105-2299", &[7; 64]);
    let tree = FakeDocuments::default().with(&list, content.clone()).with(&of_build, content);
    for name in ["debian/13", "debian/trixie", "debian/latest", "debian/stable", "debian/13+generic"] {
        let found = find(name, &tree).await.unwrap();
        assert_eq!(
            found.url,
            format!("{DEBIAN}trixie/20260105-2299/debian-13-generic-amd64-20260105-2299.qcow2"),
            "{name}"
        );
        assert_eq!(found.name.to_string(), "debian/13:20260105-2299");
        assert_eq!(
            found.aliases,
            ["debian/13", "debian/trixie", "debian/latest", "debian/stable"].map(str::to_owned),
            "{name}"
        );
        let expectation = found.expectation.unwrap();
        assert_eq!(expectation.sums.iter().map(|sum| sum.bytes().to_vec()).collect::<Vec<_>>(), [vec![7; 64]]);
        assert_eq!(expectation.evidence.words, "matches debian-13-generic-amd64.json of the same host, over https");
    }
    not_found(find("debian/14", &tree).await, "Debian Cloud Images has no release '14'; it has 13, 12, 11.");
    not_found(find("debian/sid", &tree).await, "it has 13, 12, 11.");
    not_found(find("debian/13+huge", &tree).await, "no variant 'huge' of 13; it has generic, genericcloud, nocloud.");
    not_found(find("debian/12", &tree).await, "no image 'generic' of 12 for x86_64");
    not_found(find_for(Architecture::S390x, "debian/13", &tree).await, "it has aarch64, ppc64le, x86_64.");
}

#[tokio::test]
async fn debians_older_builds_variants_and_processors_have_lists_of_their_own() {
    let at = |build: &str| format!("{DEBIAN}trixie/{build}/debian-13-generic-amd64-{build}");
    let arm = format!("{DEBIAN}trixie/latest/debian-13-nocloud-arm64.json");
    let arm_list = debian_list("20260105-2299", &[8; 64]).replace("generic-amd64", "nocloud-arm64");
    let tree = FakeDocuments::default()
        .with(&format!("{}.json", at("20251201-2200")), debian_list("20251201-2200", &[9; 64]))
        .with(&arm, arm_list)
        .with(
            &format!("{DEBIAN}trixie/"),
            page(&["20251201-2200/", "20260105-2299/", "latest/", "daily/", "OpenStack/"]),
        );
    let older = find("debian/13:20251201-2200", &tree).await.unwrap();
    assert_eq!(older.url, format!("{}.qcow2", at("20251201-2200")));
    assert!(older.expectation.is_some() && older.aliases.is_empty());
    let arm = find_for(Architecture::Aarch64, "debian/13+nocloud", &tree).await.unwrap();
    assert!(arm.url.ends_with("/debian-13-nocloud-arm64-20260105-2299.qcow2"), "{}", arm.url);
    assert_eq!(
        (arm.name.to_string().as_str(), arm.aliases[0].as_str()),
        ("debian/13:20260105-2299+nocloud", "debian/13+nocloud")
    );
    let all = list(&Catalogue::shipped(), "debian", Some("13"), &tree).await;
    let newest = ("debian/13:20260105-2299".to_owned(), format!("{}.qcow2", at("20260105-2299")));
    assert_eq!(all, [newest, ("debian/13:20251201-2200".to_owned(), format!("{}.qcow2", at("20251201-2200")))]);
}

#[tokio::test]
async fn a_list_of_debians_that_lies_is_refused() {
    let list = format!("{DEBIAN}trixie/latest/debian-13-generic-amd64.json");
    let with = |content: String| FakeDocuments::default().with(&list, content);
    let good = debian_list("20260105-2299", &[7; 64]);
    let elsewhere = good.replace("trixie/20260105-2299/debian", "trixie/../../20260105-2299/debian");
    refused(find("debian/13", &with(elsewhere)).await, Reason::Upstream, "names no image");
    let short = good.replace(&STANDARD_NO_PAD.encode([7; 64]), "AAAA");
    refused(find("debian/13", &with(short)).await, Reason::Upstream, "is no digest");
    refused(find("debian/13", &with("<html>".to_owned())).await, Reason::Upstream, "can't be used");
}

fn fedora(images: &[(&str, &str, &str)]) -> String {
    let image = |(version, arch, link): &(&str, &str, &str)| {
        let sha = "a".repeat(64);
        format!(
            r#"{{"version":"{version}","arch":"{arch}","link":"{link}","variant":"Cloud","subvariant":"Cloud_Base","sha256":"{sha}","size":"536870912"}}"#
        )
    };
    format!("[{}]", images.iter().map(image).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn fedoras_newest_release_is_no_beta() {
    let base = "https://download.fedoraproject.org/pub/fedora/linux/releases";
    let link = |release: &str, arch: &str, rest: &str| {
        format!("{base}/{release}/Cloud/{arch}/images/Fedora-Cloud-Base-{rest}")
    };
    let (f44, f44arm) =
        (link("44", "x86_64", "Generic-44-1.5.x86_64.qcow2"), link("44", "aarch64", "Generic-44-1.5.aarch64.qcow2"));
    let (f43, beta) = (
        link("43", "x86_64", "Generic-43-1.6.x86_64.qcow2"),
        link("test/45_Beta", "x86_64", "Generic-45_Beta-1.2.x86_64.qcow2"),
    );
    let other = link("44", "x86_64", "GCE-44-1.5.x86_64.tar.gz");
    let list = fedora(&[
        ("44", "x86_64", &f44),
        ("44", "aarch64", &f44arm),
        ("43", "x86_64", &f43),
        ("45 Beta", "x86_64", &beta),
        ("44", "x86_64", &other),
    ]);
    let tree = FakeDocuments::default().with("https://fedoraproject.org/releases.json", list.clone());
    for name in ["fedora/44", "fedora/latest", "fedora/stable", "fedora/44:1.5"] {
        let found = find(name, &tree).await.unwrap();
        assert_eq!((found.url.as_str(), found.name.to_string().as_str()), (f44.as_str(), "fedora/44:1.5"), "{name}");
        let expectation = found.expectation.unwrap();
        assert_eq!(
            (expectation.size, expectation.evidence.level),
            (Some(536_870_912), Level::Checksum),
            "its length is a text"
        );
        assert_eq!(expectation.evidence.words, "matches releases.json of fedoraproject.org, over https");
    }
    assert_eq!(find("fedora/43", &tree).await.unwrap().url, f43);
    assert_eq!(find_for(Architecture::Aarch64, "fedora/44", &tree).await.unwrap().url, f44arm);
    not_found(find("fedora/45", &tree).await, "no release '45'; it has 44, 43.");
    not_found(find("fedora/44:1.4", &tree).await, "no build '1.4' of 44; it has 1.5.");
    let names = list_names(&tree).await;
    assert_eq!(names, ["fedora/44:1.5", "fedora/43:1.6"]);
    let lying = list.replace("https://download.fedoraproject.org/", "https://evil.example/");
    let tree = FakeDocuments::default().with("https://fedoraproject.org/releases.json", lying);
    refused(find("fedora/44", &tree).await, Reason::PlaceRefused, "not one of the vendor's");
    // A mirror, whose list is another host's.
    let tree = FakeDocuments::default().with("https://fedoraproject.org/releases.json", list);
    let mirror = "[fedora]\nbase = \"https://mirror.example/fedora/linux/\"\n";
    let words = format!(
        "the place \"{f44}\", which is not one of the vendor's: if it is, name its beginning in 'sites' of [vendors.fedora]."
    );
    refused(find_with(&catalogue(mirror), "fedora/44", &tree, None).await, Reason::PlaceRefused, &words);
    let sites = format!("{mirror}sites = [\"https://download.fedoraproject.org/pub/fedora/linux/\"]\n");
    assert_eq!(find_with(&catalogue(&sites), "fedora/44", &tree, None).await.unwrap().url, f44);
}

async fn list_names(tree: &FakeDocuments) -> Vec<String> {
    super::list(&Catalogue::shipped(), "fedora", None, tree).await.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_stream_of_coreos_has_one_build() {
    let base = "https://builds.coreos.fedoraproject.org/";
    let url = |build: &str, rest: &str| {
        format!("{base}prod/streams/stable/builds/{build}/x86_64/fedora-coreos-{build}-{rest}")
    };
    let disk = |platform: &str, format: &str, rest: &str| {
        let location = url("44.20260101.3.0", rest);
        format!(
            r#""{platform}":{{"release":"44.20260101.3.0","formats":{{"{format}":{{"disk":{{"location":"{location}","signature":"{location}.sig",
            "sha256":"{}","uncompressed-sha256":"{}"}}}}}}}}"#,
            "a".repeat(64),
            "b".repeat(64)
        )
    };
    let artifacts = [disk("qemu", "qcow2.xz", "qemu.x86_64.qcow2.xz"), disk("metal", "raw.xz", "metal.x86_64.raw.xz")];
    let stream = format!(
        r#"{{"stream":"stable","metadata":{{"last-modified":"2026-01-05T00:00:00Z"}},"architectures":{{"x86_64":{{"artifacts":{{{}}}}}}}}}"#,
        artifacts.join(",")
    );
    let tree = FakeDocuments::default().with(&format!("{base}streams/stable.json"), stream);
    let found = find("coreos/stable", &tree).await.unwrap();
    assert_eq!(found.url, url("44.20260101.3.0", "qemu.x86_64.qcow2.xz"));
    assert_eq!(found.name.to_string(), "coreos/stable:44.20260101.3.0");
    assert_eq!((found.packed, found.format, found.aliases[0].as_str()), (true, Some(Format::Qcow2), "coreos/stable"));
    assert_eq!(found.expectation.unwrap().sums[0].hex(), "a".repeat(64), "of the file as it is published");
    let metal = find("coreos/stable+metal", &tree).await.unwrap();
    assert_eq!((metal.url, metal.format), (url("44.20260101.3.0", "metal.x86_64.raw.xz"), Some(Format::Raw)));
    let older = find("coreos/stable:43.20251201.3.0", &tree).await.unwrap();
    assert_eq!(older.url, url("43.20251201.3.0", "qemu.x86_64.qcow2.xz"));
    assert!(older.expectation.is_none(), "its signature has to say");
    not_found(find("coreos/stable+vmware9", &tree).await, "no variant 'vmware9' of stable; it has metal, qemu.");
    not_found(find_for(Architecture::Aarch64, "coreos/stable", &tree).await, "no images for aarch64; it has x86_64.");
    not_found(find("coreos/rawhide", &tree).await, "no release 'rawhide'; it has stable, testing, next.");
    not_found(find("coreos/latest", &tree).await, "no release 'latest'; it has stable, testing, next.");
}

#[tokio::test]
async fn a_template_of_oracles_has_an_image_for_each_hypervisor() {
    let base = "https://yum.oracle.com/templates/OracleLinux/";
    let template = |arch: &str, image: &str| {
        let sha = "c".repeat(64);
        format!(
            r#"{{"base_url":"/templates/OracleLinux/OL9/u6/{arch}","version":"9.6","kvm":{{"image":"{image}","sha256":"{sha}"}},
            "xen":{{"image":"OL9U6_x86_64-pvhvm-b265.ova","sha256":"{sha}"}}}}"#
        )
    };
    let tree = FakeDocuments::default()
        .with(&format!("{base}ol9-template.json"), template("x86_64", "OL9U6_x86_64-kvm-b265.qcow2"))
        .with(
            &format!("{base}ol9_aarch64-cloud-template.json"),
            template("aarch64", "OL9U6_aarch64-kvm-cloud-b141.qcow2"),
        );
    let found = find("oracle/9", &tree).await.unwrap();
    assert_eq!(found.url, format!("{base}OL9/u6/x86_64/OL9U6_x86_64-kvm-b265.qcow2"));
    assert_eq!((found.name.to_string().as_str(), found.serial.as_str()), ("oracle/9:265", "265"));
    assert_eq!(found.expectation.unwrap().sums[0].hex(), "c".repeat(64));
    let arm = find_for(Architecture::Aarch64, "oracle/9", &tree).await.unwrap();
    assert_eq!(
        (arm.url, arm.serial.as_str()),
        (format!("{base}OL9/u6/aarch64/OL9U6_aarch64-kvm-cloud-b141.qcow2"), "141")
    );
    assert!(find("oracle/9:265", &tree).await.is_ok());
    not_found(find("oracle/9:264", &tree).await, "no build '264' of 9; it has 265.");
    not_found(find("oracle/9+hyperv", &tree).await, "no variant 'hyperv' of 9; it has kvm, xen.");
    not_found(find("oracle/7", &tree).await, "no release '7'; it has 10, 9, 8.");
    let with = |base_url: &str| {
        let content = template("x86_64", "OL9U6_x86_64-kvm-b265.qcow2");
        let content = content.replace("/templates/OracleLinux/OL9/u6/x86_64", base_url);
        FakeDocuments::default().with(&format!("{base}ol9-template.json"), content)
    };
    for known in [&format!("{base}OL9/u6/x86_64"), "/templates/OracleLinux/OL9/u6/x86_64/"] {
        assert_eq!(find("oracle/9", &with(known)).await.unwrap().url, found.url, "{known}");
    }
    for lying in ["https://10.0.0.1/OL9", "/../x", "//10.0.0.1/OL9", "/templates/OracleLinux/../../x", "/%2e%2e"] {
        refused(find("oracle/9", &with(lying)).await, Reason::PlaceRefused, "not one of the vendor's");
    }
}
