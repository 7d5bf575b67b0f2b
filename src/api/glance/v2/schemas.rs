//! JSON schemas of v2. python-glanceclient builds its model of an image from the first, and checks requests and answers against
//! it, so the schemas must agree with [`super::render`] and [`super::change`]. Knows no image.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::Glance;
use super::super::spell::names;
use crate::http::route::{Route, answer_json, get};
use crate::image::change::{DEMAND_MAX, NAME_CHARS_MAX};
use crate::image::{Container, Format, MemberStatus, Visibility};
use crate::registry::policy::Action;

/// Pattern of a UUID as clients write it.
const UUID: &str = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";

/// A schema and its name.
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

/// Route of a document that does not depend on the request.
pub(super) fn fixed(path: String, document: fn() -> Value) -> Route {
    get(path, Action::SeeSchemas, move |request: HttpRequest, glance: Data<Glance>| async move {
        glance.answer(&request, async |_| Ok(answer_json(&mut HttpResponse::Ok(), &document()))).await
    })
}

/// Schema of a page of a list.
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

/// Schema of a text or null.
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
        ("id", json!({ "type": "string", "pattern": UUID, "description": "Id of the image, which is never reused" })),
        ("name", nullable("A name for people; not unique", NAME_CHARS_MAX)),
        ("status", read_only(json!({ "type": "string", "enum": status, "description": "State of the image" }))),
        (
            "visibility",
            json!({ "type": "string", "enum": names::<Visibility>(), "description": "Visibility of the image" }),
        ),
        ("protected", json!({ "type": "boolean", "description": "Whether the image can't be deleted" })),
        ("os_hidden", json!({ "type": "boolean", "description": "Whether lists leave the image out" })),
        ("checksum", read_only(nullable("MD5 of the data, in hexadecimal", 32))),
        ("os_hash_algo", read_only(nullable("Algorithm of os_hash_value", 64))),
        ("os_hash_value", read_only(nullable("Digest of the data, in hexadecimal", 128))),
        ("owner", nullable("The project that the image belongs to", NAME_CHARS_MAX)),
        ("size", bytes("Bytes of data")),
        ("virtual_size", bytes("Bytes of the disk in the data")),
        ("container_format", words("Format of the container around the disk", names::<Container>())),
        ("disk_format", words("Format of the disk", names::<Format>())),
        ("created_at", moment("Time of registration")),
        ("updated_at", moment("Time of the last change")),
        (
            "tags",
            json!({
                "type": "array",
                "items": { "type": "string", "maxLength": NAME_CHARS_MAX },
                "description": "Words to find the image by",
            }),
        ),
        ("min_ram", demand("MiB of memory needed to run the image")),
        ("min_disk", demand("GiB of disk needed to run the image")),
        ("self", path("Path of the image")),
        ("file", path("Path of the data")),
        ("schema", path("Path of this schema")),
        ("stores", read_only(json!({ "type": "string", "description": "Stores of the data, comma-separated" }))),
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

/// Schema of a common property that not every image has.
fn property(description: &str) -> Value {
    json!({ "type": "string", "is_base": false, "description": description })
}

/// Schema of a common property that clients also send as null.
fn nullable_property(description: &str) -> Value {
    json!({ "type": ["null", "string"], "is_base": false, "description": description })
}

fn member() -> Value {
    json!({
        "name": "member",
        "properties": {
            "member_id": { "type": "string", "description": "The project that the image is shared with" },
            "image_id": { "type": "string", "pattern": UUID, "description": "The image" },
            "created_at": { "type": "string", "description": "Time when the member was added" },
            "updated_at": { "type": "string", "description": "Time of the last change" },
            "status": { "type": "string", "enum": names::<MemberStatus>(), "description": "Answer of the member to the invitation" },
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
            "id": { "type": "string", "pattern": UUID, "description": "Id of the task" },
            "type": { "type": "string", "enum": ["import", "api_image_import", "location_import"], "description": "Kind of work" },
            "status": { "type": "string", "enum": ["pending", "processing", "success", "failure"], "description": "Status of the task" },
            "input": object("Parameters of the task"),
            "result": object("Result of the task"),
            "owner": nullable("Project that started the task", NAME_CHARS_MAX),
            "message": text("Reason of a failure"),
            "image_id": text("Image of the task"),
            "request_id": text("Id of the request that started the task"),
            "user_id": text("User that started the task"),
            "expires_at": { "type": ["null", "string"], "description": "Time when the task expires" },
            "created_at": text("Time of the start"),
            "updated_at": text("Time of the last change"),
            "self": { "type": "string", "readOnly": true },
            "schema": { "type": "string", "readOnly": true },
        },
    })
}
