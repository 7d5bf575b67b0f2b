//! VISOR's request signatures: HMAC-SHA1 over method, some headers and path. Pure; server and client share it.
//!
//! Source: `protocols/visor.md`, section 3.1. Body, host and query are not signed, and nothing keeps a request from
//! being sent twice within the date's window: TLS is what does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Prefix of every metadata header.
pub const META_PREFIX: &str = "x-image-meta-";

/// Content type in the signed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// The one among the headers.
    AsSent,
    /// None: a modern Ruby adds one to a request without a body after the original's client has signed it.
    Left,
}

/// The text that is signed. `path` is as sent, without the query.
pub fn string_to_sign<'a>(
    method: &str,
    path: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    content_type: ContentType,
) -> String {
    let mut plain = [("content-md5", ""), ("content-type", ""), ("date", "")];
    let mut meta = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let value = value.trim();
        if let Some(slot) = plain.iter_mut().find(|(plain, _)| *plain == name) {
            if name != "content-type" || content_type == ContentType::AsSent {
                slot.1 = value;
            }
        } else if name.replace('_', "-").starts_with(META_PREFIX) {
            meta.push((format!("{META_PREFIX}{}", &name[META_PREFIX.len()..]), value));
        }
    }
    meta.sort();
    let plain: String = plain.iter().map(|(_, value)| format!("{value}\n")).collect();
    let meta: String = meta.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    format!("{method}\n{plain}{meta}{path}")
}

fn mac(secret: &str, text: &str) -> Option<Hmac<Sha1>> {
    // HMAC takes keys of any length; the error is an artefact of the trait.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(text.as_bytes());
    Some(mac)
}

/// The signature of a text.
pub fn sign(secret: &str, text: &str) -> String {
    mac(secret, text).map(|mac| STANDARD.encode(mac.finalize().into_bytes())).unwrap_or_default()
}

/// Verifies the signature of a text, in constant time.
pub fn verify(secret: &str, text: &str, signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    mac(secret, text).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
}

/// The value of the `Authorization` header.
pub fn authorization(access_key: &str, signature: &str) -> String {
    format!("VISOR {access_key}:{signature}")
}

/// Access key and signature in an `Authorization` header; `None` if it is not of VISOR's form.
pub fn parse_authorization(header: &str) -> Option<(&str, &str)> {
    // Schemes are compared without case (RFC 9110, section 11.1).
    let (scheme, credentials) = header.split_once(' ')?;
    let (key, signature) = credentials.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("visor"))?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!key.is_empty() && key.chars().all(word)).then_some((key, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: (&str, &str) = ("Date", "Fri, 15 Jun 2012 20:05:20 GMT");

    /// The vectors of `protocols/visor.md`, produced by the original: key `foo`, secret `bar`.
    #[test]
    fn vectors_of_the_original() {
        let put = "/images/7583d669-8a65-41f1-b8ae-eb34ff6b322f";
        type Vector<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str);
        let vectors: [Vector<'_>; 6] = [
            ("GET", "/images", vec![], "+MTF4X/rH90RatWiesO3sCY+Axg="),
            ("HEAD", "/images/edfa919a-0415-4d26-b54d-ae78ffc4dc79", vec![], "OCgnrszy5vWKCU+1YF3LXMvevSo="),
            (
                "POST",
                "/images",
                vec![
                    ("X-Image-Meta-Name", "CentOS 6.2"),
                    ("X-Image-Meta-Architecture", "i386"),
                    ("X-Image-Meta-Format", "iso"),
                    ("X-Image-Meta-Access", "private"),
                ],
                "V2ErW5JfFs2zmcsbEFNm8yfwZ8M=",
            ),
            (
                "POST",
                "/images",
                vec![
                    ("Content-Type", "application/octet-stream"),
                    ("x_image_meta_name", "Fedora Desktop 17"),
                    ("X-Image-Meta-Architecture", "x86_64"),
                    ("X-Image-Meta-Format", "iso"),
                    ("X-Image-Meta-Store", "file"),
                ],
                "s0NHcxg7Zf65PMdhNlXIwMbYMIA=",
            ),
            (
                "PUT",
                put,
                vec![("Content-MD5", "abc=="), ("X-Image-Meta-Name", "  padded ")],
                "OicZo7UktIxiiJo3YCeEd13/+LI=",
            ),
            ("DELETE", put, vec![], "6PpMZf5SCz7E6385/WbmBGlrK6k="),
        ];
        for (method, path, mut headers, expected) in vectors {
            headers.extend([DATE, ("Host", "anything"), ("Accept", "application/json")]);
            let text = string_to_sign(method, path, headers, ContentType::AsSent);
            assert_eq!(sign("bar", &text), expected, "{text}");
            assert!(verify("bar", &text, expected));
            assert!(!verify("baz", &text, expected));
            assert!(!verify("bar", &format!("{text}x"), expected));
        }
    }

    #[test]
    fn a_content_type_can_be_left_out() {
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        let text = string_to_sign("POST", "/images", [form, DATE], ContentType::Left);
        assert_eq!(text, string_to_sign("POST", "/images", [DATE], ContentType::AsSent));
    }

    #[test]
    fn malformed_authorizations_have_no_key() {
        assert_eq!(parse_authorization("VISOR foo:sig="), Some(("foo", "sig=")));
        for bad in ["", "VISOR", "VISOR foo", "VISOR :x", "Basic foo:x", "VISOR  foo:x", "VISOR f-o:x", "foo:x"] {
            assert_eq!(parse_authorization(bad), None, "{bad}");
        }
        assert!(!verify("bar", "text", "not base64!"));
    }
}
