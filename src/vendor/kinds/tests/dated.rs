//! Moving names of each kind, and the builds that they stand for.

use super::streams;
use super::*;
use crate::vendor::kinds::dated;

async fn found(catalogue: &Catalogue, url: &str, tree: &FakeDocuments) -> Result<Option<String>> {
    dated(catalogue, url, tree, None, now()).await
}

/// Checks that a name stands for a build, and is asked for over https only.
async fn stands(tree: &FakeDocuments, name: &str, build: &str) {
    let catalogue = Catalogue::shipped();
    assert_eq!(found(&catalogue, name, tree).await.unwrap().as_deref(), Some(build), "{name}");
    let plain = name.replacen("https://", "http://", 1);
    assert_eq!(found(&catalogue, &plain, tree).await.unwrap().as_deref(), Some(build), "{plain}");
    assert_eq!(found(&catalogue, build, tree).await.unwrap(), None, "a build stands for itself");
}

#[tokio::test]
async fn a_list_of_products_has_the_file_of_that_name() {
    let (catalogue, tree) = streams::signed();
    let root = "https://cloud-images.ubuntu.com/releases";
    let dated_at = |rest: &str| Some(format!("{root}/server/releases/noble/release-{rest}"));
    for (name, build) in [
        ("noble/release/ubuntu-24.04-server-cloudimg-amd64.img", "20260105/ubuntu-24.04-server-cloudimg-amd64.img"),
        ("24.04/release/ubuntu-24.04-server-cloudimg-amd64.img", "20260105/ubuntu-24.04-server-cloudimg-amd64.img"),
        ("noble/release/ubuntu-24.04-server-cloudimg-arm64.img", "20260105/ubuntu-24.04-server-cloudimg-arm64.img"),
        (
            "noble/release/ubuntu-24.04-server-cloudimg-amd64.squashfs",
            "20260105/ubuntu-24.04-server-cloudimg-amd64.squashfs",
        ),
    ] {
        assert_eq!(found(&catalogue, &format!("{root}/{name}"), &tree).await.unwrap(), dated_at(build), "{name}");
    }
    for other in
        ["noble/release/ubuntu-24.04-server-cloudimg-amd64.ova", "jammy/release/ubuntu-24.04-server-cloudimg-amd64.img"]
    {
        not_listed(found(&catalogue, &format!("{root}/{other}"), &tree).await, other);
    }
    let elsewhere =
        "https://cloud-images.ubuntu.com/minimal/releases/noble/release/ubuntu-24.04-minimal-cloudimg-amd64.img";
    assert_eq!(found(&catalogue, elsewhere, &tree).await.unwrap(), None);
    // A list without its signature chooses no build.
    let unsigned = streams::unsigned().0.into_iter();
    let unsigned = unsigned.fold(FakeDocuments::default(), |tree, (url, content)| tree.with(&url, content));
    let name = format!("{root}/noble/release/ubuntu-24.04-server-cloudimg-amd64.img");
    assert_eq!(found(&catalogue, &name, &unsigned).await.unwrap_err().reason(), Reason::SignatureMissing);
    // An older list than that by which the last build was verified does not bring back an older build.
    let held = Evidence { level: Level::Signature, signed_at: Some(now().0 + 3_600_000_000), ..Evidence::default() };
    let older = dated(&catalogue, &name, &tree, Some(&held), now()).await;
    assert_eq!(older.unwrap_err().reason(), Reason::RolledBack);
}

fn not_listed(found: Result<Option<String>>, what: &str) {
    assert_eq!(found.unwrap_err().kind(), Kind::NotFound, "{what}");
}

#[tokio::test]
async fn daily_builds_of_ubuntu_are_listed_elsewhere_than_they_lie() {
    let signer = Signer::shared();
    let over = format!("[ubuntu-daily]\nkeys = [{:?}]\n", signer.fingerprint());
    let catalogue = catalogue(&over).with_key(&signer.public(), "a key").unwrap();
    let root = "https://cloud-images.ubuntu.com/daily/";
    let path = "server/noble/20260105/noble-server-cloudimg-amd64.img";
    let products = format!(
        r#"{{"format":"products:1.0","products":{{"com.ubuntu.cloud.daily:server:24.04:amd64":{{"arch":"amd64","release":"noble",
        "version":"24.04","versions":{{"20260105":{{"items":{{"disk1.img":{{"ftype":"disk1.img","path":"{path}","sha256":"{}"}}}}}}}}}}}}}}"#,
        "a".repeat(64)
    );
    let tree = FakeDocuments::default().with(&format!("{root}streams/v1/index.sjson"), signer.sign(&products));
    for name in ["https://cloud-images.ubuntu.com/", "https://cloud-images.ubuntu.com/daily/server/"] {
        let name = format!("{name}noble/current/noble-server-cloudimg-amd64.img");
        assert_eq!(found(&catalogue, &name, &tree).await.unwrap(), Some(format!("{root}{path}")), "{name}");
    }
}

