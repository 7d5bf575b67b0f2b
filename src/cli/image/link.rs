//! `visor link`: makes, lists and revokes share links.

use std::time::Duration;

use serde_json::Value;

use super::{id_of, print, say};
use crate::cli::failure::Failure;
use crate::client::{Client, Record};

/// Makes a link and prints its address alone, for a script or a message.
pub(super) async fn make(json: bool, client: &Client, image: &str, life: Duration) -> Result<(), Failure> {
    let link = client.make_link(image, life).await?;
    if json { print::line(Value::Object(link)) } else { print::line(print::text(link.get("uri"))) }
}

/// Prints the links of an image, a line each.
pub(super) async fn list(json: bool, client: &Client, image: &str) -> Result<(), Failure> {
    let links = client.links(image).await?;
    if json {
        return links.into_iter().try_for_each(|link| print::line(Value::Object(link)));
    }
    print::line(table(&links))
}

/// Revokes a link.
pub(super) async fn revoke(json: bool, client: &Client, image: &str, link: &str) -> Result<(), Failure> {
    let record = client.revoke_link(image, link).await?;
    say(json, &format!("Successfully revoked link {}.", id_of(&record)));
    if json { print::line(Value::Object(record)) } else { Ok(()) }
}

fn table(links: &[Record]) -> String {
    let mut lines = vec![format!("{:<17} EXPIRES", "LINK")];
    lines.extend(links.iter().map(|link| format!("{:<17} {}", id_of(link), print::text(link.get("expires_at")))));
    lines.join("\n")
}
