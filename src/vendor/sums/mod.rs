//! Lists of checksums: one parser for all the forms that vendors write.
//!
//! Works on bytes that are here: where a list lies, and whether a signature over it is good, is known elsewhere. Of a signed document only the
//! content is read ([`content`]).

mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use self::line::{SumsLine, algorithm_named, read};
use super::signature::content;
use super::sum::{Sum, SumAlgorithm};
use crate::error::{Error, Reason, Result};

/// Most bytes of a list: its server decides what comes.
pub(super) const SUMS_BYTES_MAX: usize = 8 << 20;

/// Most bytes of a line.
const LINE_BYTES_MAX: usize = 4096;

/// Endings of documents that are about one file, whose name stands before them.
const SIDECAR_ENDINGS: [&str; 10] =
    ["sha512", "sha256", "sha512sum", "sha256sum", "sha1", "md5", "checksum", "digests", "sha1sum", "md5sum"];

/// A list of checksums.
#[derive(Debug, Default)]
pub struct Sums {
    files: Vec<Listed>,
    /// Positions in `files` by the name as it is listed, and by its last part.
    by_name: HashMap<String, usize>,
    by_last_part: HashMap<String, Vec<usize>>,
}

/// Facts of a list about one file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FoundSums {
    /// Digests, the strongest first.
    pub sums: Vec<Sum>,
    /// Length in bytes, if the list has it.
    pub size: Option<u64>,
}

/// A file that a list names; each fact with the number of its line.
#[derive(Debug, Default)]
struct Listed {
    name: String,
    sums: BTreeMap<SumAlgorithm, (Sum, usize)>,
    size: Option<(u64, usize)>,
}

impl Sums {
    /// Reads a list that is published under a name, which tells the file of a digest without a name. A page of HTML, or bytes that are no text,
    /// are a list of nothing.
    ///
    /// # Errors
    /// [`Reason::SumsRefused`] for two digests of one algorithm for one name, a digest that has not the length of the algorithm named for it,
    /// and lists or lines that are too long.
    pub fn parse(bytes: &[u8], own_name: &str) -> Result<Self> {
        let refused = |why: String| refusal(own_name, &why);
        if bytes.len() > SUMS_BYTES_MAX {
            return Err(refused(format!("it has more than {} MiB", SUMS_BYTES_MAX >> 20)));
        }
        let mut list = Self::default();
        let text = content(bytes).map_err(|error| refused(error.to_string()))?;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        if is_no_list(text) {
            return Ok(list);
        }
        // What the document is named after, and the algorithm that the lines without one have to agree with.
        let (mut section, about) = (Section::of_name(own_name), file_named_by(own_name));
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if line.len() > LINE_BYTES_MAX {
                return Err(refused(format!("line {number} has more than {LINE_BYTES_MAX} bytes")));
            }
            // Names in other encodings can't be those that URLs of ours have.
            let Ok(line) = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) else { continue };
            let (sum, name, tagged) = match read(line) {
                SumsLine::Named(sum, name) => (sum, Some(name), !starts_with_digest(line)),
                SumsLine::Bare(sum) => (sum, about.map(str::to_owned), false),
                SumsLine::Size(bytes, name) => {
                    list.add_size(name, bytes, number).map_err(&refused)?;
                    continue;
                }
                SumsLine::Heading(algorithm) => {
                    section = algorithm.map_or(Section::Foreign, Section::Of);
                    continue;
                }
                SumsLine::Disagrees(algorithm) => return Err(refused(disagrees(number, algorithm))),
                SumsLine::Unknown | SumsLine::Other => continue,
            };
            match section {
                Section::Foreign if !tagged => continue,
                Section::Of(algorithm) if !tagged && sum.algorithm() != algorithm => {
                    return Err(refused(disagrees(number, algorithm)));
                }
                _ => {}
            }
            if let Some(name) = name {
                list.add_sum(name, sum, number).map_err(&refused)?;
            }
        }
        list.index_last_parts();
        Ok(list)
    }

    /// Finds a file by the name that it is listed under, or by the last part of that if no other name ends in it. A name that leads out of
    /// the folder vouches for nothing.
    pub fn find(&self, name: &str) -> Option<FoundSums> {
        let listed = match self.by_name.get(name).map(|at| &self.files[*at]).filter(|listed| !climbs(&listed.name)) {
            Some(listed) => listed,
            None => match self.by_last_part.get(name).map(Vec::as_slice) {
                Some([at]) => &self.files[*at],
                _ => return None,
            },
        };
        listed.found()
    }

    /// Goes through the files that have a digest, by the name that each is listed under.
    pub fn iter(&self) -> impl Iterator<Item = (&str, FoundSums)> {
        self.files.iter().filter_map(|listed| Some((listed.name.as_str(), listed.found()?)))
    }

    /// Entry of a name; `./` before it says nothing.
    fn entry(&mut self, name: String) -> &mut Listed {
        let mut plain = name.as_str();
        while let Some(rest) = plain.strip_prefix("./") {
            plain = rest.trim_start_matches('/');
        }
        let at = match self.by_name.get(plain) {
            Some(at) => *at,
            None => {
                self.files.push(Listed { name: plain.to_owned(), ..Listed::default() });
                self.by_name.insert(plain.to_owned(), self.files.len() - 1);
                self.files.len() - 1
            }
        };
        &mut self.files[at]
    }

    fn add_sum(&mut self, name: String, sum: Sum, line: usize) -> Result<(), String> {
        let listed = self.entry(name);
        match listed.sums.get(&sum.algorithm()) {
            Some((other, first)) if *other != sum => {
                Err(format!("lines {first} and {line} give '{}' different digests", listed.name))
            }
            Some(_) => Ok(()),
            None => {
                listed.sums.insert(sum.algorithm(), (sum, line));
                Ok(())
            }
        }
    }

    fn add_size(&mut self, name: String, size: u64, line: usize) -> Result<(), String> {
        let listed = self.entry(name);
        match listed.size {
            Some((other, first)) if other != size => {
                Err(format!("lines {first} and {line} give '{}' different lengths", listed.name))
            }
            _ => {
                listed.size.get_or_insert((size, line));
                Ok(())
            }
        }
    }

    fn index_last_parts(&mut self) {
        for (at, listed) in self.files.iter().enumerate().filter(|(_, listed)| !climbs(&listed.name)) {
            let last = listed.name.rsplit('/').next().unwrap_or_default();
            if !last.is_empty() {
                self.by_last_part.entry(last.to_owned()).or_default().push(at);
            }
        }
    }
}

