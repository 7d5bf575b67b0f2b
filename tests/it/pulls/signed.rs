//! Vendors whose lists, sums and signatures say the same thing in several places: each of them has to hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use pgp::composed::{DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password};
use serde_json::json;
use sha2::{Digest, Sha512};

use super::lab::{Lab, fails, succeeds};
use crate::bundles::gzip;
use crate::harness::{qcow2, sha256};
use crate::upstream::File;

/// Chance of the system.
struct Chance;

impl rand::RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        getrandom::u32().unwrap()
    }

    fn next_u64(&mut self) -> u64 {
        getrandom::u64().unwrap()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl rand::CryptoRng for Chance {}

/// Key of a vendor.
struct Signer(SignedSecretKey);

impl Signer {
    fn new() -> Self {
        let mut builder = SecretKeyParamsBuilder::default();
        let builder = builder.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
        builder.primary_user_id("Images <i@example>".into());
        Self(builder.build().unwrap().generate(Chance).unwrap())
    }

    fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_ascii_uppercase()
    }

    fn detached(&self, over: &[u8]) -> Vec<u8> {
        let hash = HashAlgorithm::Sha512;
        let made = DetachedSignature::sign_binary_data(Chance, &*self.0, &Password::empty(), hash, over).unwrap();
        made.to_armored_bytes(None.into()).unwrap()
    }

    /// Puts the public key to where the program looks for it.
    fn known_to(&self, lab: &Lab) {
        let folder = lab.data().join("keys/vendors");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("vendor.asc"), self.0.to_public_key().to_armored_bytes(None.into()).unwrap())
            .unwrap();
    }
}

/// A lab whose vendor has another entry.
fn lab(entry: &str) -> Lab {
    let lab = Lab::new();
    let text = std::fs::read_to_string(lab.config()).unwrap();
    let (head, _) = text.split_once("[vendors.test]").unwrap();
    let base = lab.upstream.url("/vendor/");
    let text = format!("{head}[vendors.test]\ntitle = \"Test\"\nbase = {base:?}\n{entry}\n");
    std::fs::write(lab.config(), text).unwrap();
    lab
}

#[test]
fn a_list_and_the_sums_beside_the_file_both_hold() {
    let entry = "kind = \"debian-json\"\nlist = \"{release}/latest/test-{release}-{arch}.json\"\nreleases = [\"1\"]\n\
                 image = \"{release}/{build}/test-{release}-{arch}-{build}.qcow2\"\nsums = [\"SHA512SUMS\"]\n\
                 require = \"checksum\"\narchitectures = { x86_64 = \"amd64\" }\n";
    let (good, evil) = (qcow2(b"good"), qcow2(b"evil"));
    // Bytes, and what the list and the sums have.
    let cases = [
        (&good, &good, &good, true),
        (&good, &good, &evil, false),
        (&evil, &evil, &good, false),
        (&good, &evil, &good, false),
    ];
    for (bytes, listed, summed, is_right) in cases {
        let lab = lab(entry);
        let name = "test-1-amd64-5.qcow2";
        let digest = STANDARD_NO_PAD.encode(Sha512::digest(listed));
        let list = json!({ "items": [{ "kind": "Upload", "data": { "ref": format!("1/5/{name}") },
            "metadata": { "annotations": { "cloud.debian.org/digest": format!("sha512:{digest}") } } }] });
        lab.upstream.put("/vendor/1/latest/test-1-amd64.json", File::new(list.to_string()));
        lab.upstream.put(&format!("/vendor/1/5/{name}"), File::new(&bytes[..]));
        let hex: String = Sha512::digest(summed).iter().map(|byte| format!("{byte:02x}")).collect();
        lab.upstream.put("/vendor/1/5/SHA512SUMS", File::new(format!("{hex}  {name}\n")));
        let pulled = lab.pull(&["test/1"]);
        if is_right {
            succeeds(&pulled);
            continue;
        }
        let text = fails(&pulled, 4);
        assert!(text.contains("SHA512SUMS") && text.contains("test-1-amd64.json says sha512:"), "{text}");
        fails(&lab.pull(&["test/1"]), 4);
        fails(&lab.pull(&["test/1", "--require", "none"]), 4);
        // The caller's own digest does.
        succeeds(&lab.pull(&["test/1", "--sha256", &sha256(bytes)]));
    }
}

