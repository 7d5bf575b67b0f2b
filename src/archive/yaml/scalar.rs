//! Meanings of a scalar: null, a flag, a number or a text, by the rules of Go's `yaml.v2`. They are YAML 1.1's, without numbers
//! of base 60.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Refusal;

/// A scalar as it is written.
#[derive(Debug)]
pub(in crate::archive) struct Scalar {
    pub(super) text: String,
    /// In its short form.
    pub(super) tag: Option<String>,
    /// Neither quotes nor a tag say that it is a text.
    pub(super) plain: bool,
}

/// Meaning of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meaning {
    Null,
    Flag(bool),
    /// A number that 64 bits hold, with a sign or without one.
    Integer(i128),
    Float(f64),
    Text,
}

impl Scalar {
    /// Tells whether it is the name `<<`, whose value is merged into the map.
    pub(super) fn is_merge(&self) -> bool {
        self.text == "<<" && (self.plain || self.tag.as_deref() == Some("!!merge"))
    }

    pub(super) fn is_null(&self) -> bool {
        self.meaning() == Ok(Meaning::Null)
    }

    pub(super) fn text(&self) -> Result<String, Refusal> {
        if self.tag.as_deref() == Some("!!binary") {
            let bytes = STANDARD.decode(self.text.replace(['\n', '\r'], "")).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            return text.ok_or_else(|| format!("'{}' is not a text in base64", self.text));
        }
        Ok(if self.meaning()? == Meaning::Null { String::new() } else { self.text.clone() })
    }

    pub(super) fn integer(&self) -> Result<i64, Refusal> {
        let number = match self.meaning()? {
            Meaning::Null => Some(0),
            Meaning::Integer(number) => i64::try_from(number).ok(),
            // What is behind the point is cut off. Both bounds are exact.
            Meaning::Float(number) => (-(2_f64.powi(63)) <= number && number < 2_f64.powi(63)).then_some(number as i64),
            Meaning::Flag(_) | Meaning::Text => None,
        };
        number.ok_or_else(|| format!("'{}' is not a number of seconds", self.text))
    }

    pub(super) fn flag(&self) -> Result<bool, Refusal> {
        match self.meaning()? {
            Meaning::Null => Ok(false),
            Meaning::Flag(flag) => Ok(flag),
            _ => Err(format!("'{}' is neither true nor false", self.text)),
        }
    }

    fn meaning(&self) -> Result<Meaning, Refusal> {
        let resolved = || resolve(&self.text);
        let (means, agrees) = match self.tag.as_deref() {
            None if self.plain => return Ok(resolved()),
            None => return Ok(Meaning::Text),
            Some("!!null") => (resolved(), matches!(resolved(), Meaning::Null)),
            Some("!!bool") => (resolved(), matches!(resolved(), Meaning::Flag(_))),
            Some("!!int") => (resolved(), matches!(resolved(), Meaning::Integer(_))),
            Some("!!float") => match resolved() {
                Meaning::Integer(number) => (Meaning::Float(number as f64), true),
                other => (other, matches!(other, Meaning::Float(_))),
            },
            // Times have no meaning of their own here.
            Some(_) => return Ok(Meaning::Text),
        };
        let tag = self.tag.as_deref().unwrap_or_default();
        if agrees { Ok(means) } else { Err(format!("'{}' is not of its type, {tag}", self.text)) }
    }
}

/// The meaning of a text without quotes.
fn resolve(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Meaning::Flag(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Meaning::Flag(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if text.starts_with('.') {
        return float(text).map_or(Meaning::Text, Meaning::Float);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) {
        return Meaning::Text;
    }
    let plain = text.replace('_', "");
    integer(&plain).map(Meaning::Integer).or_else(|| float(&plain).map(Meaning::Float)).unwrap_or(Meaning::Text)
}

/// A number in base 16, 8, 2 or, without a prefix, 10, that fits into 64 bits. A zero in front makes it octal.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // The parser would take a second sign.
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, base).ok()?;
    let number = if negative { -number } else { number };
    let signed = text.starts_with(['-', '+']);
    let most = if signed { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN) <= number && number <= most).then_some(number)
}

/// A number with a point or an exponent: digits on one side of the point at least. One that is too large is none.
fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.to_owned(), tag: None, plain: true }
    }

    fn tagged(tag: &str, text: &str) -> Scalar {
        Scalar { text: text.to_owned(), tag: Some(tag.to_owned()), plain: false }
    }

    #[test]
    fn numbers_are_those_of_go() {
        for (text, number) in [
            ("0", 0),
            ("17", 17),
            ("+17", 17),
            ("-17", -17),
            ("017", 15),
            ("0o17", 15),
            ("0x1F", 31),
            ("-0x1f", -31),
            ("0b101", 5),
            ("-0b101", -5),
            ("1_700_000_000", 1_700_000_000),
            ("1__0", 10),
            ("08", 8),
            ("1.9", 1),
            ("-1.9", -1),
            ("1e3", 1000),
            (".5e1", 5),
            ("1.7e9", 1_700_000_000),
            ("9223372036854775807", i64::MAX),
            ("~", 0),
            ("", 0),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(plain(text).integer(), Ok(number), "{text}");
        }
        for text in [
            "9223372036854775808",
            "1e300",
            ".inf",
            "-.inf",
            ".nan",
            "1e999",
            "0x",
            "1:30",
            "1,7",
            "--1",
            "+-1",
            "today",
            "yes",
            "2024-01-01",
            "1.2.3",
            "e1",
            ".",
        ] {
            assert!(plain(text).integer().is_err(), "{text}");
        }
        let quoted = Scalar { plain: false, ..plain("17") };
        assert!(quoted.integer().is_err());
        assert_eq!((tagged("!!int", "17").integer(), tagged("!!float", "17").integer()), (Ok(17), Ok(17)));
        assert!(tagged("!!str", "17").integer().is_err() && tagged("!!int", "x").integer().is_err());
    }

    #[test]
    fn a_text_keeps_its_spelling() {
        for text in ["1.50", "0x10", "yes", "2024-01-01", ".inf", "x"] {
            assert_eq!(plain(text).text().as_deref(), Ok(text));
        }
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(text).text().as_deref(), Ok(""));
            assert_eq!((Scalar { plain: false, ..plain(text) }).text().as_deref(), Ok(text));
        }
        for (tag, text, read) in [
            ("!!str", "~", Ok("~")),
            ("!own", "x", Ok("x")),
            ("!!binary", "aGVs\nbG8=", Ok("hello")),
            ("!!null", "~", Ok("")),
            ("!!float", "1", Ok("1")),
        ] {
            assert_eq!(tagged(tag, text).text().as_deref().map_err(|_| ()), read.map_err(|(): ()| ()), "{tag} {text}");
        }
        for (tag, text) in [("!!binary", "*"), ("!!binary", "/w=="), ("!!int", "1.5"), ("!!bool", "1"), ("!!null", "x")]
        {
            assert!(tagged(tag, text).text().is_err(), "{tag} {text}");
        }
    }

    #[test]
    fn flags_have_many_words() {
        for (text, flag) in [
            ("y", true),
            ("Yes", true),
            ("ON", true),
            ("true", true),
            ("n", false),
            ("No", false),
            ("off", false),
            ("~", false),
        ] {
            assert_eq!(plain(text).flag(), Ok(flag), "{text}");
        }
        for text in ["yEs", "1", "t"] {
            assert!(plain(text).flag().is_err(), "{text}");
        }
    }
}
