//! Records as they have to be here: which images come first, which can't come at all, and the attributes of each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Attributes that a server gives, and those with a meaning only there.
const NOT_COPIED: [&str; 17] = [
    "status",
    "created_at",
    "updated_at",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "size",
    "virtual_size",
    "file",
    "schema",
    "self",
    "locations",
    "direct_url",
    "stores",
    "store",
    "deleted",
    "deleted_at",
];

/// Beginning of the names of Glance's own notes about an import.
const NOTES: &str = "os_glance_";

/// A text of a record.
pub(super) fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Reason for which an image can't be imported.
pub(super) fn obstacle(record: &Value) -> Option<String> {
    match text(record, "status") {
        "active" | "deactivated" => None,
        status => Some(format!("its status is {status}, so it has no bytes")),
    }
}

/// The record of a new image here.
pub(super) fn draft(record: &Value, owners: &BTreeMap<String, String>) -> Value {
    let copied = |name: &str, value: &Value| {
        !NOT_COPIED.contains(&name) && !name.starts_with(NOTES) && (!value.is_null() || name == "owner")
    };
    let fields = record.as_object().into_iter().flatten();
    let mut draft: Map<String, Value> =
        fields.filter(|(name, value)| copied(name, value)).map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(here) = owners.get(text(record, "owner")) {
        draft.insert("owner".into(), here.clone().into());
    }
    draft.into()
}

/// Images by id, those that others name as their kernel or ramdisk first: they have to be here before.
pub(super) fn in_order(records: Vec<Value>) -> Vec<Value> {
    let named: BTreeSet<String> = records
        .iter()
        .flat_map(|record| ["kernel_id", "ramdisk_id"].map(|name| text(record, name).to_owned()))
        .filter(|id| !id.is_empty())
        .collect();
    let mut seen = BTreeSet::new();
    let mut all: Vec<Value> = records.into_iter().filter(|record| seen.insert(text(record, "id").to_owned())).collect();
    all.sort_by_key(|record| (!named.contains(text(record, "id")), text(record, "created_at").to_owned()));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_draft_has_what_a_client_may_set() {
        let record = json!({
            "id": "i", "name": "a", "owner": "p", "status": "active", "size": 3, "checksum": "c", "os_hash_algo": "sha512",
            "os_hash_value": "h", "file": "/f", "schema": "/s", "self": "/x", "tags": ["t"], "visibility": "shared",
            "protected": true, "min_disk": 1, "os_hidden": false, "kernel_id": null, "os_glance_failed_import": "",
            "stores": "a,b", "locations": [], "direct_url": "file:///x", "hw_disk_bus": "scsi", "disk_format": "raw",
        });
        let expected = json!({
            "id": "i", "name": "a", "owner": "q", "tags": ["t"], "visibility": "shared", "protected": true, "min_disk": 1,
            "os_hidden": false, "hw_disk_bus": "scsi", "disk_format": "raw",
        });
        assert_eq!(draft(&record, &[("p".to_owned(), "q".to_owned())].into()), expected);
        assert_eq!(draft(&record, &BTreeMap::new())["owner"], "p");
        assert_eq!(draft(&json!({ "id": "i", "owner": null }), &BTreeMap::new()), json!({ "id": "i", "owner": null }));
    }

    #[test]
    fn kernels_come_before_the_images_that_name_them() {
        let image = |id: &str, at: &str| json!({ "id": id, "created_at": at });
        let mut machine = image("m", "1");
        machine["kernel_id"] = "k".into();
        let sorted = in_order(vec![image("n", "2"), machine.clone(), image("k", "3"), machine]);
        let ids: Vec<&str> = sorted.iter().map(|record| text(record, "id")).collect();
        assert_eq!(ids, ["k", "m", "n"]);
    }

    #[test]
    fn only_images_with_bytes_can_come() {
        for (status, comes) in
            [("active", true), ("deactivated", true), ("queued", false), ("killed", false), ("saving", false)]
        {
            assert_eq!(obstacle(&json!({ "status": status })).is_none(), comes, "{status}");
        }
    }
}