impl Listed {
    /// Facts, if there is a digest among them.
    fn found(&self) -> Option<FoundSums> {
        let sums: Vec<Sum> = self.sums.values().rev().map(|(sum, _)| sum.clone()).collect();
        (!sums.is_empty()).then_some(FoundSums { sums, size: self.size.map(|(size, _)| size) })
    }
}

/// Algorithm that lines without one of their own have to agree with.
enum Section {
    /// Any: the length tells it.
    Any,
    /// This one.
    Of(SumAlgorithm),
    /// One that is not known here: the lines say nothing to us.
    Foreign,
}

impl Section {
    /// Section that a document's name opens: `SHA256SUMS`, `x.img.sha512`.
    fn of_name(own_name: &str) -> Self {
        let (stem, ending) = own_name.rsplit_once('.').unwrap_or(("", own_name));
        // `sha256sum.txt` says it before its ending, as does `SHA256.sig` of OpenBSD.
        let word =
            if matches!(ending, "txt" | "sig" | "asc") { stem.rsplit('.').next().unwrap_or_default() } else { ending };
        let word = word.to_ascii_uppercase();
        let word = word.strip_suffix("SUMS").or_else(|| word.strip_suffix("SUM")).unwrap_or(&word);
        algorithm_named(word).map_or(Self::Any, Self::Of)
    }
}

/// File that a document is about by its own name.
fn file_named_by(own_name: &str) -> Option<&str> {
    let (file, ending) = own_name.rsplit_once('.')?;
    let known = SIDECAR_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    (known && !file.is_empty()).then_some(file)
}

/// Tells whether a line begins as GNU's forms do: there the section says the algorithm, in BSD's form the line itself.
fn starts_with_digest(line: &str) -> bool {
    let line = line.strip_prefix('\\').unwrap_or(line);
    let digits = line.bytes().take_while(u8::is_ascii_hexdigit).count();
    Sum::of_hex(&line[..digits]).is_some()
}

/// Tells whether bytes are a page for people or no text at all: answers of servers that know no 404.
fn is_no_list(text: &[u8]) -> bool {
    let head = &text[..text.len().min(1024)];
    head.trim_ascii_start().starts_with(b"<") || head.contains(&0)
}

/// Tells whether a name leads out of its folder.
fn climbs(name: &str) -> bool {
    name.starts_with('/') || name.split('/').any(|part| part == "..")
}

fn disagrees(line: usize, algorithm: SumAlgorithm) -> String {
    format!(
        "line {line} has no {} of {} digits, though that is what it is named",
        algorithm.name(),
        algorithm.length() * 2
    )
}

fn refusal(own_name: &str, why: &str) -> Error {
    Reason::SumsRefused.about(own_name).and(why)
}
