//! Progress of pulls: a bar for each image on a terminal, lines where there is none, and lines of JSON for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::print;
use super::pace::Pace;
use crate::registry::{PullProgress, PullState};
use crate::vendor::Level;

/// Templates: the image and what is said of it.
const MOVING: &str = "{prefix:24}  {msg}";
const WAITING: &str = "{prefix:24}  {spinner} {msg}";

/// Forms of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProgressForm {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// No progress
    None,
    /// A line of JSON for every step, on standard output
    Json,
}

/// An image on its way.
struct Track {
    bar: Option<ProgressBar>,
    state: Option<PullState>,
    pace: Pace,
}

/// The progress of several pulls.
pub(super) struct Show {
    form: ProgressForm,
    bars: Option<MultiProgress>,
    tracks: Mutex<BTreeMap<usize, Track>>,
}

impl Show {
    pub(super) fn new(form: ProgressForm) -> Self {
        let is_terminal = form == ProgressForm::Auto && std::io::stderr().is_terminal();
        Self { form, bars: is_terminal.then(MultiProgress::new), tracks: Mutex::default() }
    }

    /// Shows a step of the pull of this number.
    pub(super) fn step(&self, number: usize, progress: &PullProgress) {
        if self.form == ProgressForm::None {
            return;
        }
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let track = tracks.entry(number).or_insert_with(|| Track {
            bar: self.bars.as_ref().map(|bars| bars.add(ProgressBar::no_length())),
            state: None,
            pace: Pace::default(),
        });
        let is_other = track.state != Some(progress.state);
        if is_other {
            (track.state, track.pace) = (Some(progress.state), Pace::default());
        }
        if let Some(bytes) = progress.bytes {
            track.pace.see(bytes, Instant::now());
        }
        let rate = track.pace.rate();
        match (&track.bar, self.form) {
            (_, ProgressForm::Json) => print_json(progress, rate),
            (Some(bar), _) => draw(bar, progress, rate),
            (None, _) if is_other => eprintln!("{}", line(progress)),
            (None, _) => {}
        }
    }

    /// Ends the pull of this number.
    pub(super) fn end(&self, number: usize) {
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = tracks.remove(&number).and_then(|track| track.bar) {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, progress: &PullProgress, rate: Option<u64>) {
    let template = if progress.bytes.is_some() { MOVING } else { WAITING };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(progress.name.clone());
    bar.set_message(columns(progress, rate));
    bar.tick();
}

/// Bytes that are here of an image, the rate, and the verdict: those that are known.
fn columns(progress: &PullProgress, rate: Option<u64>) -> String {
    let of = progress.of.filter(|of| *of > 0).map(|of| format!(" of {}", print::size(of)));
    let bytes = progress.bytes.map(|bytes| format!("{}{}", print::size(bytes), of.unwrap_or_default()));
    let rate = rate.map(|rate| format!("{}/s", print::size(rate)));
    let columns = [bytes, rate, Some(message(progress)).filter(|text| !text.is_empty())];
    columns.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// The verdict so far, or the stage where there is none.
fn message(progress: &PullProgress) -> String {
    let verdict = progress.verified.filter(|level| *level > Level::Tls).map(|level| match level {
        Level::Signature => "signed sums ✓".to_owned(),
        level => format!("{level} ✓"),
    });
    match (progress.state, verdict) {
        (PullState::Filling, Some(verdict)) => verdict,
        (PullState::Filling, None) => String::new(),
        (state, _) => state.name().to_owned(),
    }
}

/// A step as a line for people.
fn line(progress: &PullProgress) -> String {
    let size = progress.of.map(|of| format!(" ({})", print::size(of))).unwrap_or_default();
    format!("{}: {}{size}", progress.name, progress.state.name())
}

fn print_json(progress: &PullProgress, rate: Option<u64>) {
    let value = json!({
        "name": progress.name,
        "state": progress.state.name(),
        "bytes": progress.bytes,
        "of": progress.of,
        "rate": rate,
        "verified": progress.verified.map(Level::name),
    });
    // The image is pulled even if the reader has gone.
    let _ = print::line(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_said_in_a_few_words() {
        let mut progress = PullProgress::of("debian/13");
        assert_eq!(line(&progress), "debian/13: resolving");
        progress.name = "debian/13:1".to_owned();
        (progress.state, progress.bytes, progress.of) = (PullState::Filling, Some(0), Some(2048));
        assert_eq!((line(&progress), message(&progress)), ("debian/13:1: filling (2.00 KiB)".into(), String::new()));
        progress.verified = Some(Level::Signature);
        assert_eq!(message(&progress), "signed sums ✓");
        progress.verified = Some(Level::Checksum);
        assert_eq!(message(&progress), "checksum ✓");
        progress.state = PullState::Unpacking;
        assert_eq!(message(&progress), "unpacking");
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let mut progress = PullProgress::of("debian/13");
        assert_eq!(columns(&progress, None), "resolving");
        (progress.state, progress.bytes) = (PullState::Filling, Some(0));
        assert_eq!(columns(&progress, None), "0 B");
        progress.of = Some(0);
        assert_eq!(columns(&progress, None), "0 B");
        (progress.bytes, progress.of) = (Some(1024), Some(2048));
        assert_eq!(columns(&progress, Some(3 << 20)), "1.00 KiB of 2.00 KiB  3.00 MiB/s");
        progress.verified = Some(Level::Signature);
        assert_eq!(columns(&progress, None), "1.00 KiB of 2.00 KiB  signed sums ✓");
    }
}
