//! JSON patches of images, in Glance's two forms: RFC 6902 (v2.1), and an early draft of it (v2.0). A path names a member of the
//! image itself. Knows no attribute: `change` sets the values.

use serde_json::Value;

use super::super::quota::check_properties;
use super::change::{AttributeSetter, has};
use crate::error::{Error, Reason, Result};
use crate::http::headers::is_type;
use crate::image::{Image, ImagePatch};

/// The media types, newest first.
pub(super) const TYPES: [&str; 2] =
    ["application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch"];

/// Most operations of a patch, more than an image has attributes and properties. Each is checked against the whole image.
const OPERATIONS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Replace,
    Remove,
}

impl Verb {
    /// Glance's word for it, in a refusal.
    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "update",
            Self::Remove => "remove",
        }
    }
}

/// An operation of a patch.
#[derive(Debug, PartialEq)]
pub(super) struct PatchOperation {
    verb: Verb,
    /// The name of an attribute or a property.
    pub(super) name: String,
    /// The new value; none if the operation removes.
    pub(super) value: Option<Value>,
    /// Refuses to add an existing member.
    strict: bool,
}

/// Reads the body of a patch.
///
/// # Errors
/// `MediaType` for another content type; `Invalid`.
pub(super) fn parse(content_type: Option<&str>, body: &Value) -> Result<Vec<PatchOperation>> {
    let strict = match TYPES.iter().position(|known| content_type.is_some_and(|it| is_type(it, known))) {
        Some(position) => position == 1,
        None => return Err(Reason::WrongMediaType.saying(format!("Content-Type must be one of {}", TYPES.join(", ")))),
    };
    let list =
        body.as_array().ok_or_else(|| Error::invalid("Request body must be a JSON array of operation objects."))?;
    if list.len() > OPERATIONS_MAX {
        return Err(Error::invalid(format!("A patch has at most {OPERATIONS_MAX} operations.")));
    }
    list.iter().map(|one| operation(one, strict)).collect()
}

fn operation(one: &Value, draft: bool) -> Result<PatchOperation> {
    let members = one.as_object().ok_or_else(|| Error::invalid("Operations must be JSON objects."))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    // In the draft, the verb is the name of the member with the path.
    let (verb, path) = if draft {
        let found = ["add", "replace", "remove"].into_iter().find_map(|verb| Some((verb, text(verb)?)));
        found.ok_or_else(|| {
            Error::invalid("Operation objects must contain exactly one member named 'add', 'remove', or 'replace'.")
        })?
    } else {
        let verb = text("op").ok_or_else(|| Error::invalid("Unable to find 'op' in JSON Schema change"))?;
        (verb, text("path").ok_or_else(|| Error::invalid("Unable to find 'path' in JSON Schema change"))?)
    };
    let verb = match verb {
        "add" => Verb::Add,
        "replace" => Verb::Replace,
        "remove" => Verb::Remove,
        other => return Err(Error::invalid(format!("Invalid operation: `{}`.", other.escape_default()))),
    };
    let value = members.get("value").filter(|_| verb != Verb::Remove).cloned();
    if value.is_none() && verb != Verb::Remove {
        return Err(Error::invalid("Operation must contain a member 'value'."));
    }
    Ok(PatchOperation { verb, name: member(path)?, value, strict: draft })
}

/// The one member that operations may reach into, though not in this service: see [`apply`].
const LOCATIONS: &str = "locations";

/// Reads a pointer to one member (RFC 6901, section 3).
fn member(pointer: &str) -> Result<String> {
    let wrong = |why: &str| Error::invalid(format!("Pointer `{}` {why}.", pointer.escape_default()));
    let name = pointer.strip_prefix('/').ok_or_else(|| wrong("does not start with \"/\""))?;
    if name.is_empty() {
        return Err(wrong("does not name anything"));
    }
    match name.split_once('/') {
        Some((LOCATIONS, position)) if !position.contains('/') => return Ok(LOCATIONS.to_owned()),
        Some(_) => return Err(wrong("is invalid for this resource")),
        None => {}
    }
    let escapes = name.split('~').skip(1);
    if escapes.into_iter().any(|rest| !rest.starts_with(['0', '1'])) {
        return Err(wrong("contains \"~\" not part of a recognized escape sequence"));
    }
    Ok(name.replace("~1", "/").replace("~0", "~"))
}

