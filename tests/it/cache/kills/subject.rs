//! A file whose transfers are killed: its contents one after the other, how its server serves it, and what a client may get of it.

use super::Dice;
use crate::cache::Outcome;
use crate::harness::{noise, sha256};
use crate::upstream::{File, Length, Ranges, Tag};

/// Lengths of files, from nothing to what takes a second or two.
const LENGTHS: [usize; 7] = [0, 1, 70_000, 300_000, 900_000, 1_700_000, 3_000_000];

/// Sums beside a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    Right,
    Wrong,
    Missing,
}

/// A file.
pub(super) struct Subject {
    number: usize,
    /// Its server.
    pub(super) upstream: usize,
    path: String,
    pub(super) sums: Sums,
    rate: usize,
    cuts: Vec<usize>,
    /// Its contents, the present one last.
    pub(super) versions: Vec<Vec<u8>>,
    /// Newest version that a client had whole.
    pub(super) seen: usize,
}

impl Subject {
    pub(super) fn new(number: usize, dice: &mut Dice) -> Self {
        let sums = match number {
            0 => Sums::Wrong,
            _ if number.is_multiple_of(2) => Sums::Right,
            _ => Sums::Missing,
        };
        let length = if number == 0 { 200_000 } else { LENGTHS[number % LENGTHS.len()] };
        let mut this = Self {
            number,
            upstream: number % super::UPSTREAMS,
            path: format!("/{sums:?}/file-{number}.img"),
            sums,
            rate: 0,
            cuts: Vec::new(),
            versions: vec![noise(dice.roll(1 << 40), length)],
            seen: 0,
        };
        this.shake(dice);
        this
    }

    /// Another rate, and other places at which answers are cut.
    fn shake(&mut self, dice: &mut Dice) {
        self.rate = (1 + dice.roll(8) as usize) << 20;
        let length = self.content().len() as u64;
        let cuts = if self.number.is_multiple_of(3) && length > 0 { dice.roll(3) } else { 0 };
        self.cuts = (0..cuts).map(|_| dice.roll(length) as usize).collect();
    }

    /// Another content: of this length or another one, and with this beginning or none of it.
    pub(super) fn change(&mut self, dice: &mut Dice) {
        let old = self.content();
        let length = old.len() + if dice.roll(2) == 0 { 0 } else { dice.roll(200_000) as usize };
        let mut new = noise(dice.roll(1 << 40), length);
        if dice.roll(2) == 0 && !old.is_empty() {
            let shared = dice.roll(old.len() as u64) as usize;
            new[..shared].copy_from_slice(&old[..shared]);
        }
        self.versions.push(new);
        self.shake(dice);
    }

    fn content(&self) -> &Vec<u8> {
        self.versions.last().unwrap()
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn path_of_sums(&self) -> String {
        format!("/{:?}/SHA256SUMS", self.sums)
    }

    /// Place that has one file of sums.
    pub(super) fn place(&self) -> (usize, Sums) {
        (self.upstream, self.sums)
    }

    /// Its line in the sums beside it.
    pub(super) fn sum(&self) -> Option<String> {
        let hash = match self.sums {
            Sums::Right => sha256(self.content()),
            Sums::Wrong => sha256(b"something else"),
            Sums::Missing => return None,
        };
        Some(format!("{hash}  file-{}.img\n", self.number))
    }

    /// The file as its server has it.
    pub(super) fn file(&self) -> File {
        let file = File::new(self.content().clone()).at_rate(self.rate).cut_at(self.cuts.clone());
        let version = self.versions.len();
        let tag = match self.number % 5 {
            3 => Tag::Is(format!("W/\"{version}\"")),
            4 => Tag::Missing,
            _ => file.tag.clone(),
        };
        let ranges = if self.number % 9 == 5 { Ranges::Ignored } else { Ranges::Honest };
        let length = if self.number % 8 == 7 { Length::Chunked } else { Length::Honest };
        File { modified: Some(date(version)), ..file.tagged(tag).ranges(ranges).length(length) }
    }

    /// Headers of a request for it or a part of it.
    pub(super) fn request(&self, dice: &mut Dice) -> Vec<(&'static str, String)> {
        let length = self.content().len() as u64;
        let range = match dice.roll(10) {
            0..=5 => None,
            _ if length == 0 => None,
            6 => Some(format!("bytes=-{}", 1 + dice.roll(100_000))),
            7 => Some(format!("bytes={}-", dice.roll(length))),
            _ => {
                let first = dice.roll(length);
                Some(format!("bytes={first}-{}", (first + dice.roll(100_000)).min(length - 1)))
            }
        };
        let anew = (dice.roll(8) == 0).then(|| ("Cache-Control", "no-cache".to_owned()));
        range.map(|range| ("Range", range)).into_iter().chain(anew).collect()
    }

    /// Holds an answer to the contents: all of its bytes are of one of them. Returns the version that it has all of.
    pub(super) fn judge(&self, outcome: &Outcome) -> Result<Option<usize>, String> {
        let body = &outcome.body;
        let is_of = |version: &Vec<u8>| match (outcome.status, outcome.complete) {
            (200, true) => version == body,
            (200, false) => version.starts_with(body),
            _ => part(outcome, version).is_some_and(|part| part.starts_with(body)),
        };
        match outcome.status {
            200 | 206 => {}
            // Refused, or not to be had.
            416 | 502 | 503 | 504 => return Ok(None),
            status => return Err(format!("{}: {status} {:?}", self.path, outcome.text())),
        }
        let fault = |words: &str| {
            let origin = self.versions.iter().map(|version| common(version, body)).collect::<Vec<_>>();
            let (length, headers) = (body.len(), &outcome.headers);
            Err(format!("{}: {words}: {length} bytes, equal to versions up to {origin:?}, {headers:?}", self.path))
        };
        match self.versions.iter().rposition(is_of) {
            None => fault("bytes of no content"),
            Some(_) if outcome.status == 206 || !outcome.complete => Ok(None),
            Some(_) if self.sums == Sums::Wrong => fault("bytes that do not fit their sums"),
            Some(version) => Ok(Some(version)),
        }
    }
}

/// Date of the change that has a number.
pub(super) fn date(number: usize) -> String {
    format!("Mon, 05 Jan 2026 {:02}:{:02}:00 GMT", number / 60, number % 60)
}

/// Part of a content that an answer says it is.
fn part<'a>(outcome: &Outcome, version: &'a [u8]) -> Option<&'a [u8]> {
    let (span, total) = outcome.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    version.get(first..=last).filter(|part| {
        let is_all = !outcome.complete || part.len() == outcome.body.len();
        is_all && total == version.len().to_string()
    })
}

/// Length of the beginning that two have in common.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
