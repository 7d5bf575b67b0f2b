//! Keys: URLs in their normal form, under which bytes are kept. One resource has one key, and no key stands for two.

use std::fmt;

use crate::error::{Error, Reason, Result, shown};

/// Longest key: what servers and proxies take.
const BYTES_MAX: usize = 4096;

/// A URL without fragment, default port and needless escapes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    url: String,
    /// End of the scheme's name.
    scheme: usize,
    /// End of the host with its port.
    authority: usize,
}

impl Key {
    /// Reads a URL.
    ///
    /// # Errors
    /// `UrlRefused` for a URL that is none of http or https, has a user or a password in it, has dots for a segment, or is too long.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| refused(url, "it has to begin with http:// or https://"))?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        Self::of(scheme, rest, query, url)
    }

    /// Reads a path behind the name of its scheme, as it came: nothing in it was decoded. An empty query is none.
    ///
    /// # Errors
    /// As [`Key::parse`].
    pub fn of_path(scheme: &str, rest: &str, query: &str) -> Result<Self> {
        Self::of(scheme, rest, Some(query).filter(|query| !query.is_empty()), rest)
    }

    fn of(scheme: &str, rest: &str, query: Option<&str>, given: &str) -> Result<Self> {
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => "80",
            "https" => "443",
            _ => return Err(refused(given, "it has to begin with http:// or https://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(refused(
                given,
                "it has user information in it, which is for no server: leave out what is before the @",
            ));
        }
        let authority = authority_of(authority, default_port).ok_or_else(|| refused(given, "its host is malformed"))?;
        let mut url = format!("{scheme}://{authority}");
        let (scheme, authority) = (scheme.len(), url.len());
        let path = if path.is_empty() { "/" } else { path };
        url.push_str(&escaped(path, b"/:@!$&'()*+,;=").ok_or_else(|| refused(given, "an escape in it is malformed"))?);
        if url[authority..].split('/').any(is_dots) {
            return Err(refused(given, "a segment of its path consists of dots"));
        }
        if let Some(query) = query {
            url.push('?');
            let query = escaped(query, b"/:@!$&'()*+,;=?");
            url.push_str(&query.ok_or_else(|| refused(given, "an escape in it is malformed"))?);
        }
        match url.len() <= BYTES_MAX {
            true => Ok(Self { url, scheme, authority }),
            false => Err(Reason::UrlRefused.about("it has more than 4096 characters")),
        }
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.url[..self.scheme]
    }

    /// Host, with its port if it is not the scheme's own.
    pub fn host(&self) -> &str {
        &self.url[self.scheme + 3..self.authority]
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.url[self.authority..]
    }

    /// Path without the query.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// URL without its query, which may hold a signature: for words and logs.
    pub fn shown(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

fn refused(url: &str, why: &str) -> Error {
    Reason::UrlRefused.about(format!("{:?}: {why}", shown(url)))
}

/// Host in lower case, and its port unless it is the default.
fn authority_of(text: &str, default_port: &str) -> Option<String> {
    let (host, port) = match text.rfind(':').filter(|at| !text[*at..].contains(']')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(&host) && !is_dots(&host),
    };
    if !fits || host.is_empty() {
        return None;
    }
    match port {
        None | Some("") => Some(host),
        Some(port) => {
            let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok())??;
            let number = number.to_string();
            Some(if number == default_port { host } else { format!("{host}:{number}") })
        }
    }
}

/// Segments that would lead elsewhere, in any writing of their dots. An escaped dot is a plain one here already.
fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Text with the escapes that it needs and no other: what is unreserved stands as it is, escapes have upper-case digits, and what was
/// escaped with a meaning of its own stays so: `%2F` is no slash.
fn escaped(text: &str, plain: &[u8]) -> Option<String> {
    let mut normal = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let (byte, was_escaped) = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (u8::try_from(high * 16 + low).ok()?, true)
            }
            byte => (byte, false),
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (!was_escaped && plain.contains(&byte)) {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(normal)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_one_key() {
        for (given, normal) in [
            ("https://Cloud.Example:443/a/b#part", "https://cloud.example/a/b"),
            ("HTTPS://cloud.example./a/b", "https://cloud.example/a/b"),
            ("http://h.example:080", "http://h.example/"),
            ("http://h.example:8080/%7euser/%c3%a4?q=%41%26", "http://h.example:8080/~user/%C3%A4?q=A%26"),
            ("https://h.example/ä b", "https://h.example/%C3%A4%20b"),
            ("https://h.example/a%2fb//c", "https://h.example/a%2Fb//c"),
            ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
            ("https://h.example/x?a?b/c", "https://h.example/x?a?b/c"),
            ("https://h.example/a+b=c,d;e@f", "https://h.example/a+b=c,d;e@f"),
            ("https://h.example/%2B%25", "https://h.example/%2B%25"),
            ("https://h.example/x?", "https://h.example/x?"),
        ] {
            let key = Key::parse(given).unwrap();
            assert_eq!(key.url(), normal, "{given}");
            assert_eq!(Key::parse(key.url()).unwrap(), key, "{given}");
        }
        let key = Key::parse("https://h.example:8443/a/b?c=d").unwrap();
        assert_eq!((key.scheme(), key.host(), key.target()), ("https", "h.example:8443", "/a/b?c=d"));
        assert_eq!((key.path(), key.shown()), ("/a/b", "https://h.example:8443/a/b"));
    }

    #[test]
    fn a_path_is_read_as_it_came() {
        let key = Key::of_path("https", "h.example/a%2Fb//c", "x=1").unwrap();
        assert_eq!(key.url(), "https://h.example/a%2Fb//c?x=1");
        assert_eq!(Key::of_path("http", "h.example", "").unwrap().url(), "http://h.example/");
    }

    #[test]
    fn no_secret_is_shown() {
        let error = Key::parse("https://user:password@h.example/x?sig=SECRET").unwrap_err().to_string();
        assert!(error.contains("h.example") && error.contains("user information"), "{error}");
        assert!(!error.contains("password") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn other_urls_are_refused() {
        for bad in [
            "",
            "h.example/x",
            "ftp://h.example/x",
            "https://",
            "https:///x",
            "https://u:p@h.example/x",
            "https://u@h.example/x",
            "https://h.example:x/",
            "https://h.example:65536/",
            "https://h.example:+80/",
            "https://h ost/x",
            "https://../x",
            "https://[::1/x",
            "https://[h.example]/x",
            "https://h.example/../x",
            "https://h.example/a/./x",
            "https://h.example/a/%2e%2E/x",
            "https://h.example/a/..",
            "https://h.example/%zz",
            "https://h.example/%4",
            &format!("https://h.example/{}", "x".repeat(4096)),
        ] {
            assert_eq!(Key::parse(bad).unwrap_err().reason(), Reason::UrlRefused, "{bad}");
        }
    }
}
