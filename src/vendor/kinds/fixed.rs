//! URLs without a list: a template, and at most a document that says the newest version.

use super::found::FoundBuild;
use super::incomplete;
use super::seeker::{LIST_BYTES_MAX, Seeker};
use crate::error::Result;
use crate::vendor::template::KnownFields;

/// Finds the builds of a release: the newest, as far as a document says.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    let vendor = seeker.vendor;
    let image = vendor.image.as_ref().ok_or_else(|| incomplete(seeker))?;
    let known = match (&vendor.list, &vendor.find) {
        (Some(list), Some(find)) if image.missing(&seeker.facts).is_some() => {
            let url = seeker.url(list, &seeker.facts)?.ok_or_else(|| seeker.no_release(&vendor.releases))?;
            let Some(document) = seeker.get(&url, LIST_BYTES_MAX).await? else {
                return Err(if vendor.releases.is_empty() {
                    seeker.no_build(&[])
                } else {
                    seeker.no_release(&vendor.releases)
                });
            };
            // Text before and behind what is signed would choose the build.
            let is_signed = vendor.rules.signs_inside();
            let opened = if is_signed { seeker.open_signed(&url, document) } else { seeker.open(&url, document) }?;
            let text = String::from_utf8_lossy(opened.content());
            let found = find.find(&seeker.facts, &text)?;
            if found.is_empty() {
                let has = find.find(&KnownFields::default(), &text)?;
                let has: Vec<String> = has.iter().filter_map(|facts| facts.get("version").map(str::to_owned)).collect();
                return Err(if has.is_empty() {
                    seeker.refused(&url, "it names no build")
                } else {
                    seeker.no_release(&has)
                });
            }
            found
        }
        _ => vec![seeker.facts.clone()],
    };
    let mut found = Vec::new();
    for facts in known {
        let url = seeker.url(image, &facts)?.ok_or_else(|| seeker.no_release(&vendor.releases))?;
        found.push(FoundBuild::at(facts, url, None));
    }
    found.dedup_by(|one, other| one.url == other.url);
    seeker.wanted(found)
}
