//! Templates of paths and names, with fields in braces: filled with what is known, or held against a text to learn what is not.

use std::collections::BTreeMap;

use regex::Regex;

use super::order::natural;
use crate::error::{Error, Result};

/// Fields with the pattern of what can stand in their place.
const FIELDS: [(&str, &str); 13] = [
    // The release as its vendor numbers it.
    ("release", r"[0-9]+(?:\.[0-9]+)*"),
    ("codename", r"[a-z]+"),
    // The whole number of a release, where `release` can be the beginning of it: 10.1 for 10.
    ("version", r"[0-9]+(?:\.[0-9]+)*"),
    // The number before the first dot of it.
    ("major", r"[0-9]+"),
    // The numbers before the second dot of it.
    ("minor", r"[0-9]+\.[0-9]+"),
    // The number without its dots: 78 for 7.8.
    ("compact", r"[0-9]+"),
    ("arch", r"[0-9A-Za-z_-]+"),
    // The architecture in the names of files, where folders have another word for it.
    ("file_arch", r"[0-9A-Za-z_-]+"),
    ("build", r"[0-9](?:[0-9A-Za-z._-]*[0-9A-Za-z])?"),
    ("variant", r"[0-9A-Za-z._-]+"),
    ("schematic", r"[0-9a-f]{64}"),
    // The next number of a name, which says nothing to us.
    ("any", r"[0-9A-Za-z.]+"),
    ("sum", r"[0-9A-Fa-f]{32,128}"),
];

/// Fields of rules that are filled where sums and signatures are looked up.
const LATER: [&str; 2] = ["file", "sums"];

/// Values of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownFields(BTreeMap<&'static str, String>);

impl KnownFields {
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// Sets a field, and those that follow from it.
    pub(super) fn set(&mut self, field: &'static str, value: impl Into<String>) {
        let value = value.into();
        if field == "version" || field == "release" && self.get("version").is_none() {
            self.0.extend(derived(&value));
        }
        self.0.insert(field, value);
    }

    pub(super) fn with(&self, field: &'static str, value: impl Into<String>) -> Self {
        let mut more = self.clone();
        more.set(field, value);
        more
    }

    /// These facts with others, which stand above them.
    pub(super) fn and(&self, others: &Self) -> Self {
        let mut more = self.clone();
        more.0.extend(others.0.clone());
        more
    }

    pub(super) fn without(&self, field: &str) -> Self {
        let mut fewer = self.clone();
        fewer.0.remove(field);
        fewer
    }

    /// The newer of two: by version, then build.
    pub(super) fn order(&self, other: &Self) -> std::cmp::Ordering {
        let of = |field: &str| natural(self.get(field).unwrap_or_default(), other.get(field).unwrap_or_default());
        of("version").then(of("release")).then(of("build")).then(of("any"))
    }

    /// Tells whether what was found is of the release that is wanted.
    fn agree(&self) -> bool {
        let Some(release) = self.get("release") else { return true };
        let is_of = |whole: Option<&str>, part: &str| whole.is_none_or(|whole| begins(whole, part));
        let minor = self.get("minor").unwrap_or(release);
        is_of(self.get("version"), release) && (begins(minor, release) || begins(release, minor))
    }
}

/// Tells whether the first numbers of a version are those.
fn begins(version: &str, numbers: &str) -> bool {
    version.strip_prefix(numbers).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Fields that follow from a number.
fn derived(number: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = number.split('.').collect();
    let minor = (parts.len() > 1).then(|| ("minor", parts[..2].join(".")));
    let major = [("major", parts[0].to_owned()), ("compact", parts.concat())];
    if number.starts_with(|c: char| c.is_ascii_digit()) { major.into_iter().chain(minor).collect() } else { Vec::new() }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(&'static str),
}

/// A text with fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let known = || FIELDS.iter().map(|(name, _)| *name).chain(LATER);
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| format!("{text:?} has a {{ without a }}"))?;
            let field = known().find(|field| *field == name).ok_or_else(|| {
                format!("{text:?}: {{{name}}} is not one of {}", known().collect::<Vec<_>>().join(", "))
            })?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Field(field)]);
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self(pieces))
    }

    /// The template of each part of a path.
    pub(super) fn segments(&self) -> Vec<Self> {
        let mut segments = vec![Self::default()];
        for piece in &self.0 {
            let Piece::Text(text) = piece else {
                push(&mut segments, piece.clone());
                continue;
            };
            for (at, part) in text.split('/').enumerate() {
                if at > 0 {
                    segments.push(Self::default());
                }
                push(&mut segments, Piece::Text(part.to_owned()));
            }
        }
        segments
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Field(name) if *name == field))
    }

    /// The first field whose value is not known.
    pub(super) fn missing(&self, facts: &KnownFields) -> Option<&'static str> {
        self.0.iter().find_map(|piece| match piece {
            Piece::Field(field) if facts.get(field).is_none() => Some(*field),
            _ => None,
        })
    }

    /// Fills the fields; `None` when a value is not known.
    pub(super) fn fill(&self, facts: &KnownFields) -> Option<String> {
        self.missing(facts).is_none().then(|| self.fill_known(facts))
    }

    /// Fills the fields whose values are known; the others stay.
    pub(super) fn fill_known(&self, facts: &KnownFields) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(field) => facts.get(field).map_or_else(|| format!("{{{field}}}"), ToOwned::to_owned),
        };
        self.0.iter().map(piece).collect()
    }

    /// Facts that a whole text tells, if it has the form of the template.
    pub(super) fn read(&self, facts: &KnownFields, text: &str) -> Result<Option<KnownFields>> {
        // Most texts are of another place altogether, and are told so without a pattern.
        if matches!(self.0.first(), Some(Piece::Text(start)) if !text.starts_with(start.as_str())) {
            return Ok(None);
        }
        Ok(self.reader(facts)?(text))
    }

    /// Reader of whole texts of this form, for many of them: its pattern is made once.
    pub(super) fn reader<'a>(&'a self, facts: &'a KnownFields) -> Result<impl Fn(&str) -> Option<KnownFields> + 'a> {
        let (pattern, fields) = self.pattern(facts);
        let regex = Regex::new(&format!("^{pattern}$")).map_err(Error::internal)?;
        Ok(move |text: &str| regex.captures(text).and_then(|found| learnt(facts, &fields, &found)))
    }

    /// Facts of each place of a text that has the form of the template.
    pub(super) fn find(&self, facts: &KnownFields, text: &str) -> Result<Vec<KnownFields>> {
        let (pattern, fields) = self.pattern(facts);
        let regex = Regex::new(&pattern).map_err(Error::internal)?;
        Ok(regex.captures_iter(text).filter_map(|found| learnt(facts, &fields, &found)).collect())
    }

    fn pattern(&self, facts: &KnownFields) -> (String, Vec<&'static str>) {
        let (mut pattern, mut fields) = (String::new(), Vec::new());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => pattern.push_str(&regex::escape(text)),
                Piece::Field(field) => match facts.get(field) {
                    Some(value) => pattern.push_str(&regex::escape(value)),
                    None => {
                        let class = FIELDS.iter().find(|(name, _)| name == field).map_or(".+", |(_, class)| class);
                        pattern.push_str(&format!("({class})"));
                        fields.push(*field);
                    }
                },
            }
        }
        (pattern, fields)
    }
}

