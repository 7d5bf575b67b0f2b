//! Rules of a vendor: where its checksums and signatures lie, which keys count, and what is demanded. Values, and the URLs that they mean.

use super::level::Level;
use super::place::{folder, last_part};

/// Rules by which the files of a vendor are verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorRules {
    /// Name of the vendor for people.
    pub title: String,
    /// Places of checksums, in order: relative to the folder of the file (`SHA256SUMS`, `{file}.CHECKSUM`), or a URL.
    pub sums: Vec<String>,
    /// Places of signatures: `{sums}.gpg`, `inside` the list, `{file}.sig` over the file itself. `signify:` before one is for readers: the
    /// form is told by the bytes.
    pub signatures: Vec<String>,
    /// Keys that count: fingerprints of primary keys in hexadecimal, or `RW…` of signify and minisign.
    pub keys: Vec<String>,
    /// Level that is demanded at least.
    pub require: Level,
}

/// Signature that is inside the document.
const INSIDE: &str = "inside";

impl VendorRules {
    /// URLs of the lists that may name a file.
    pub fn sums_of(&self, file: &str) -> Vec<String> {
        self.sums.iter().map(|template| meant(template, file, "")).collect()
    }

    /// URLs of the signatures over a list. One inside of it has none.
    pub fn signatures_of(&self, sums: &str, file: &str) -> Vec<String> {
        let beside = self.signatures.iter().filter(|template| template.as_str() != INSIDE && !is_over_file(template));
        beside.map(|template| meant(template, file, sums)).collect()
    }

    /// URLs of the signatures over a file itself.
    pub fn signatures_of_file(&self, file: &str) -> Vec<String> {
        let over = self.signatures.iter().filter(|template| is_over_file(template));
        over.map(|template| meant(template, file, "")).collect()
    }

    /// Tells whether a list may have its signature inside.
    pub fn signs_inside(&self) -> bool {
        self.signatures.iter().any(|template| template == INSIDE)
    }

    /// Tells whether files themselves are signed: then their bytes are needed to verify that.
    pub fn signs_files(&self) -> bool {
        self.signatures.iter().any(|template| is_over_file(template))
    }

    /// Tells whether they say no place of sums or signatures.
    pub fn names_nothing(&self) -> bool {
        self.sums.is_empty() && self.signatures.is_empty()
    }

    /// Tells whether nothing but a signed list will do.
    pub fn demands_signed_lists(&self) -> bool {
        self.require == Level::Signature && !self.signs_files()
    }

    /// Tells whether lists are signed by keys that count.
    pub fn signs_lists(&self) -> bool {
        !self.keys.is_empty() && self.signatures.iter().any(|template| !is_over_file(template))
    }
}

fn is_over_file(template: &str) -> bool {
    template.contains("{file}") && !template.contains("{sums}")
}

/// URL that a template means for a file and a list.
fn meant(template: &str, file: &str, sums: &str) -> String {
    let plain = ["signify:", "minisign:"].iter().find_map(|form| template.strip_prefix(form)).unwrap_or(template);
    let filled = plain.replace("{file}", last_part(file)).replace("{sums}", sums);
    if filled.contains("://") { filled } else { format!("{}{filled}", folder(file)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_mean_urls() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let rules = VendorRules {
            sums: texts(&["SHA256SUMS", "{file}.CHECKSUM", "https://origin/{file}.sha256"]),
            signatures: texts(&["{sums}.gpg", "inside", "{file}.sig", "signify:{sums}.sig"]),
            keys: texts(&["AB"]),
            ..VendorRules::default()
        };
        let file = "https://h/d/a%2B.img?x";
        let sums =
            texts(&["https://h/d/SHA256SUMS", "https://h/d/a%2B.img.CHECKSUM", "https://origin/a%2B.img.sha256"]);
        assert_eq!(rules.sums_of(file), sums);
        assert_eq!(
            rules.signatures_of(&sums[2], file),
            texts(&["https://origin/a%2B.img.sha256.gpg", "https://origin/a%2B.img.sha256.sig"])
        );
        assert_eq!(rules.signatures_of_file(file), texts(&["https://h/d/a%2B.img.sig"]));
        assert!(rules.signs_inside() && rules.signs_files() && rules.signs_lists());
        assert!(!VendorRules { keys: Vec::new(), ..rules }.signs_lists(), "without keys no signature counts");
    }
}
