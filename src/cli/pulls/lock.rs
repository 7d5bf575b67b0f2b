//! `visor lock`: writes a lock file of the pulled images, and compares them with one.

use std::path::Path;

use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::print;
use super::lock_file::{Written, read, write};
use super::seat::Seat;
use crate::registry::PulledView;
use crate::vendor::{Lock, LockedImage};

pub(super) async fn run(json: bool, seat: &Seat, check: bool, file: &Path) -> Result<(), Failure> {
    if check {
        let lock = read(file)?;
        return compare(json, &lock, &here(seat, &lock).await?, file);
    }
    // What is no lock file is written over: it may be one with the marks of a merge in it.
    let before = if file.is_file() { read(file).unwrap_or_default() } else { Lock::default() };
    let lock = here(seat, &before).await?.after(&before);
    match write(file, &lock.text()?)? {
        Written::File => seat.keep_locked(file)?,
        Written::Printed => return Ok(()),
        Written::Sent => {}
    }
    let images = lock.images.len();
    match json {
        true => print::line(json!({ "file": file, "images": images })),
        false => print::line(format!("{}: {}", file.display(), print::count(images as u64, "image"))),
    }
}

/// The caller's pulled images as a lock has them: the current ones, and superseded ones that the other lock has by their build.
async fn here(seat: &Seat, other: &Lock) -> Result<Lock, Failure> {
    let entry = |image: PulledView| {
        let mut locked: LockedImage = image.locked;
        if image.stands_back || image.superseded {
            locked.stand_back();
        }
        (image.own && (!image.superseded || other.has_build(&locked))).then_some(locked)
    };
    Ok(Lock::of(seat.pulled().await?.into_iter().filter_map(entry).collect()))
}

fn compare(json: bool, lock: &Lock, here: &Lock, file: &Path) -> Result<(), Failure> {
    let drift = lock.drift(&here.images);
    for one in &drift {
        match json {
            true => print::line(json!({ "image": one.image, "drift": one.words }))?,
            false => print::line(format!("{} {}", one.image, one.words))?,
        }
    }
    let file = file.display();
    match drift.len() {
        0 if json => Ok(()),
        0 if lock.images.len() == 1 => print::line(format!("{file}: its image is here")),
        0 => print::line(format!("{file}: all {} images are here", lock.images.len())),
        1 => Err(Failure::new(Exit::Mismatch, format!("1 image is not as {file} has it"))),
        count => Err(Failure::new(Exit::Mismatch, format!("{count} images are not as {file} has them"))),
    }
}
