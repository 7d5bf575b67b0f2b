//! LXD's filters: `properties.os eq debian and not type eq container`. Clauses are joined from left to right. A value
//! is a pattern for a whole text, in any case. Knows JSON, and nothing of images.

use regex::{Error as RegexError, Regex, RegexBuilder};
use serde_json::Value;

use crate::error::{Error, Result};

/// Longest filter, in bytes: far longer than any that is typed.
const BYTES_MAX: usize = 4096;
/// Memory for all compiled patterns of a filter, in bytes; matching may take as much again.
const PATTERNS_BYTES_MAX: usize = 1 << 18;
/// Most clauses of a filter.
const CLAUSES_MAX: usize = 32;

/// A filter.
#[derive(Debug)]
pub(in crate::api::lxd) struct ListFilter(Vec<Clause>);

/// One comparison.
#[derive(Debug)]
struct Clause {
    /// Joined to the clauses before it by `and`; otherwise by `or`.
    and: bool,
    negated: bool,
    field: String,
    equal: bool,
    value: String,
    pattern: Option<Regex>,
}

impl ListFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `Invalid` when it is malformed.
    pub(in crate::api::lxd) fn parse(text: &str) -> Result<Self> {
        if text.len() > BYTES_MAX {
            return Err(invalid("it is too long"));
        }
        let words = words(text)?;
        let (mut rest, mut clauses, mut and) = (words.as_slice(), Vec::new(), true);
        while !rest.is_empty() {
            let negated = rest[0] == "not";
            rest = &rest[usize::from(negated)..];
            let [field, operator, value, more @ ..] = rest else {
                return Err(invalid("a clause is FIELD eq VALUE or FIELD ne VALUE"));
            };
            let equal = match operator.as_str() {
                "eq" => true,
                "ne" => false,
                other => return Err(invalid(&format!("the operator {other:?} is unknown: use eq or ne"))),
            };
            clauses.push(Clause { and, negated, field: field.clone(), equal, value: value.clone(), pattern: None });
            if clauses.len() > CLAUSES_MAX {
                return Err(invalid("it has too many clauses"));
            }
            rest = match more {
                [] => &[],
                [_] => return Err(invalid("no clause follows its last word")),
                [joint, more @ ..] => {
                    and = match joint.as_str() {
                        "and" => true,
                        "or" => false,
                        other => return Err(invalid(&format!("clauses are joined by and or or, not by {other:?}"))),
                    };
                    more
                }
            };
        }
        // An equal share each: the memory that a pattern really takes is not known.
        let share = PATTERNS_BYTES_MAX.checked_div(clauses.len()).ok_or_else(|| invalid("it is empty"))?;
        for clause in &mut clauses {
            clause.pattern = pattern(&clause.value, share)?;
        }
        Ok(Self(clauses))
    }

    /// Tells whether an object passes.
    pub(in crate::api::lxd) fn passes(&self, object: &Value) -> bool {
        self.0.iter().fold(true, |so_far, clause| {
            let holds = clause.holds(object);
            // The first clause has none before it.
            if clause.and { so_far && holds } else { so_far || holds }
        })
    }
}

impl Clause {
    fn holds(&self, object: &Value) -> bool {
        let same = match field(object, &self.field) {
            Some(Value::String(text)) => match &self.pattern {
                Some(pattern) => pattern.is_match(text),
                None => text.eq_ignore_ascii_case(&self.value),
            },
            Some(Value::Bool(flag)) => self.value.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
            Some(Value::Number(number)) => self.value == number.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => false,
            // A property that an image does not have counts as empty.
            None => self.value.is_empty(),
        };
        (same == self.equal) != self.negated
    }
}

/// A value as a pattern for whole texts, of at most `bytes_max`. `None` if it is no valid pattern, but only a text.
fn pattern(value: &str, bytes_max: usize) -> Result<Option<Regex>> {
    let mut pattern = RegexBuilder::new(&format!("^(?:{value})$"));
    match pattern.case_insensitive(true).size_limit(bytes_max).dfa_size_limit(bytes_max).build() {
        Ok(pattern) => Ok(Some(pattern)),
        Err(RegexError::CompiledTooBig(_)) => Err(invalid("its patterns are too large")),
        Err(_) => Ok(None),
    }
}

/// The value of a field. Dots lead into objects, but the name of a property may contain dots too.
fn field<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    match object.get(path) {
        Some(found) => Some(found),
        None => {
            let (first, rest) = path.split_once('.')?;
            field(object.get(first)?, rest)
        }
    }
}

/// The words of a filter. A quoted text is one word.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(invalid("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn invalid(why: &str) -> Error {
    Error::invalid(format!("Invalid filter: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passes(filter: &str) -> bool {
        let image = json!({
            "type": "container", "public": true, "size": 12, "architecture": "x86_64", "aliases": [],
            "properties": { "os": "Debian", "release": "trixie", "requirements.secureboot": "false" },
        });
        ListFilter::parse(filter).unwrap().passes(&image)
    }

    #[test]
    fn clauses_compare_fields() {
        for (filter, expected) in [
            ("type eq container", true),
            ("type eq contain", false),
            ("type eq contain.*", true),
            ("properties.os eq debian", true),
            ("properties.os ne debian", false),
            ("not properties.os eq debian", false),
            ("properties.requirements.secureboot eq false", true),
            ("public eq true", true),
            ("public eq TRUE", true),
            ("size eq 12", true),
            ("aliases eq x", false),
            ("properties.none eq \"\"", true),
            ("properties.none eq x", false),
            ("no.such.field ne x", true),
            ("properties.os eq 'deb(ian'", false),
            // From left to right.
            ("type eq x or public eq true and size eq 13", false),
            ("size eq 13 and public eq true or type eq container", true),
        ] {
            assert_eq!(passes(filter), expected, "{filter}");
        }
    }

    #[test]
    fn patterns_share_what_they_may_take() {
        let joined = |clause: &str, count: usize| vec![clause; count].join(" and ");
        for usual in ["properties.os eq debian.*", "properties.release eq (trixie|13)", "architecture ne [a-z0-9_]+x"] {
            assert!(passes(&joined(usual, CLAUSES_MAX)), "{usual}");
        }
        let large = "properties.os eq [a-z]{1,500}";
        assert!(passes(large));
        assert!(ListFilter::parse(&joined(large, 4)).is_err());
        assert!(ListFilter::parse("properties.os eq .{1000}{1000}").is_err());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = "x".repeat(BYTES_MAX + 1);
        let many = vec!["a eq b"; CLAUSES_MAX + 1].join(" and ");
        for bad in [
            "",
            "type",
            "type eq",
            "type like x",
            "a eq b c",
            "a eq b xor c eq d",
            "a eq b and",
            "a eq \"b",
            &long,
            &many,
        ] {
            assert!(ListFilter::parse(bad).is_err(), "{bad}");
        }
    }
}
