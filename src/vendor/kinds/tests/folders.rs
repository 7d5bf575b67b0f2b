//! Folders that are walked, and URLs that need no list.

use super::*;

const ROCKY: &str = "https://dl.rockylinux.org/pub/rocky/";

fn rocky() -> FakeDocuments {
    let file = |version: &str, build: &str| format!("Rocky-10-GenericCloud-Base-{version}-{build}.x86_64.qcow2");
    let images = [
        file("10.1", "20251116.0"),
        file("10.1", "20251120.0"),
        format!("{}.CHECKSUM", file("10.1", "20251120.0")),
        "Rocky-10-GenericCloud-Base.latest.x86_64.qcow2".to_owned(),
        "Rocky-10-GenericCloud-LVM-10.1-20251121.0.x86_64.qcow2".to_owned(),
        "Rocky-10-GenericCloud-Base-10.1-20251122.0.aarch64.qcow2".to_owned(),
    ];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    FakeDocuments::default()
        .with(ROCKY, page(&["9.6/", "9.7/", "10/", "10.0/", "10.1/", "10.2/", "fedora-like/", "RPM-GPG-KEY-Rocky-10"]))
        .with(&format!("{ROCKY}10.2/images/x86_64/"), page(&["README"]))
        .with(&format!("{ROCKY}10.1/images/x86_64/"), page(&images))
}

#[tokio::test]
async fn the_newest_folder_with_an_image_has_the_build() {
    let tree = rocky();
    let url = |rest: &str| format!("{ROCKY}10.1/images/x86_64/Rocky-10-GenericCloud-{rest}");
    let found = find("rocky/10", &tree).await.unwrap();
    assert_eq!(found.url, url("Base-10.1-20251120.0.x86_64.qcow2"), "10.2 has no images yet");
    assert_eq!((found.name.to_string().as_str(), found.serial.as_str()), ("rocky/10.1:20251120.0", "10.1-20251120.0"));
    assert_eq!(found.aliases, ["rocky/10.1", "rocky/10"]);
    assert!(found.expectation.is_none(), "the sums beside it have to say");
    assert_eq!(find("rocky/10.1:20251116.0", &tree).await.unwrap().url, url("Base-10.1-20251116.0.x86_64.qcow2"));
    assert_eq!(find("rocky/10+lvm", &tree).await.unwrap().url, url("LVM-10.1-20251121.0.x86_64.qcow2"));
    let latest = find("rocky/latest", &tree).await.unwrap();
    assert_eq!(latest.aliases, ["rocky/10.1", "rocky/latest"]);
    let rules = Catalogue::shipped().of_url(&found.url).unwrap().rules_for(&found.url);
    assert_eq!(rules.sums, ["CHECKSUM", "{file}.CHECKSUM"], "the one that is signed comes first");
    let all = list(&Catalogue::shipped(), "rocky", Some("10"), &tree).await;
    assert_eq!(
        all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["rocky/10.1:20251120.0", "rocky/10.1:20251116.0"]
    );
}

#[tokio::test]
async fn what_is_not_in_the_folders_is_not_found() {
    let tree = rocky();
    not_found(find("rocky/11", &tree).await, "Rocky Linux has no release '11'; it has 10.2, 10.1, 10.0, 10, 9.7, 9.6.");
    not_found(find("rocky/9", &tree).await, "no image 'GenericCloud-Base' of 9 for x86_64");
    not_found(find("rocky/8:1", &tree).await, "no build '1' of 8");
    not_found(find("rocky/10", &FakeDocuments::default()).await, "no image");
    assert!(tree.asked().len() < 8 * 3, "{:?}", tree.asked());
}

#[tokio::test]
async fn sums_list_the_builds_of_centos() {
    let base = "https://cloud.centos.org/centos/";
    let line = |name: &str, digit: &str| format!("# {name}: 5 bytes\nSHA256 ({name}) = {}\n", digit.repeat(64));
    let name = |build: &str, arch: &str| format!("CentOS-Stream-GenericCloud-10-{build}.{arch}.qcow2");
    let sums = [
        line(&name("20251201.0", "x86_64"), "a"),
        line(&name("20260105.10", "x86_64"), "b"),
        line(&name("20260105.9", "x86_64"), "c"),
        line("CentOS-Stream-GenericCloud-10-latest.x86_64.qcow2", "b"),
        line("../CentOS-Stream-GenericCloud-10-20270101.0.x86_64.qcow2", "d"),
    ];
    let folder = format!("{base}10-stream/x86_64/images/");
    let tree = FakeDocuments::default()
        .with(base, page(&["7/", "9-stream/", "10-stream/"]))
        .with(&format!("{folder}CHECKSUM"), sums.concat());
    let found = find("centos/10", &tree).await.unwrap();
    assert_eq!(found.url, format!("{folder}{}", name("20260105.10", "x86_64")));
    assert_eq!((found.name.to_string().as_str(), found.aliases[0].as_str()), ("centos/10:20260105.10", "centos/10"));
    assert_eq!(find("centos/latest", &tree).await.unwrap().url, found.url);
    assert_eq!(
        find("centos/10:20251201.0", &tree).await.unwrap().url,
        format!("{folder}{}", name("20251201.0", "x86_64"))
    );
    not_found(find("centos/8", &tree).await, "CentOS Stream has no release '8'; it has 10, 9.");
    let all = list(&Catalogue::shipped(), "centos", Some("10"), &tree).await;
    assert_eq!(all.len(), 3, "{all:?}");
}

