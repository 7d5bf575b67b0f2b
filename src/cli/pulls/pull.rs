//! `visor pull`: several images at once, each to its end, whatever becomes of the others.

use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::{Globals, print};
use super::PullArgs;
use super::seat::Seat;
use super::show::{ProgressForm, Show};
use crate::cli::interruptible;
use crate::registry::{PullAsk, PullChange, PullProgress};
use crate::vendor::{Level, Lock};

/// Images that are pulled at the same time.
const TOGETHER: usize = 3;

pub(super) fn run(globals: &Globals, args: &PullArgs) -> Result<(), Failure> {
    let asks = asks(args)?;
    // Interruptions are answered where the words for them are known.
    interruptible("interrupted", async {
        let seat = Seat::take(globals, &args.place, args.offline).await?;
        if args.locked {
            seat.keep_locked(&args.file)?;
        }
        let words = seat.interruption();
        tokio::select! {
            biased;
            done = pull_all(globals.json, args.progress, &seat, &asks) => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, words)),
        }
    })
}

/// The requests of a command line.
fn asks(args: &PullArgs) -> Result<Vec<PullAsk>, Failure> {
    let more = |ask: PullAsk| PullAsk {
        architecture: ask.architecture.or(args.arch),
        require: args.require,
        sha256: args.sha256.clone(),
        alias: args.alias.clone(),
        pin: args.pin,
        keep_packed: args.no_unpack,
        accept_weaker: args.accept_weaker,
        offline: args.offline,
        ..ask
    };
    if args.names.len() > 1 && (args.sha256.is_some() || args.alias.is_some()) {
        return Err(Failure::new(Exit::Usage, "--sha256 and --alias are for one image, and several are named"));
    }
    if !args.locked {
        return Ok(args.names.iter().map(|name| more(PullAsk::of(name))).collect());
    }
    let mut locked = read_lock(&args.file)?.images;
    for name in &args.names {
        if !locked.iter().any(|image| image.name == *name || image.alias == *name) {
            let text = format!("{} has no image {name}", args.file.display());
            return Err(Failure::new(Exit::NotFound, text));
        }
    }
    locked.retain(|image| args.names.is_empty() || args.names.iter().any(|n| image.name == *n || image.alias == *n));
    Ok(locked.into_iter().map(|image| more(PullAsk::from(image))).collect())
}

/// Reads a lock file.
pub(super) fn read_lock(file: &Path) -> Result<Lock, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::General };
        Failure::new(exit, format!("{}: {error}", file.display()))
    })?;
    Lock::parse(&text).map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", file.display())))
}

async fn pull_all(json: bool, form: ProgressForm, seat: &Seat, asks: &[PullAsk]) -> Result<(), Failure> {
    let show = Show::new(form);
    let show = &show;
    let pulls = asks.iter().enumerate().map(|(number, ask)| async move {
        let seen = |progress: &PullProgress| show.step(number, progress);
        let pulled = seat.pull(ask, &seen).await;
        show.end(number);
        (ask, pulled)
    });
    let mut pulls = stream::iter(pulls).buffer_unordered(TOGETHER);
    let mut failed: Vec<Failure> = Vec::new();
    while let Some((ask, pulled)) = pulls.next().await {
        match pulled {
            Ok(progress) if json => print::line(outcome(&progress))?,
            Ok(progress) if form != ProgressForm::Json => print::line(words(&progress))?,
            Ok(_) => {}
            Err(failure) => {
                let failure = Failure::new(failure.exit, format!("{}: {}", ask.name, failure.message));
                // The last one is told by the program's end.
                if let Some(before) = failed.last() {
                    eprintln!("error: {}", before.message);
                }
                failed.push(failure);
            }
        }
    }
    failed.pop().map_or(Ok(()), Err)
}

fn outcome(progress: &PullProgress) -> serde_json::Value {
    json!({
        "name": progress.name,
        "image": progress.image,
        "change": progress.change.map(PullChange::name),
        "verified": progress.verified.map(Level::name),
        "words": progress.words,
    })
}

/// The outcome for people.
fn words(progress: &PullProgress) -> String {
    let what = match progress.change {
        Some(PullChange::New) => "pulled",
        Some(PullChange::Newer) => "pulled, in the place of an older build",
        Some(PullChange::Present) | None => "is here already",
    };
    let words = progress.words.as_ref().map(|words| format!("; {words}")).unwrap_or_default();
    format!("{} {what}{words}", progress.name)
}
