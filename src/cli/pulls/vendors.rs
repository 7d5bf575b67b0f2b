//! `visor vendors`: what can be pulled.

use serde_json::json;

use super::super::failure::Failure;
use super::super::print;
use super::seat::Seat;
use crate::image::Architecture;
use crate::registry::VendorView;

/// Names that are shown of a vendor, at most.
const NAMES_MAX: usize = 3;

/// Meaning of the mark.
const UNCHECKED: &str =
    "° its entry was not compared with the vendor's own pages. visor vendors NAME lists the builds that there are.";

/// The table of vendors: the level that their images have to reach, and names that can be pulled.
fn vendors_lines(vendors: &[VendorView]) -> Vec<String> {
    let title = |vendor: &VendorView| format!("{}{}", vendor.title, if vendor.checked { "" } else { " °" });
    let width = vendors.iter().map(|vendor| title(vendor).chars().count()).max().unwrap_or(0).max(5);
    let mut lines = vec![format!("{:<14} {:<10} {:<width$} NAMES, FOR EXAMPLE", "NAME", "REQUIRED", "TITLE")];
    lines.extend(vendors.iter().map(|vendor| {
        let names: Vec<&str> = vendor.names.iter().take(NAMES_MAX).map(String::as_str).collect();
        let line = format!("{:<14} {:<10} {:<width$} {}", vendor.name, vendor.require, title(vendor), names.join(" "));
        line.trim_end().to_owned()
    }));
    lines
}

pub(super) async fn run(
    json: bool,
    seat: &Seat,
    name: Option<&str>,
    arch: Option<Architecture>,
) -> Result<(), Failure> {
    let Some(name) = name else {
        let vendors = seat.vendors().await?;
        if json {
            return vendors.iter().try_for_each(|vendor| print::line(json!(vendor)));
        }
        vendors_lines(&vendors).iter().try_for_each(print::line)?;
        if vendors.iter().any(|vendor| !vendor.checked) {
            eprintln!("{UNCHECKED}");
        }
        return Ok(());
    };
    let (vendor, release) = name.split_once('/').map_or((name, None), |(vendor, release)| (vendor, Some(release)));
    let builds = seat.builds(vendor, release, arch).await?;
    if json {
        return builds.iter().try_for_each(|build| print::line(json!(build)));
    }
    builds.iter().try_for_each(|build| {
        let here = if build.here { "here" } else { "" };
        print::line(format!("{:<44} {here:<5} {}", build.name, build.title).trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_shows_names_that_can_be_pulled() {
        let view = |name: &str, title: &str, checked| VendorView {
            name: name.to_owned(),
            title: title.to_owned(),
            require: "signature".to_owned(),
            base: String::new(),
            releases: Vec::new(),
            names: ["24.04", "noble", "lts", "latest"].map(|release| format!("{name}/{release}")).into(),
            checked,
            note: String::new(),
        };
        let lines = vendors_lines(&[view("ubuntu", "Ubuntu", true), view("kali", "Kali Linux of a long name", false)]);
        assert!(lines[0].contains("REQUIRED") && !lines[0].contains("VERIFIED"), "{lines:?}");
        assert!(lines[1].ends_with(" ubuntu/24.04 ubuntu/noble ubuntu/lts"), "{lines:?}");
        assert!(lines[2].contains("long name ° kali/24.04"), "{lines:?}");
    }
}