/// Makes one patch of the operations, each applied to the result of those before it.
///
/// # Errors
/// `Conflict` for a missing or an existing member; `Forbidden`, `Invalid`.
pub(super) fn apply(operations: &[PatchOperation], image: &Image, setter: &AttributeSetter) -> Result<ImagePatch> {
    let mut so_far = image.clone();
    let mut all = ImagePatch::default();
    for PatchOperation { verb, name, value, strict } in operations {
        if name == LOCATIONS {
            let verb = verb.word();
            return Err(
                Reason::ReadOnly.saying(format!("It's not allowed to {verb} locations if locations are invisible."))
            );
        }
        let mut step = ImagePatch::default();
        match value {
            Some(value) => setter.set(&mut step, name, value)?,
            None => setter.remove(&mut step, name)?,
        }
        let conflict = |text: String| Err(Reason::Conflict.saying(text));
        match (verb, has(&so_far, name)) {
            (Verb::Replace | Verb::Remove, false) => return conflict(format!("Property {name} does not exist.")),
            (Verb::Add, true) if *strict => return conflict(format!("Property {name} already present.")),
            _ => {}
        }
        if !image.status.takes_bytes() && ["disk_format", "container_format"].contains(&name.as_str()) {
            let text = format!("Attribute {name} can be only replaced for a queued image.");
            return Err(Reason::ReadOnly.saying(text));
        }
        step.apply(&mut so_far)?;
        all = all.then(step);
    }
    check_properties(&all, Some(image))?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Kind;
    use crate::image::change::tests::sample;
    use crate::image::{Format, ImageId, Status, Visibility};

    fn patched(image: &Image, operations: &Value) -> Result<Image> {
        let setter = AttributeSetter { companions: Default::default() };
        let operations = parse(Some(TYPES[0]), operations)?;
        let mut image = image.clone();
        apply(&operations, &image, &setter)?.apply(&mut image)?;
        Ok(image)
    }

    fn refused(operations: &Value) -> Kind {
        patched(&sample("a"), operations).unwrap_err().kind()
    }

    #[test]
    fn operations_follow_each_other() {
        let image = patched(
            &sample("a"),
            &json!([
                { "op": "add", "path": "/a~1b~0", "value": "1" },
                { "op": "replace", "path": "/a~1b~0", "value": "2" },
                { "op": "add", "path": "/gone", "value": "" },
                { "op": "remove", "path": "/gone" },
                { "op": "replace", "path": "/name", "value": null },
                { "op": "add", "path": "/min_disk", "value": 5 },
                { "op": "replace", "path": "/tags", "value": ["x", "x", "y"] },
                { "op": "replace", "path": "/visibility", "value": "community" },
                { "op": "replace", "path": "/disk_format", "value": "raw" },
            ]),
        )
        .unwrap();
        assert_eq!(image.properties, [("a/b~".to_owned(), "2".to_owned())].into());
        assert_eq!((image.name.as_deref(), image.min_disk, image.tags.len()), (None, 5, 2));
        assert_eq!((image.visibility, image.format), (Visibility::Community, Some(Format::Raw)));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let op = |op: &str, path: &str, value: Value| json!([{ "op": op, "path": path, "value": value }]);
        for (operations, kind) in [
            (op("replace", "/no", json!("1")), Kind::Conflict),
            (op("remove", "/no", json!(null)), Kind::Conflict),
            (op("remove", "/name", json!(null)), Kind::Forbidden),
            (op("replace", "/status", json!("active")), Kind::Forbidden),
            (op("replace", "/id", json!("x")), Kind::Forbidden),
            (op("add", "/locations", json!([])), Kind::Forbidden),
            (op("add", "/os_glance_x", json!("1")), Kind::Forbidden),
            (op("replace", "/visibility", json!("secret")), Kind::Invalid),
            (op("move", "/name", json!("1")), Kind::Invalid),
            (op("add", "name", json!("1")), Kind::Invalid),
            (op("add", "/", json!("1")), Kind::Invalid),
            (op("add", "/tags/-", json!("1")), Kind::Invalid),
            (op("add", "/a~2", json!("1")), Kind::Invalid),
            (op("add", "/a", json!(1)), Kind::Invalid),
            (op("add", "/a", json!(null)), Kind::Invalid),
            (op("replace", "/min_disk", json!(-1)), Kind::Invalid),
            (op("replace", "/min_disk", json!("1")), Kind::Invalid),
            (op("replace", "/min_ram", json!(2_147_483_648_u32)), Kind::Invalid),
            (op("replace", "/protected", json!("true")), Kind::Invalid),
            (op("replace", "/tags", json!("x")), Kind::Invalid),
            (op("replace", "/disk_format", json!("img")), Kind::Invalid),
            (json!([{ "op": "add", "path": "/a" }]), Kind::Invalid),
            (json!([{ "path": "/a", "value": "1" }]), Kind::Invalid),
            (json!(["x"]), Kind::Invalid),
            (json!({}), Kind::Invalid),
        ] {
            assert_eq!(refused(&operations), kind, "{operations}");
        }
    }

    #[test]
    fn a_kernel_may_be_none() {
        let set = |value: Value| json!([{ "op": "add", "path": "/kernel_id", "value": value }]);
        let image = patched(&sample("a"), &set(json!(ImageId::random().to_string()))).unwrap();
        assert_eq!(image.properties.len(), 1);
        assert_eq!(patched(&image, &set(json!(null))).unwrap().properties.len(), 0);
        assert_eq!(patched(&image, &set(json!(1))).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn formats_stay_when_there_are_bytes() {
        let image = Image { status: Status::Available, ..sample("a") };
        let format = json!([{ "op": "replace", "path": "/disk_format", "value": "raw" }]);
        assert_eq!(patched(&image, &format).unwrap_err().kind(), Kind::Forbidden);
        assert!(patched(&image, &json!([{ "op": "replace", "path": "/min_disk", "value": 1 }])).is_ok());
    }

    #[test]
    fn the_draft_does_not_add_twice() {
        let setter = AttributeSetter { companions: Default::default() };
        let add = parse(Some(TYPES[1]), &json!([{ "add": "/a", "value": "1" }])).unwrap();
        let mut image = sample("a");
        let patch = apply(&add, &image, &setter).unwrap();
        patch.apply(&mut image).unwrap();
        assert_eq!(apply(&add, &image, &setter).unwrap_err().kind(), Kind::Conflict);
        assert_eq!(parse(Some("application/json"), &json!([])).unwrap_err().kind(), Kind::MediaType);
        assert_eq!(parse(None, &json!([])).unwrap_err().kind(), Kind::MediaType);
    }
}