#[tokio::test]
async fn a_rolling_vendor_has_builds_and_no_releases() {
    let base = "https://geo.mirror.pkgbuild.com/images/";
    let tree = FakeDocuments::default().with(base, page(&["latest/", "v20251215.460866/", "v20260101.473421/"]));
    let url = |build: &str| format!("{base}v{build}/Arch-Linux-x86_64-cloudimg-{build}.qcow2");
    let found = find("arch/rolling", &tree).await.unwrap();
    assert_eq!(
        (found.url.as_str(), found.name.to_string().as_str()),
        (url("20260101.473421").as_str(), "arch/latest:20260101.473421")
    );
    assert_eq!(
        (found.aliases, found.title.as_str()),
        (vec!["arch/latest".to_owned(), "arch/rolling".to_owned()], "Arch Linux 20260101.473421")
    );
    let older = find("arch/latest:20251215.460866", &FakeDocuments::default()).await.unwrap();
    assert_eq!(older.url, url("20251215.460866"), "nothing has to be asked for it");
    assert_eq!(list(&Catalogue::shipped(), "arch", None, &tree).await.len(), 2);
    not_found(find("arch/13", &tree).await, "no release '13'; it has latest.");
    let suse = "https://download.opensuse.org/tumbleweed/appliances/";
    let table = r#"{"data":[{"name":"openSUSE-Tumbleweed-Minimal-VM.x86_64-Cloud.qcow2","size":1,"mtime":2},
        {"name":"openSUSE-Tumbleweed-Minimal-VM.x86_64-1.1.0-Cloud-Snapshot20260103.qcow2","size":1,"mtime":2},
        {"name":"openSUSE-Tumbleweed-Minimal-VM.x86_64-1.1.0-Cloud-Snapshot20260105.qcow2","size":1,"mtime":2}]}"#;
    let tree = FakeDocuments::default().with(&format!("{suse}?jsontable"), table);
    let found = find("tumbleweed/latest", &tree).await.unwrap();
    assert_eq!(found.url, format!("{suse}openSUSE-Tumbleweed-Minimal-VM.x86_64-1.1.0-Cloud-Snapshot20260105.qcow2"));
    assert_eq!(found.serial, "20260105");
}

#[tokio::test]
async fn numbers_are_written_as_each_vendor_writes_them() {
    let alpine = "https://dl-cdn.alpinelinux.org/alpine/";
    let image = |rest: &str| format!("nocloud_alpine-3.23.{rest}.qcow2");
    let images = [
        image("0-x86_64-bios-tiny-r0"),
        image("2-x86_64-bios-tiny-r0"),
        image("2-x86_64-bios-tiny-r1"),
        image("2-x86_64-uefi-tiny-r2"),
    ];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let tree = FakeDocuments::default()
        .with(alpine, page(&["edge/", "latest-stable/", "v3.9/", "v3.22/", "v3.23/"]))
        .with(&format!("{alpine}v3.23/releases/cloud/"), page(&images));
    for name in ["alpine/3.23+bios-tiny", "alpine/latest+bios-tiny", "alpine/3.23.2+bios-tiny", "alpine/3+bios-tiny"] {
        let found = find(name, &tree).await.unwrap();
        assert_eq!(found.url, format!("{alpine}v3.23/releases/cloud/{}", image("2-x86_64-bios-tiny-r1")), "{name}");
        assert_eq!(
            (found.name.to_string().as_str(), found.serial.as_str()),
            ("alpine/3.23.2:1+bios-tiny", "3.23.2-1"),
            "{name}"
        );
    }
    let freebsd = "https://download.freebsd.org/releases/VM-IMAGES/";
    let tree = FakeDocuments::default()
        .with(freebsd, page(&["13.5-RELEASE/", "14.3-RELEASE/", "15.0-RELEASE/", "15.0-BETA1/", "README"]));
    let found = find_for(Architecture::Aarch64, "freebsd/15", &tree).await.unwrap();
    assert_eq!(
        found.url,
        format!("{freebsd}15.0-RELEASE/aarch64/Latest/FreeBSD-15.0-RELEASE-arm64-aarch64-BASIC-CLOUDINIT-ufs.qcow2.xz")
    );
    assert_eq!(
        (found.name.to_string().as_str(), found.packed, found.format),
        ("freebsd/15.0", true, Some(Format::Qcow2))
    );
    let openbsd = "https://cdn.openbsd.org/pub/OpenBSD/";
    let tree = FakeDocuments::default().with(openbsd, page(&["7.7/", "7.8/", "snapshots/", "songs/"]));
    let found = find("openbsd/latest", &tree).await.unwrap();
    assert_eq!((found.url, found.format), (format!("{openbsd}7.8/amd64/install78.img"), Some(Format::Raw)));
    let kali = "https://kali.download/cloud-images/";
    let tree = FakeDocuments::default().with(kali, page(&["current/", "kali-2025.3/", "kali-2025.4/"]));
    let found = find("kali/latest", &tree).await.unwrap();
    assert_eq!(found.url, format!("{kali}kali-2025.4/kali-linux-2025.4-cloud-genericcloud-amd64.tar.xz"));
    assert_eq!((found.packed, found.format), (true, Some(Format::Raw)));
}

