//! Progress of pulls: a bar for each image on a terminal, lines where there is none, and lines of JSON for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::print;
use crate::registry::{PullProgress, PullState};
use crate::vendor::Level;

/// Columns: the image, what is here of it, the rate, and the verdict.
const KNOWN: &str = "{prefix:24}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {msg}";
const UNKNOWN: &str = "{prefix:24}  {spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}";
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
    began: Instant,
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
            began: Instant::now(),
        });
        let is_other = track.state != Some(progress.state);
        if is_other {
            (track.state, track.began) = (Some(progress.state), Instant::now());
        }
        match (&track.bar, self.form) {
            (_, ProgressForm::Json) => print_json(progress, track.began),
            (Some(bar), _) => draw(bar, progress),
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

fn draw(bar: &ProgressBar, progress: &PullProgress) {
    let template = match (progress.bytes, progress.of) {
        (Some(_), Some(_)) => KNOWN,
        (Some(_), None) => UNKNOWN,
        (None, _) => WAITING,
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(progress.name.clone());
    bar.set_message(message(progress));
    if let Some(of) = progress.of {
        bar.set_length(of);
    }
    if let Some(bytes) = progress.bytes {
        bar.set_position(bytes);
    }
    bar.tick();
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

fn print_json(progress: &PullProgress, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let rate = progress.bytes.filter(|_| seconds > 0.0).map(|bytes| (bytes as f64 / seconds) as u64);
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
}
