//! Metadata definitions: each namespace with all that is in it, in one request. One that is here already is left as it is.

use serde_json::{Map, Value};

use super::plan::text;
use super::{Outcome, Summary};
use crate::cli::failure::Failure;
use crate::client::ClientError;
use crate::client::openstack::{ImageService, Verb, segment};

/// Fields that a server gives.
const NOT_COPIED: [&str; 4] = ["created_at", "updated_at", "self", "schema"];

/// Imports all namespaces.
///
/// # Errors
/// A list that can't be read; everything else is noted in the summary. A service without definitions has none.
pub(super) async fn import(
    from: &ImageService,
    to: &ImageService,
    dry_run: bool,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let listed = match from.list("/v2/metadefs/namespaces?limit=200", "namespaces").await {
        Err(ClientError::NotFound(_)) => return Ok(()),
        listed => listed?,
    };
    for namespace in listed {
        let name = text(&namespace, "namespace");
        let outcome = one(from, to, name, dry_run).await.unwrap_or_else(|error| Outcome::Failed(error.to_string()));
        summary.add("namespace", name, text(&namespace, "display_name"), &outcome)?;
    }
    Ok(())
}

async fn one(from: &ImageService, to: &ImageService, name: &str, dry_run: bool) -> Result<Outcome, ClientError> {
    let path = format!("/v2/metadefs/namespaces/{}", segment(name)?);
    if to.get(&path).await?.is_some() {
        return Ok(Outcome::Present);
    }
    if dry_run {
        return Ok(Outcome::Planned);
    }
    let Some(mut whole) = from.get(&path).await? else { return Ok(Outcome::Skipped("it is gone".into())) };
    // Glance shows tags only in a list of their own.
    if whole.get("tags").is_none() {
        whole["tags"] = from.list(&format!("{path}/tags"), "tags").await?.into();
    }
    to.send(Verb::Post, "/v2/metadefs/namespaces", "application/json", &cleaned(whole)).await?;
    Ok(Outcome::Imported)
}

/// A document without what a server adds, at every depth.
fn cleaned(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let own =
                fields.into_iter().filter(|(name, value)| !NOT_COPIED.contains(&name.as_str()) && !value.is_null());
            own.map(|(name, value)| (name, cleaned(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(cleaned).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_adds_is_left_out() {
        let shown = json!({
            "namespace": "n", "self": "/x", "schema": "/s", "created_at": "now", "description": null,
            "objects": [{ "name": "o", "updated_at": "now", "properties": { "p": { "type": "string", "title": "P" } } }],
        });
        let expected = json!({
            "namespace": "n",
            "objects": [{ "name": "o", "properties": { "p": { "type": "string", "title": "P" } } }],
        });
        assert_eq!(cleaned(shown), expected);
    }
}
