//! Folders that are walked: the parts of an image's path that are not known are looked up in the listing of the folder above, or in its sums.

use super::found::FoundBuild;
use super::seeker::{LIST_BYTES_MAX, Seeker};
use super::{incomplete, listing};
use crate::error::{Error, Result};
use crate::vendor::catalogue::ListKind;
use crate::vendor::place::{folder, last_part};
use crate::vendor::sums::Sums;
use crate::vendor::template::{KnownFields, Template};

/// Folders of one level that are tried, the newest first: the newest release may have no images yet.
const FOLDERS_MAX: usize = 3;

/// Fields that tell a release, in the names of folders.
const OF_RELEASE: [&str; 4] = ["version", "release", "minor", "codename"];

/// A folder on the way.
struct Step {
    /// URL, with a slash.
    folder: String,
    /// Number of the parts that lead here.
    depth: usize,
    facts: KnownFields,
}

/// Finds the builds of a release.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    let segments = seeker.vendor.image.as_ref().ok_or_else(|| incomplete(seeker))?.segments();
    let mut steps = vec![Step { folder: seeker.base(), depth: 0, facts: seeker.facts.clone() }];
    let mut found = Vec::new();
    while let Some(step) = steps.pop() {
        let Some(segment) = segments.get(step.depth) else { continue };
        let is_last = step.depth + 1 == segments.len();
        let next = match segment.missing(&step.facts) {
            None => vec![step.facts.clone()],
            Some(_) => {
                let next = matches(segment, &step.facts, &names(seeker, &step.folder, is_last).await?)?;
                let has_builds = segment.has("build") && step.facts.get("build").is_none();
                let most = if is_last || seeker.all && has_builds { usize::MAX } else { FOLDERS_MAX };
                next.into_iter().take(most).collect()
            }
        };
        // The newest is on top of the stack.
        for facts in next.into_iter().rev() {
            let path = segment.fill_known(&facts);
            let place = seeker.place(&step.folder, &path)?;
            match is_last {
                true => found.push(FoundBuild::at(facts, place, None)),
                false => steps.push(Step { folder: format!("{place}/"), depth: step.depth + 1, facts }),
            }
        }
        if !found.is_empty() && !seeker.all {
            break;
        }
    }
    match found.is_empty() {
        true => Err(nothing(seeker, &segments).await?),
        false => seeker.wanted(found),
    }
}

/// Facts that the names of a folder tell, the newest first.
fn matches(segment: &Template, facts: &KnownFields, names: &[String]) -> Result<Vec<KnownFields>> {
    let read = segment.reader(facts)?;
    let mut found: Vec<KnownFields> = names.iter().filter_map(|name| read(name)).collect();
    found.sort_by(|one, other| other.order(one));
    found.dedup();
    Ok(found)
}

/// Refusal of a release or an image of it: with the releases that the vendor has, unless the wanted one is among them.
async fn nothing(seeker: &mut Seeker<'_>, segments: &[Template]) -> Result<Error> {
    let field = |segment: &Template| OF_RELEASE.into_iter().find(|field| segment.has(field));
    let Some((depth, field)) = segments.iter().enumerate().find_map(|(depth, one)| Some((depth, field(one)?))) else {
        return Ok(seeker.no_build(&[]));
    };
    let above: Option<Vec<String>> = segments[..depth].iter().map(|segment| segment.fill(&seeker.facts)).collect();
    let Some(above) = above.filter(|_| seeker.name.build.is_none()) else { return Ok(seeker.no_build(&[])) };
    let place: String = above.iter().fold(seeker.base(), |place, part| format!("{place}{part}/"));
    let is_last = depth + 1 == segments.len();
    let names = names(seeker, &place, is_last).await?;
    // There may be a folder of the release, without an image in it that is wanted.
    let is_there = match segments[depth].fill(&seeker.facts) {
        Some(name) => names.contains(&name),
        None => !matches(&segments[depth], &seeker.facts, &names)?.is_empty(),
    };
    let there = matches(&segments[depth], &KnownFields::default(), &names)?;
    let has: Vec<String> = there.iter().filter_map(|facts| facts.get(field).map(str::to_owned)).collect();
    Ok(if has.is_empty() || is_there { seeker.no_build(&[]) } else { seeker.no_release(&has) })
}

/// Names in a folder: of its listing, or of the files that its sums have.
async fn names(seeker: &mut Seeker<'_>, place: &str, is_last: bool) -> Result<Vec<String>> {
    let of_sums = seeker.vendor.kind == ListKind::Sums && is_last;
    let list = seeker.vendor.list.as_ref().filter(|_| of_sums || seeker.vendor.kind == ListKind::Listing);
    let url = format!("{place}{}", list.map(|list| list.fill_known(&seeker.facts)).unwrap_or_default());
    let Some(document) = seeker.get(&url, LIST_BYTES_MAX).await? else { return Ok(Vec::new()) };
    if of_sums {
        let sums = Sums::parse(&document.bytes, last_part(&url))?;
        return Ok(sums.iter().map(|(name, _)| name.to_owned()).collect());
    }
    // A redirect may have led to a mirror: links are relative to where the page came from.
    Ok(listing::names(&document.bytes, folder(&document.url)))
}