#[tokio::test]
async fn debians_list_lies_beside_the_moving_file() {
    let base = "https://cloud.debian.org/images/cloud/trixie";
    let file = |build: &str| format!("{build}/debian-13-genericcloud-amd64-{build}.qcow2");
    let list = format!(r#"{{"items":[{{"kind":"Upload","data":{{"ref":"trixie/{}"}}}}]}}"#, file("20260105-2299"));
    let tree = FakeDocuments::default().with(&format!("{base}/latest/debian-13-genericcloud-amd64.json"), list);
    let name = format!("{base}/latest/debian-13-genericcloud-amd64.qcow2");
    stands(&tree, &name, &format!("{base}/{}", file("20260105-2299"))).await;
    not_listed(found(&Catalogue::shipped(), &name.replace("amd64", "arm64"), &tree).await, "arm64");
    let other = name.replace("amd64", "sparc64");
    assert_eq!(found(&Catalogue::shipped(), &other, &tree).await.unwrap(), None, "of a processor that is not known");
}

#[tokio::test]
async fn folders_have_the_newest_build() {
    let rocky = "https://dl.rockylinux.org/pub/rocky/";
    let file = |build: &str| format!("Rocky-10-GenericCloud-Base-10.1-{build}.x86_64.qcow2");
    let images = [file("20251116.0"), file("20251120.0"), "Rocky-10-GenericCloud-Base.latest.x86_64.qcow2".to_owned()];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let arch = "https://geo.mirror.pkgbuild.com/images/";
    let tree = FakeDocuments::default()
        .with(rocky, page(&["9.7/", "10/", "10.1/"]))
        .with(&format!("{rocky}10.1/images/x86_64/"), page(&images))
        .with(arch, page(&["latest/", "v20260101.2/", "v20260115.3/"]))
        .with(&format!("{arch}v20260115.3/"), page(&["Arch-Linux-x86_64-basic-20260115.3.qcow2"]));
    let name = "10/images/x86_64/Rocky-10-GenericCloud-Base.latest.x86_64.qcow2";
    let build = format!("10.1/images/x86_64/{}", file("20251120.0"));
    stands(&tree, &format!("{rocky}{name}"), &format!("{rocky}{build}")).await;
    let build = format!("{arch}v20260115.3/Arch-Linux-x86_64-basic-20260115.3.qcow2");
    stands(&tree, &format!("{arch}latest/Arch-Linux-x86_64-basic.qcow2"), &build).await;
    let alpine = "https://dl-cdn.alpinelinux.org/alpine/";
    let file = "releases/cloud/nocloud_alpine-3.23.0-x86_64-bios-tiny-r0.qcow2";
    stands(&tree, &format!("{alpine}latest-stable/{file}"), &format!("{alpine}v3.23/{file}")).await;
}

#[tokio::test]
async fn sums_have_the_newest_build() {
    let folder = "https://cloud.centos.org/centos/10-stream/x86_64/images/";
    let line = |name: &str| format!("SHA256 ({name}) = {}\n", "a".repeat(64));
    let name = |build: &str| format!("CentOS-Stream-GenericCloud-10-{build}.x86_64.qcow2");
    let sums: String = ["20260101.0", "20260105.0", "latest"].map(|build| line(&name(build))).concat();
    let tree = FakeDocuments::default().with(&format!("{folder}CHECKSUM"), sums);
    stands(&tree, &format!("{folder}{}", name("latest")), &format!("{folder}{}", name("20260105.0"))).await;
}

#[tokio::test]
async fn a_short_document_says_the_newest_version() {
    let nixos = "https://channels.nixos.org/nixos-26.05/latest-nixos-minimal-x86_64-linux.iso";
    let sums = format!("{}  nixos-minimal-26.05.1234.abcdef-x86_64-linux.iso\n", "a".repeat(64));
    let tree = FakeDocuments::default().with(&format!("{nixos}.sha256"), sums);
    let build = "https://releases.nixos.org/nixos/26.05/nixos-26.05.1234.abcdef/nixos-minimal-26.05.1234.abcdef-x86_64-linux.iso";
    stands(&tree, nixos, build).await;
    // Flatcar's key is not shipped, and its images have to be signed by it.
    let flatcar = "https://stable.release.flatcar-linux.net/amd64-usr/";
    let tree = FakeDocuments::default().with(&format!("{flatcar}current/version.txt"), "FLATCAR_VERSION=4230.2.1\n");
    let name = format!("{flatcar}current/flatcar_production_qemu_image.img.bz2");
    assert_eq!(found(&Catalogue::shipped(), &name, &tree).await.unwrap_err().reason(), Reason::KeyMissing);
    let lenient = catalogue("[flatcar]\nrequire = \"tls\"\n");
    let build = format!("{flatcar}4230.2.1/flatcar_production_qemu_image.img.bz2");
    assert_eq!(found(&lenient, &name, &tree).await.unwrap(), Some(build));
}

#[tokio::test]
async fn other_names_stand_for_nothing_that_is_known() {
    let tree = FakeDocuments::default();
    for url in [
        "https://download.freebsd.org/releases/VM-IMAGES/15.0-RELEASE/amd64/Latest/FreeBSD-15.0-RELEASE-amd64-ufs.qcow2.xz",
        "https://lab.example/current/disk.qcow2",
        "https://cloud.debian.org/images/cloud/trixie/daily/latest/debian-13-generic-amd64-daily.qcow2",
    ] {
        assert_eq!(found(&Catalogue::shipped(), url, &tree).await.unwrap(), None, "{url}");
    }
    assert!(tree.asked().is_empty());
}
