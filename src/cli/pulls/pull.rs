//! `visor pull`: several images at once, each to its end, whatever becomes of the others.

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::{Globals, print};
use super::PullArgs;
use super::lock_file;
use super::seat::Seat;
use super::show::{ProgressForm, Show};
use crate::cli::interruptible;
use crate::error::shown;
use crate::image::Architecture;
use crate::registry::{PullAsk, PullChange, PullProgress, PulledView};
use crate::vendor::Level;

/// Images that are pulled at the same time.
const TOGETHER: usize = 3;

pub(super) fn run(globals: &Globals, args: &PullArgs) -> Result<(), Failure> {
    let asks = asks(args)?;
    // Interruptions are answered where the words for them are known.
    interruptible("interrupted", async {
        let seat = Seat::take(globals, &args.place, args.offline).await?;
        if args.locked && !lock_file::is_stream(&args.file) {
            seat.keep_locked(&args.file)?;
        }
        let (json, form) = (globals.json, args.progress);
        let pulls = async {
            match args.locked {
                true => pull_locked(json, form, &seat, asks).await,
                false => pull_all(json, form, &seat, &asks).await,
            }
        };
        tokio::select! {
            biased;
            done = pulls => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, seat.interruption())),
        }
    })
}

/// The requests of a command line.
fn asks(args: &PullArgs) -> Result<Vec<PullAsk>, Failure> {
    let more = |ask: PullAsk| PullAsk {
        architecture: ask.architecture.or(args.arch),
        require: args.require,
        sha256: ask.sha256.or_else(|| args.sha256.clone()),
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
    let mut locked = lock_file::read(&args.file)?.images;
    for name in &args.names {
        if !locked.iter().any(|image| image.name == *name || image.alias == *name) {
            let text = format!("{} has no image {}", args.file.display(), shown(name));
            return Err(Failure::new(Exit::NotFound, text));
        }
    }
    locked.retain(|image| args.names.is_empty() || args.names.iter().any(|n| image.name == *n || image.alias == *n));
    Ok(locked.into_iter().map(|image| more(PullAsk::from(image))).collect())
}

/// Tells if a request is for a build of a lock file, beside the image that has the alias.
fn is_beside(ask: &PullAsk) -> bool {
    ask.locked.is_none()
}

/// Pulls images of a lock file: those with aliases first, or a build beside one of them would find its alias free, and take it.
async fn pull_locked(json: bool, form: ProgressForm, seat: &Seat, asks: Vec<PullAsk>) -> Result<(), Failure> {
    let (mut beside, first): (Vec<_>, Vec<_>) = asks.into_iter().partition(is_beside);
    let done = pull_all(json, form, seat, &first).await;
    if beside.is_empty() {
        return done;
    }
    let here = seat.pulled().await?;
    for ask in &mut beside {
        let is_it = |image: &PulledView| {
            let locked = &image.locked;
            let same_processor = locked.architecture.as_deref() == ask.architecture.map(Architecture::name);
            image.own && same_processor && locked.name == ask.name && Some(&locked.sha256) == ask.sha256.as_ref()
        };
        // Its vendor may have forgotten the build.
        ask.offline |= here.iter().any(is_it);
    }
    let others = pull_all(json, form, seat, &beside).await;
    match (done, others) {
        (Err(first), Err(last)) => {
            eprintln!("error: {}", first.message);
            Err(last)
        }
        (done, others) => done.and(others),
    }
}

async fn pull_all(json: bool, form: ProgressForm, seat: &Seat, asks: &[PullAsk]) -> Result<(), Failure> {
    let show = Show::new(form);
    let show = &show;
    let pulls = asks.iter().enumerate().map(|(number, ask)| async move {
        let seen = |progress: &PullProgress| show.step(number, progress);
        let pulled = seat.pull(ask, &seen).await;
        show.end(number);
        (number, ask, pulled)
    });
    let mut pulls = stream::iter(pulls).buffer_unordered(TOGETHER);
    // Of several, the first one of the command line ends the program, with its exit code.
    let mut first: Option<(usize, Failure)> = None;
    while let Some((number, ask, pulled)) = pulls.next().await {
        match pulled {
            Ok(progress) if json => print::line(outcome(&progress))?,
            Ok(progress) if form != ProgressForm::Json => print::line(words(&progress))?,
            Ok(_) => {}
            Err(failure) => {
                let failure = (number, failure.at(shown(&ask.name)));
                let (kept, other) = match first.take() {
                    Some(before) if before.0 < number => (before, Some(failure)),
                    before => (failure, before),
                };
                first = Some(kept);
                if let Some((_, other)) = other {
                    eprintln!("error: {}", other.message);
                }
            }
        }
    }
    first.map_or(Ok(()), |(_, failure)| Err(failure))
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
        Some(PullChange::Newer) => "pulled, in the place of another build",
        Some(PullChange::Present) | None => "is here already",
    };
    let words = progress.words.as_ref().map(|words| format!("; {words}")).unwrap_or_default();
    format!("{} {what}{words}", progress.name)
}
