//! The shipped catalogue, and what is put over it.

use std::collections::BTreeSet;

use super::*;
use crate::error::Kind;
use crate::vendor::level::Level;
use crate::vendor::name::Name;

fn with(text: &str) -> Result<Catalogue> {
    Catalogue::shipped().with(text.parse().unwrap(), "vendors.toml of the test")
}

fn refused(text: &str, words: &str) {
    let error = with(text).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(
        error.message().starts_with("vendors.toml of the test: ") && error.message().contains(words),
        "{text}: {error}"
    );
}

#[test]
fn the_shipped_catalogue_is_whole() {
    let catalogue = Catalogue::read_shipped().unwrap();
    for vendor in catalogue.vendors() {
        let name = &vendor.name;
        assert!(vendor.base.starts_with("https://"), "{name}");
        for key in &vendor.rules.keys {
            let is_fingerprint =
                key.len() == 40 && key.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
            assert!(is_fingerprint || name == "openbsd" && key.starts_with("RW") && key.len() == 56, "{name}: {key}");
        }
        assert!(
            vendor.rules.require != Level::Signature || !vendor.rules.keys.is_empty(),
            "{name} has no key to require"
        );
        let names = vendor.known_names();
        assert!(!names.is_empty() && names.iter().all(|known| known.parse::<Name>().is_ok()), "{name}");
        let variant =
            vendor.variant.iter().all(|variant| vendor.variants.is_empty() || vendor.variants.contains_key(variant));
        assert!(variant, "{name}");
        let releases = vendor.aliases.values().all(|of| of == "latest" || vendor.releases.contains(of));
        assert!(releases, "{name}: {:?}", vendor.aliases);
    }
    let pinned: BTreeSet<&str> =
        catalogue.vendors().flat_map(|vendor| &vendor.rules.keys).map(String::as_str).collect();
    for (file, bytes) in keys::SHIPPED {
        let mut keyring = Keyring::new();
        let added = keyring.add(bytes).unwrap();
        assert_eq!(added.len(), 1, "{file}: one key a file");
        assert!(pinned.contains(added[0].as_str()), "{file} is pinned by no vendor");
    }
    let missing = |key: &&&str| key.len() == 40 && !catalogue.keyring().has(key);
    let missing: Vec<&str> = pinned.iter().filter(missing).copied().collect();
    assert_eq!(missing, ["13EBBDBEDE7A12775DFDB1BABB572E0E2D182910", "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A"]);
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/vendor/keys")).unwrap();
    let files: BTreeSet<String> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let readme = include_str!("../keys/README.md");
    let named: BTreeSet<String> =
        keys::SHIPPED.iter().map(|(file, _)| (*file).to_owned()).chain(["README.md".to_owned()]).collect();
    assert_eq!(files, named);
    assert!(
        keys::SHIPPED.iter().all(|(file, _)| readme.contains(&format!("| {file} |"))),
        "the page says where each is from"
    );
}

#[test]
fn keys_that_are_given_replace_those_here_and_the_others_stay() {
    let text = "[debian]\nbase = \"http://127.0.0.1:8080/debian/\"\nrequire = \"none\"\n";
    let catalogue = with(text).unwrap();
    let debian = catalogue.vendor("debian").unwrap();
    assert_eq!((debian.base.as_str(), debian.rules.require), ("http://127.0.0.1:8080/debian/", Level::None));
    assert_eq!((debian.title.as_str(), debian.rules.sums.len()), ("Debian Cloud Images", 1));
    assert_eq!(debian.known_names()[..3], ["debian/13", "debian/trixie", "debian/latest"]);
    let again = catalogue.with("[debian]\ntitle = \"Ours\"\n".parse().unwrap(), "again").unwrap();
    let debian = again.vendor("debian").unwrap();
    assert_eq!((debian.title.as_str(), debian.base.as_str()), ("Ours", "http://127.0.0.1:8080/debian/"));
    assert_eq!(debian.rules.title, "Ours");
    let keys = with("[debian]\nkeys = \"df9b 9c49 eaa9 2984 3258  9d76 da87 e80d 6294 be9b\"\n").unwrap();
    assert_eq!(keys.vendor("debian").unwrap().rules.keys, ["DF9B9C49EAA9298432589D76DA87E80D6294BE9B"]);
}

