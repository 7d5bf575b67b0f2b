//! JSON schemas. python-glanceclient makes its model of an image from the first and checks against it what it sends and
//! what it gets, so these say what [`super::render`] and [`super::change`] do.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::Glance;
use super::super::spell::names;
use crate::http::route::{Route, answer_json, get};
use crate::image::change::{DEMAND_MAX, NAME_CHARS_MAX};
use crate::image::{Container, Format, MemberStatus, Visibility};
use crate::registry::policy::Action;

/// A UUID as clients write it.
const UUID: &str = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";

/// A schema by its name.
pub(super) type Schema = (&'static str, fn() -> Value);

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    let schemas: [Schema; 6] = [
        ("image", image),
        ("images", || list("image", "images", image())),
        ("member", member),
        ("members", || list("member", "members", member())),
        ("task", task),
        ("tasks", || list("task", "tasks", task())),
    ];
    schemas.map(|(name, schema)| fixed(format!("/schemas/{name}"), schema)).into()
}

/// The route of a document that is the same for all.
pub(super) fn fixed(path: String, document: fn() -> Value) -> Route {
    get(path, Action::SeeSchemas, move |request: HttpRequest, glance: Data<Glance>| async move {
        glance.answer(&request, async |_| Ok(answer_json(&mut HttpResponse::Ok(), &document()))).await
    })
}

/// The schema of pages of something.
pub(super) fn list(one: &str, many: &str, schema: Value) -> Value {
    json!({
        "name": many,
        "properties": {
            many: { "type": "array", "items": schema },
            "first": { "type": "string" },
            "next": { "type": "string" },
            "schema": { "type": "string" },
        },
        "links": [
            { "rel": "first", "href": "{first}" },
            { "rel": "next", "href": "{next}" },
            { "rel": "describedby", "href": "{schema}" },
        ],
        "description": format!("A page of each {one} that the caller may see"),
    })
}

fn read_only(mut property: Value) -> Value {
    property["readOnly"] = true.into();
    property
}

/// A text, or none.
fn nullable(description: &str, chars_max: usize) -> Value {
    json!({ "type": ["null", "string"], "maxLength": chars_max, "description": description })
}

fn words(description: &str, words: Vec<&'static str>) -> Value {
    let choices: Vec<Value> = std::iter::once(Value::Null).chain(words.into_iter().map(Value::from)).collect();
    json!({ "type": ["null", "string"], "enum": choices, "description": description })
}

fn demand(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": DEMAND_MAX, "description": description })
}

fn bytes(description: &str) -> Value {
    read_only(json!({ "type": ["null", "integer"], "description": description }))
}

fn moment(description: &str) -> Value {
    read_only(json!({ "type": "string", "description": description }))
}

fn path(description: &str) -> Value {
    read_only(json!({ "type": "string", "description": description }))
}

fn image() -> Value {
    let status = ["queued", "saving", "uploading", "importing", "active", "deactivated", "killed", "deleted"];
    let properties = [
        ("id", json!({ "type": "string", "pattern": UUID, "description": "Names the image for ever" })),
        ("name", nullable("A name for people; not unique", NAME_CHARS_MAX)),
        ("status", read_only(json!({ "type": "string", "enum": status, "description": "State of the image" }))),
        ("visibility", json!({ "type": "string", "enum": names::<Visibility>(), "description": "Who sees the image" })),
        ("protected", json!({ "type": "boolean", "description": "Whether the image can't be deleted" })),
        ("os_hidden", json!({ "type": "boolean", "description": "Whether lists leave the image out" })),
        ("checksum", read_only(nullable("MD5 of the data, in hexadecimal", 32))),
        ("os_hash_algo", read_only(nullable("Algorithm of os_hash_value", 64))),
        ("os_hash_value", read_only(nullable("Digest of the data, in hexadecimal", 128))),
        ("owner", nullable("The project that the image belongs to", NAME_CHARS_MAX)),
        ("size", bytes("Bytes of data")),
        ("virtual_size", bytes("Bytes of the disk in the data")),
        ("container_format", words("What the disk comes wrapped in", names::<Container>())),
        ("disk_format", words("Format of the disk", names::<Format>())),
        ("created_at", moment("When the image was registered")),
        ("updated_at", moment("When the image last changed")),
        (
            "tags",
            json!({
                "type": "array",
                "items": { "type": "string", "maxLength": NAME_CHARS_MAX },
                "description": "Words to find the image by",
            }),
        ),
        ("min_ram", demand("MiB of memory that it takes to run the image")),
        ("min_disk", demand("GiB of disk that it takes to run the image")),
        ("self", path("Path of the image")),
        ("file", path("Path of the data")),
        ("schema", path("Path of this schema")),
        ("stores", read_only(json!({ "type": "string", "description": "Where the data is, comma-separated" }))),
        ("architecture", property("The processor that the image is for")),
        ("kernel_id", nullable_property("The image of its kernel")),
        ("ramdisk_id", nullable_property("The image of its ramdisk")),
        ("os_distro", property("Name of the distribution, as in its os-release")),
        ("os_version", property("Version of the distribution")),
    ];
    let properties: Map<String, Value> = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": { "type": "string" },
        "links": [
            { "rel": "self", "href": "{self}" },
            { "rel": "enclosure", "href": "{file}" },
            { "rel": "describedby", "href": "{schema}" },
        ],
    })
}

/// A property that is usual, and not every image's.
fn property(description: &str) -> Value {
    json!({ "type": "string", "is_base": false, "description": description })
}

/// The same of one that clients also send as nothing.
fn nullable_property(description: &str) -> Value {
    json!({ "type": ["null", "string"], "is_base": false, "description": description })
}

fn member() -> Value {
    json!({
        "name": "member",
        "properties": {
            "member_id": { "type": "string", "description": "The project that the image is shared with" },
            "image_id": { "type": "string", "pattern": UUID, "description": "The image" },
            "created_at": { "type": "string", "description": "Since when" },
            "updated_at": { "type": "string", "description": "When this last changed" },
            "status": { "type": "string", "enum": names::<MemberStatus>(), "description": "What the member thinks of it" },
            "schema": { "type": "string", "readOnly": true },
        },
    })
}

fn task() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let object = |description: &str| json!({ "type": ["null", "object"], "description": description });
    json!({
        "name": "task",
        "properties": {
            "id": { "type": "string", "pattern": UUID, "description": "Names the task" },
            "type": { "type": "string", "enum": ["import", "api_image_import"], "description": "What is done" },
            "status": { "type": "string", "enum": ["pending", "processing", "success", "failure"], "description": "How it stands" },
            "input": object("What was asked for"),
            "result": object("What came of it"),
            "owner": nullable("Who asked", NAME_CHARS_MAX),
            "message": text("Why it failed"),
            "expires_at": { "type": ["null", "string"], "description": "When it is forgotten" },
            "created_at": text("When it began"),
            "updated_at": text("When it last changed"),
            "self": { "type": "string", "readOnly": true },
            "schema": { "type": "string", "readOnly": true },
        },
    })
}
