//! `visor verify`: reads images again, and what verified those that were pulled. Sends nothing.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::admin::report;
use super::failure::{Exit, Failure};
use super::{Globals, catalogue, fetcher, print, runtime, serve, vendor_cache};
use crate::config::Config;
use crate::fetch::Fetcher;
use crate::image::ImageId;
use crate::registry::{Caller, NameRequest, Pulls, Rechecked, Registry};

/// Verifies the images of these names and ids, or all.
pub(super) fn run(globals: &Globals, names: &[String]) -> Result<(), Failure> {
    let mut config = globals.load()?;
    config.cache.offline = true;
    let data_dir = serve::take(&config)?;
    let fetcher = fetcher::open(&config)?;
    let registry = serve::registry(&config, data_dir.path(), &fetcher)?;
    let verified = runtime()?.block_on(verify(globals.json, &config, data_dir.path(), &fetcher, &registry, names));
    registry.close();
    let (problems, images) = verified?;
    report(globals, "verified", images, &problems)
}

/// Problems in words, and the number of images.
async fn verify(
    json: bool,
    config: &Config,
    data_dir: &Path,
    fetcher: &Fetcher,
    registry: &Arc<Registry>,
    names: &[String],
) -> Result<(Vec<String>, u64), Failure> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(named(registry, name).await?);
    }
    let (mut problems, images) = registry.maintenance().verify(&ids, |image| eprintln!("verifying {image}")).await?;
    let pulls = pulls(config, data_dir, fetcher, registry)?;
    let Some(pulls) = pulls else { return Ok((problems, images)) };
    for (name, outcome) in pulls.recheck(&ids).await? {
        match outcome {
            Rechecked::Refused(why) => problems.push(format!("{name}: {why}")),
            Rechecked::Proved(words) => proof(json, &name, true, &words)?,
            Rechecked::Unproved(why) => proof(json, &name, false, &why)?,
        }
    }
    Ok((problems, images))
}

/// The image of an id or of a name.
async fn named(registry: &Registry, name: &str) -> Result<ImageId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = registry.named(&Caller::Admin(None), &NameRequest::from(name)).await?;
    let unknown = || Failure::new(Exit::NotFound, format!("'{name}' is neither an image id nor the name of an image"));
    found.map(|image| image.id).ok_or_else(unknown)
}

/// The service for pulls, unless it is switched off.
fn pulls(
    config: &Config,
    data_dir: &Path,
    fetcher: &Fetcher,
    registry: &Registry,
) -> Result<Option<Arc<Pulls>>, Failure> {
    let catalogue = Arc::new(catalogue::open(config, data_dir)?);
    let cache = vendor_cache::open(config, data_dir, fetcher, &catalogue)?;
    Ok(cache.map(|cache| Pulls::new(registry, cache, catalogue)))
}

fn proof(json: bool, name: &str, proved: bool, words: &str) -> Result<(), Failure> {
    match json {
        true => print::line(json!({ "name": name, "proved": proved, "words": words })),
        false if proved => print::line(format!("{name}: {words}")),
        false => print::line(format!("{name}: not proved again: {words}")),
    }
}