#[test]
fn a_new_vendor_is_one_when_it_is_complete() {
    let text = r#"
        [lab]
        title = "Lab"
        kind = "listing"
        base = "https://lab.example/images/"
        image = "lab-{version}-{arch}.qcow2"
        require = "checksum"
    "#;
    let catalogue = with(text).unwrap();
    assert_eq!(catalogue.vendor("lab").unwrap().kind, ListKind::Listing);
    assert_eq!(catalogue.of_url("https://lab.example/images/lab-1-x86_64.qcow2").unwrap().name, "lab");
    refused(&text.replace("title = \"Lab\"", ""), "vendors.lab: it has no title");
    refused(&text.replace("image =", "note ="), "it has no image, which the kind listing needs");
    refused(&text.replace("listing", "simplestreams"), "it has no list, which the kind simplestreams needs");
    refused(&text.replace("listing", "html"), "it can be simplestreams, sums,");
    refused(&text.replace("checksum", "given"), "a vendor gives no digests to you");
    refused(&text.replace("checksum", "signed"), "it can be none, tls");
    refused(&text.replace("{version}", "{versoin}"), "{versoin} is not one of release");
    let short = with(&text.replace("images/\"", "images\"")).unwrap();
    assert_eq!(short.vendor("lab").unwrap().base, "https://lab.example/images/", "the slash may be left out");
    refused(&text.replace("https:", "ftp:"), "is not a URL of a folder");
    refused(&text.replace("[lab]", "[Lab]"), "\"Lab\" is no name of a vendor");
}

#[test]
fn slips_are_refused_with_what_was_meant() {
    refused("[debian]\ntitel = \"x\"\n", "unknown key vendors.debian.titel (did you mean title?)");
    refused("[debian]\ntitle = 3\n", "vendors.debian: ");
    refused("[debian]\nkeys = [\"1234\"]\n", "neither the fingerprint of a primary key");
    refused("[openbsd]\nkeys = [\"RWbogus\"]\n", "nor a key of signify or minisign");
    refused("[debian]\nunpack = \"zip\"\n", "it can be xz, bz2, zst, gz, tar");
    refused("[debian]\nformat = \"floppy\"\n", "\"floppy\" is no format");
    refused("[debian]\narchitectures = { pdp11 = \"pdp\" }\n", "\"pdp11\" is no architecture");
    refused("debian = 3\n", "vendors.debian is not a table");
    refused("[debain]\nbase = \"https://lab.example/\"\n", "vendors.debain: it has no title");
    let error = Catalogue::shipped().with_key(b"no key", "keys/vendors/a.asc").unwrap_err();
    assert!(error.message().starts_with("keys/vendors/a.asc: "), "{error}");
}

#[test]
fn a_url_is_of_the_nearest_vendor() {
    let catalogue = Catalogue::shipped();
    let cases = [
        ("https://cloud-images.ubuntu.com/releases/noble/release/x.img", Some("ubuntu")),
        ("https://cloud-images.ubuntu.com/noble/current/x.img", Some("ubuntu")),
        ("https://cloud-images.ubuntu.com/daily/server/noble/x.img", Some("ubuntu-daily")),
        ("http://cloud.debian.org/images/cloud/trixie/latest/x.qcow2", Some("debian")),
        ("https://lts.release.flatcar-linux.net/amd64-usr/current/x", Some("flatcar")),
        ("https://cloud.debian.org.evil.example/images/cloud/x", None),
        ("https://cloud.debian.org/images/cloud/../../x", None),
        ("https://lab.example/x", None),
    ];
    for (url, expected) in cases {
        assert_eq!(catalogue.of_url(url).map(|vendor| vendor.name.as_str()), expected, "{url}");
    }
}

#[test]
fn rules_are_filled_with_what_a_url_tells() {
    let catalogue = Catalogue::shipped();
    let fedora = catalogue.vendor("fedora").unwrap();
    let image = "releases/44/Cloud/x86_64/images/Fedora-Cloud-Base-Generic-44-1.5.x86_64.qcow2";
    for base in
        ["https://download.fedoraproject.org/pub/fedora/linux/", "https://dl.fedoraproject.org/pub/fedora/linux/"]
    {
        let rules = fedora.rules_for(&format!("{base}{image}"));
        assert_eq!(rules.sums, ["Fedora-Cloud-44-1.5-x86_64-CHECKSUM"]);
        assert_eq!(
            (rules.signatures, rules.keys.len(), rules.require),
            (vec!["inside".to_owned()], 3, Level::Signature)
        );
    }
    assert_eq!(fedora.rules_for("https://dl.fedoraproject.org/other").sums, Vec::<String>::new(), "nothing is guessed");
    let flatcar = catalogue.vendor("flatcar").unwrap();
    let rules = flatcar
        .rules_for("https://stable.release.flatcar-linux.net/amd64-usr/1.2.3/flatcar_production_qemu_image.img.bz2");
    assert_eq!(
        (rules.sums, rules.signatures),
        (vec!["{file}.DIGESTS".to_owned()], vec!["{sums}.sig".to_owned(), "{file}.sig".to_owned()])
    );
}