fn push(segments: &mut [Template], piece: Piece) {
    if let Some(last) = segments.last_mut().filter(|_| piece != Piece::Text(String::new())) {
        last.0.push(piece);
    }
}

/// The facts with what was found; `None` when a field would have two values.
fn learnt(facts: &KnownFields, fields: &[&'static str], found: &regex::Captures<'_>) -> Option<KnownFields> {
    let mut more = facts.clone();
    for (at, field) in fields.iter().enumerate() {
        let value = found.get(at + 1)?.as_str();
        let mut follow = if *field == "version" { derived(value) } else { Vec::new() };
        follow.retain(|(field, _)| *field != "compact");
        let known = |field: &str, value: &str| more.get(field).is_none_or(|known| known == value);
        if !known(field, value) || !follow.iter().all(|(field, value)| known(field, value)) {
            return None;
        }
        more.set(field, value);
    }
    more.agree().then_some(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn a_name_tells_what_its_template_does_not_know() {
        let rocky = template("{version}/images/{arch}/Rocky-{major}-GenericCloud-Base-{version}-{build}.{arch}.qcow2");
        let facts = KnownFields::default().with("release", "10").with("arch", "x86_64");
        let segments = rocky.segments();
        assert_eq!(segments.len(), 4);
        let read = |text: &str| segments[0].read(&facts, text).unwrap();
        assert_eq!(read("9.6"), None, "of another release");
        assert_eq!(read("100.1"), None, "of another release, whose number begins with it");
        assert_eq!(read("10.1-BETA1"), None);
        let facts = read("10.1").unwrap();
        let name = "Rocky-10-GenericCloud-Base-10.1-20251116.0.x86_64.qcow2";
        let facts = segments[3].read(&facts, name).unwrap().unwrap();
        assert_eq!(facts.get("build"), Some("20251116.0"));
        assert_eq!(rocky.fill(&facts).unwrap(), format!("10.1/images/x86_64/{name}"));
        let other = segments[3].read(&facts, &name.replace("10.1", "10.0")).unwrap();
        assert_eq!(other, None, "a field has one value");
    }

    #[test]
    fn a_document_tells_the_builds_that_it_names() {
        let line = template("{build}/di-{arch}-console-{build}.qcow2");
        let facts = KnownFields::default().with("arch", "amd64");
        let text = "# a\n20260104T164557Z/di-amd64-console-20260104T164557Z.qcow2 5\n1/di-amd64-console-2.qcow2 5\n";
        let found = line.find(&facts, text).unwrap();
        assert_eq!(found.iter().map(|facts| facts.get("build")).collect::<Vec<_>>(), [Some("20260104T164557Z")]);
    }

    #[test]
    fn unknown_fields_are_refused_and_later_ones_stay() {
        assert!(Template::parse("{relase}/x").unwrap_err().contains("{relase} is not one of release"));
        assert!(Template::parse("{release").is_err());
        let facts = KnownFields::default().with("release", "44");
        assert_eq!(template("{file}-{release}-{build}").fill_known(&facts), "{file}-44-{build}");
        assert_eq!(template("{release}-{build}").fill(&facts), None);
        assert_eq!(
            template("install{compact}.img").fill(&KnownFields::default().with("version", "7.8")).unwrap(),
            "install78.img"
        );
    }
}
