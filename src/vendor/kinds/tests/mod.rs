//! Each kind of list against a tree that is shaped as its vendors shape theirs.

mod dated;
mod folders;
mod lists;
mod signed;
mod streams;

use std::sync::OnceLock;

use pgp::composed::{CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password};

use super::{Candidate, builds, resolve};
use crate::error::{Error, Kind, Reason, Result};
use crate::image::{Architecture, Format, Timestamp};
use crate::vendor::catalogue::Catalogue;
use crate::vendor::expectation::Evidence;
use crate::vendor::fake::FakeDocuments;
use crate::vendor::level::Level;
use crate::vendor::name::Name;

/// Present time: signatures of the test's keys are made now.
fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

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

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), rand::Error> {
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
        builder
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Images <i@example>".into());
        Self(builder.build().unwrap().generate(Chance).unwrap())
    }

    /// A key that the tests of one program share.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Signer> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_ascii_uppercase()
    }

    fn public(&self) -> Vec<u8> {
        self.0.to_public_key().to_armored_bytes(None.into()).unwrap()
    }

    /// A document with its signature inside.
    fn sign(&self, text: &str) -> String {
        let signed = CleartextSignedMessage::sign(Chance, text, &*self.0, &Password::empty()).unwrap();
        signed.to_armored_string(None.into()).unwrap()
    }

    /// A signature over bytes that stand elsewhere.
    fn detached(&self, over: &[u8]) -> Vec<u8> {
        let hash = HashAlgorithm::Sha512;
        let made = DetachedSignature::sign_binary_data(Chance, &*self.0, &Password::empty(), hash, over).unwrap();
        made.to_armored_bytes(None.into()).unwrap()
    }
}

fn catalogue(over: &str) -> Catalogue {
    Catalogue::shipped().with(over.parse().unwrap(), "a test").unwrap()
}

async fn find_with(
    catalogue: &Catalogue,
    name: &str,
    tree: &FakeDocuments,
    held: Option<&Evidence>,
) -> Result<Candidate> {
    let name: Name = name.parse().unwrap();
    let require = catalogue.vendor(&name.vendor).map_or(Level::None, |vendor| vendor.rules.require);
    resolve(catalogue, &name, Architecture::X86_64, tree, held, now(), require).await
}

/// Finds a name for x86_64 with the shipped catalogue. The name of the build that is found finds it again.
async fn find(name: &str, tree: &FakeDocuments) -> Result<Candidate> {
    let found = find_with(&Catalogue::shipped(), name, tree, None).await?;
    let again = find_with(&Catalogue::shipped(), &found.name.to_string(), tree, None).await?;
    assert_eq!((&again.url, &again.name), (&found.url, &found.name));
    Ok(found)
}

async fn find_for(architecture: Architecture, name: &str, tree: &FakeDocuments) -> Result<Candidate> {
    let catalogue = Catalogue::shipped();
    let name: Name = name.parse().unwrap();
    let require = catalogue.vendor(&name.vendor)?.rules.require;
    resolve(&catalogue, &name, architecture, tree, None, now(), require).await
}

/// Names and URLs of what a vendor has.
async fn list(
    catalogue: &Catalogue,
    vendor: &str,
    release: Option<&str>,
    tree: &FakeDocuments,
) -> Vec<(String, String)> {
    let builds = builds(catalogue, vendor, release, Architecture::X86_64, tree, now()).await.unwrap();
    builds.into_iter().map(|build| (build.name.to_string(), build.url)).collect()
}

fn not_found(result: Result<Candidate>, words: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.reason(), error.kind()), (Reason::BuildNotFound, Kind::NotFound), "{error}");
    assert!(error.message().contains(words), "{error}");
}

fn refused(result: Result<Candidate>, reason: Reason, words: &str) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.message().contains(words), "{error}");
    error
}

/// A page as nginx makes it.
fn page(names: &[&str]) -> String {
    let rows = names.iter().map(|name| format!("<a href=\"{name}\">{name}</a>      01-Jan-2026 00:00      -\n"));
    format!(
        "<html><body><h1>Index of /</h1><hr><pre><a href=\"../\">../</a>\n{}</pre></body></html>",
        rows.collect::<String>()
    )
}

#[tokio::test]
async fn a_vendor_without_its_key_is_refused_with_what_to_do() {
    let tree = FakeDocuments::default();
    let error =
        refused(find("flatcar/stable", &tree).await, Reason::KeyMissing, "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A");
    assert!(error.message().contains("Flatcar Container Linux"), "{error}");
    refused(find("gentoo/latest", &tree).await, Reason::KeyMissing, "13EBBDBEDE7A12775DFDB1BABB572E0E2D182910");
    assert_eq!(tree.asked(), Vec::<String>::new(), "nothing is asked for in vain");
    let near = refused(find("ubnutu/24.04", &tree).await, Reason::VendorNotFound, "(did you mean ubuntu?)");
    assert_eq!(near.kind(), Kind::NotFound);
    refused(find("plan9/4", &tree).await, Reason::VendorNotFound, "it has almalinux, alpine, arch,");
}