#[tokio::test]
async fn a_document_says_the_newest_version_of_a_fixed_url() {
    let signer = Signer::shared();
    let over = format!("[flatcar]\nkeys = [{0:?}]\n[gentoo]\nkeys = [{0:?}]\n", signer.fingerprint());
    let catalogue = catalogue(&over).with_key(&signer.public(), "a key").unwrap();
    let flatcar = "https://stable.release.flatcar-linux.net/amd64-usr/";
    let version = "FLATCAR_BUILD=4230\nFLATCAR_VERSION=4230.2.3\nFLATCAR_VERSION_ID=4230.2.3\n";
    let gentoo = "https://distfiles.gentoo.org/releases/amd64/autobuilds/";
    let latest = signer
        .sign("# Latest as of Mon, 05 Jan 2026\n20260104T164557Z/di-amd64-console-20260104T164557Z.qcow2 1234567\n");
    let nixos = "https://channels.nixos.org/nixos-26.05/latest-nixos-minimal-x86_64-linux.iso.sha256";
    let sum = format!("{}  nixos-minimal-26.05.802216.55d1f923c480-x86_64-linux.iso\n", "a".repeat(64));
    let tree = FakeDocuments::default()
        .with(&format!("{flatcar}current/version.txt"), version)
        .with(&format!("{gentoo}latest-di-amd64-console.txt"), latest)
        .with(nixos, sum)
        .with(
            "https://factory.talos.dev/versions",
            r#"["v1.12.4","v1.13.0-beta.1","v1.13.2","v1.13.10","v1.14.0-alpha.0"]"#,
        );
    let found = async |name: &str| find_with(&catalogue, name, &tree, None).await;
    let stable = found("flatcar/stable").await.unwrap();
    assert_eq!(stable.url, format!("{flatcar}4230.2.3/flatcar_production_qemu_image.img.bz2"));
    assert_eq!(
        (stable.name.to_string().as_str(), stable.packed, stable.format),
        ("flatcar/stable:4230.2.3", true, Some(Format::Qcow2))
    );
    assert_eq!(catalogue.of_url(&stable.url).unwrap().name, "flatcar");
    not_found(found("flatcar/nightly").await, "no release 'nightly'; it has stable, beta, alpha, lts.");
    let older = found("flatcar/stable:4152.2.1").await.unwrap();
    assert_eq!(older.url, format!("{flatcar}4152.2.1/flatcar_production_qemu_image.img.bz2"));
    let gentoo_url = format!("{gentoo}20260104T164557Z/di-amd64-console-20260104T164557Z.qcow2");
    assert_eq!(found("gentoo/latest").await.unwrap().url, gentoo_url);
    let iso = "https://releases.nixos.org/nixos/26.05/nixos-26.05.802216.55d1f923c480/nixos-minimal-26.05.802216.55d1f923c480-x86_64-linux.iso";
    assert_eq!(found("nixos/latest").await.unwrap().url, iso);
    not_found(found("nixos/20.03").await, "no release '20.03'; it has 26.05.");
    let schematic = "1".repeat(64);
    let talos = found(&format!("talos/1.13@{schematic}")).await.unwrap();
    assert_eq!(talos.url, format!("https://factory.talos.dev/image/{schematic}/v1.13.10/nocloud-amd64.raw.xz"));
    assert_eq!(talos.name.to_string(), format!("talos/1.13.10@{schematic}"));
    assert!(
        found("talos/latest+metal").await.unwrap().url.ends_with("/v1.13.10/metal-amd64.raw.xz"),
        "no alpha is the newest"
    );
    not_found(found("talos/9").await, "no release '9'; it has");
    let leap = found("leap/16.0").await.unwrap();
    assert_eq!(
        leap.url,
        "https://download.opensuse.org/distribution/leap/16.0/appliances/Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2"
    );
}
