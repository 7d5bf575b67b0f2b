//! Oracle's descriptions of templates: the newest image of a release, for each hypervisor.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::found::FoundBuild;
use super::incomplete;
use super::seeker::{LIST_BYTES_MAX, Seeker};
use crate::error::Result;
use crate::vendor::place::{at_root, last_part};
use crate::vendor::sum::Sum;

/// A description; beside the base there is an object for each hypervisor, among other things.
#[derive(Deserialize)]
struct OracleTemplate {
    base_url: String,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// An image for a hypervisor.
#[derive(Deserialize)]
struct OracleImage {
    image: String,
    sha256: String,
}

/// Finds the newest build of a release.
pub(super) async fn find(seeker: &mut Seeker<'_>) -> Result<Vec<FoundBuild>> {
    let vendor = seeker.vendor;
    let list = vendor.list.as_ref().ok_or_else(|| incomplete(seeker))?;
    let url = seeker.url(list, &seeker.facts)?.ok_or_else(|| seeker.no_release(&vendor.releases))?;
    let Some(document) = seeker.get(&url, LIST_BYTES_MAX).await? else {
        return Err(seeker.no_release(&vendor.releases));
    };
    let template: OracleTemplate =
        serde_json::from_slice(&document.bytes).map_err(|error| seeker.refused(&url, error))?;
    let hypervisor = seeker.facts.get("variant").unwrap_or_default();
    let Some(image) = template.others.get(hypervisor) else {
        let known = template.others.iter().filter(|(_, value)| value.get("image").is_some());
        return Err(seeker.no_variant(&known.map(|(name, _)| name.clone()).collect::<Vec<_>>()));
    };
    let image = OracleImage::deserialize(image).map_err(|error| seeker.refused(&url, error))?;
    let sum =
        Sum::of_hex(&image.sha256).ok_or_else(|| seeker.refused(&url, format!("{:?} is no sha256", image.sha256)))?;
    let given = joined(&template.base_url, &image.image);
    // From the root of the host that has the list.
    let given = if given.starts_with('/') { at_root(&url, &given) } else { given };
    let place = seeker.place(&seeker.base(), &given)?;
    let any = seeker.facts.without("build");
    let found = vendor.find.as_ref().map(|find| find.find(&any, last_part(&place))).transpose()?.unwrap_or_default();
    let facts = found.into_iter().next().unwrap_or(any);
    let expectation = seeker.expect(&seeker.open(&url, document)?, &place, None, vec![sum])?;
    seeker.wanted(vec![FoundBuild::at(facts, place, expectation)])
}

/// The place of an image: a name or a path behind its base, which may be a path itself, or from the root of its host.
fn joined(base: &str, image: &str) -> String {
    if image.contains("://") {
        return image.to_owned();
    }
    match image.starts_with('/') {
        true if base.contains("://") => at_root(base, image),
        true => image.to_owned(),
        false => format!("{}/{image}", base.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn an_image_is_a_name_or_a_path() {
        let base = "https://yum.example/templates/OL9/u6/x86_64";
        assert_eq!(joined(base, "a.qcow2"), format!("{base}/a.qcow2"));
        assert_eq!(joined("https://yum.example", "templates/a"), "https://yum.example/templates/a");
        assert_eq!(joined(base, "/templates/a"), "https://yum.example/templates/a");
        assert_eq!(joined(base, "https://other.example/a"), "https://other.example/a");
        for base in ["/templates/OL9", "/templates/OL9/"] {
            assert_eq!(joined(base, "a.qcow2"), "/templates/OL9/a.qcow2");
            assert_eq!(joined(base, "/a.qcow2"), "/a.qcow2");
        }
    }
}
