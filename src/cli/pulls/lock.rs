//! `visor lock`: writes a lock file of the pulled images, and compares them with one.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::print;
use super::pull::read_lock;
use super::seat::Seat;
use crate::registry::PulledView;
use crate::vendor::Lock;

pub(super) async fn run(json: bool, seat: &Seat, check: bool, file: &Path) -> Result<(), Failure> {
    let pulled = seat.pulled().await?;
    let is_current = |image: &PulledView| image.own && !image.superseded;
    let current: Vec<_> = pulled.into_iter().filter(is_current).map(|image| image.locked).collect();
    if check {
        return compare(json, &read_lock(file)?, &Lock::of(current), file);
    }
    let lock = Lock::of(current);
    write(file, &lock.text()?).map_err(|error| Failure::general(format!("{}: {error}", file.display())))?;
    seat.keep_locked(file)?;
    match json {
        true => print::line(json!({ "file": file, "images": lock.images.len() })),
        false => print::line(format!("{}: {} images", file.display(), lock.images.len())),
    }
}

/// Writes the file under another name and renames it, so that no reader finds half of it.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = tempfile::NamedTempFile::new_in(dir)?;
    aside.write_all(text.as_bytes())?;
    // A lock file is for others too: it goes into a repository.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    aside.as_file().set_permissions(mode)?;
    aside.persist(file)?;
    Ok(())
}

fn compare(json: bool, lock: &Lock, here: &Lock, file: &Path) -> Result<(), Failure> {
    let drift = lock.drift(&here.images);
    for one in &drift {
        match json {
            true => print::line(json!({ "image": one.image, "drift": one.words }))?,
            false => print::line(format!("{} {}", one.image, one.words))?,
        }
    }
    match drift.len() {
        0 if json => Ok(()),
        0 => print::line(format!("{}: all {} images are here", file.display(), lock.images.len())),
        count => Err(Failure::new(Exit::Mismatch, format!("{count} images are not as {} has them", file.display()))),
    }
}
