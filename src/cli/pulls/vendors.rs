//! `visor vendors`: what can be pulled.

use serde_json::json;

use super::super::failure::Failure;
use super::super::print;
use super::seat::Seat;
use crate::image::Architecture;

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
        print::line(format!("{:<14} {:<10} {:<28} RELEASES", "NAME", "VERIFIED", "TITLE"))?;
        return vendors.iter().try_for_each(|vendor| {
            let releases = vendor.releases.join(" ");
            let mark = if vendor.checked { "" } else { " °" };
            let line = format!("{:<14} {:<10} {:<28} {releases}{mark}", vendor.name, vendor.require, vendor.title);
            print::line(line.trim_end())
        });
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
