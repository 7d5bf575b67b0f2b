//! Progress bar on standard error, if that is a terminal.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Progress;

/// Template with bytes, rate and time left, for a known length.
const WITH_LENGTH: &str = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
const WITHOUT: &str = "{spinner} {binary_bytes} {binary_bytes_per_sec}";

/// Progress bar of a transfer. The server's answer may set the length later.
#[derive(Clone)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        if std::io::stderr().is_terminal() { Self(ProgressBar::no_length()) } else { Self(ProgressBar::hidden()) }
    }

    pub(super) fn length(&self, length: Option<u64>) {
        let template = if length.is_some() { WITH_LENGTH } else { WITHOUT };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        if let Some(length) = length {
            self.0.set_length(length);
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let bar = self.0.clone();
        Arc::new(move |bytes| bar.set_position(bytes))
    }

    pub(super) fn done(&self) {
        self.0.finish_and_clear();
    }
}