#[test]
fn a_stream_and_a_signature_over_the_file_both_hold_and_are_proved_again() {
    let signer = Signer::new();
    let entry = format!(
        "kind = \"coreos-stream\"\nlist = \"streams/{{release}}.json\"\nreleases = [\"stable\"]\nvariant = \"qemu\"\n\
         image = \"builds/{{build}}/test-{{build}}-{{variant}}.{{arch}}.qcow2.gz\"\nsignature = [\"{{file}}.sig\"]\n\
         keys = [{:?}]\nrequire = \"signature\"\nformat = \"qcow2\"\narchitectures = {{ x86_64 = \"x86_64\" }}\n",
        signer.fingerprint()
    );
    let path = "/vendor/builds/5/test-5-qemu.x86_64.qcow2.gz";
    let (disk, older) = (qcow2(b"disk"), qcow2(b"an older one"));
    let publish = |packed: &[u8], sha256_of: &[u8], unpacked: &[u8]| {
        let lab = lab(&entry);
        signer.known_to(&lab);
        let location = lab.upstream.url(path);
        let file = json!({ "location": location, "signature": format!("{location}.sig"), "sha256": sha256(sha256_of),
            "uncompressed-sha256": sha256(unpacked) });
        let stream = json!({ "architectures": { "x86_64": { "artifacts": { "qemu": { "release": "5",
            "formats": { "qcow2.gz": { "disk": file } } } } } } });
        lab.upstream.put("/vendor/streams/stable.json", File::new(stream.to_string()));
        lab.upstream.put(path, File::new(packed));
        lab.upstream.put(&format!("{path}.sig"), File::new(signer.detached(packed)));
        lab
    };
    let (packed, packed_older) = (gzip(&disk), gzip(&older));

    let good = publish(&packed, &packed, &disk);
    let text = succeeds(&good.pull(&["test/stable"]));
    assert!(text.contains("the file itself"), "{text}");
    let mut asked: Vec<String> = good.upstream.all().iter().map(|asked| asked.target.clone()).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(
        asked,
        [path.to_owned(), format!("{path}.sig"), "/vendor/streams/stable.json".to_owned()],
        "nothing is guessed"
    );
    let text = succeeds(&good.run(&["verify", "test/stable"]));
    assert!(text.contains("signed by Test") && !text.contains("not proved again"), "{text}");
    succeeds(&good.run(&["cache", "drop", &good.upstream.url(path)]));
    let text = succeeds(&good.run(&["verify", "test/stable"]));
    assert!(text.contains("not proved again"), "{text}");

    // An older file with its good signature, under the URL of the new one.
    let old = publish(&packed_older, &packed, &disk);
    let text = fails(&old.pull(&["test/stable"]), 4);
    assert!(text.contains("as stable.json says"), "{text}");
    fails(&old.pull(&["test/stable", "--require", "checksum"]), 4);
    let unpacked = publish(&packed, &packed, &older);
    fails(&unpacked.pull(&["test/stable"]), 4);
    succeeds(&unpacked.pull(&["test/stable", "--no-unpack"]));
    // The list is right, and the signature is another file's.
    let unsigned = publish(&packed, &packed, &disk);
    unsigned.upstream.put(&format!("{path}.sig"), File::new(signer.detached(b"else")));
    for _ in 0..2 {
        fails(&unsigned.pull(&["test/stable", "--require", "checksum"]), 4);
    }
}

#[test]
fn what_was_pulled_without_its_key_is_proved_again_as_far_as_it_was() {
    let signer = Signer::new();
    let entry = format!(
        "kind = \"sums\"\nlist = \"SHA256SUMS\"\nimage = \"{{release}}/test-{{release}}-{{build}}.{{arch}}.qcow2\"\n\
         sums = [\"SHA256SUMS\"]\nsignature = [\"{{sums}}.gpg\"]\nkeys = [{:?}]\nrequire = \"signature\"\nreleases = [\"1\"]\n\
         architectures = {{ x86_64 = \"x86_64\" }}\n",
        signer.fingerprint()
    );
    let lab = lab(&entry);
    let bytes = qcow2(b"bytes");
    lab.publish(&[("5", &bytes)]);
    let sums = format!("{}  test-1-5.x86_64.qcow2\n", sha256(&bytes));
    lab.upstream.put("/vendor/1/SHA256SUMS.gpg", File::new(signer.detached(sums.as_bytes())));
    fails(&lab.pull(&["test/1"]), 4);
    succeeds(&lab.pull(&["test/1", "--require", "none"]));
    signer.known_to(&lab);
    let text = succeeds(&lab.run(&["verify", "test/1"]));
    assert!(text.contains("test/1:5: matches SHA256SUMS"), "{text}");
    // With the key it is signed, and has to be so from then on.
    lab.later();
    succeeds(&lab.pull(&["test/1"]));
    let text = succeeds(&lab.run(&["verify", "test/1"]));
    assert!(text.contains("test/1:5: signed by Test"), "{text}");
}
