//! VISOR's names of attributes and states, and records as JSON, XML and headers. It reads images and changes none.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::account::signature::META_PREFIX;
use crate::http::accept::{Format, choose};
use crate::http::headers::{AttributeRoom, attribute_value};
use crate::http::time::ruby;
use crate::image::attr::ATTRS;
use crate::image::{Access, Attr, Image, Status, Value, Visibility};

/// An attribute of answers only: the address of the image.
const URI: &str = "uri";

/// Names in a record that are no attributes and that clients cannot set.
pub(super) const READ_ONLY: [&str; 3] = [URI, "accessed_at", "access_count"];

/// VISOR's name of an attribute; `None` for an attribute that VISOR does not know.
pub(super) fn name_of(attr: Attr) -> Option<&'static str> {
    Some(match attr {
        Attr::Id => "_id",
        Attr::Name => "name",
        Attr::Architecture => "architecture",
        Attr::Visibility => "access",
        Attr::Kind => "type",
        Attr::Format => "format",
        Attr::Store => "store",
        Attr::Location => "location",
        Attr::Kernel => "kernel",
        Attr::Ramdisk => "ramdisk",
        Attr::Owner => "owner",
        Attr::Status => "status",
        Attr::Size => "size",
        Attr::CreatedAt => "created_at",
        Attr::UploadedAt => "uploaded_at",
        Attr::UpdatedAt => "updated_at",
        Attr::Checksum => "checksum",
        Attr::Container | Attr::MinDisk | Attr::MinRam | Attr::Protected | Attr::Hidden => return None,
        Attr::VirtualSize | Attr::Sha256 | Attr::Sha512 | Attr::Alias | Attr::ExpiresAt => return None,
        // The original had neither; they identify an image to LXD and Incus.
        Attr::Fingerprint => "fingerprint",
        Attr::Offered => "lxd_offer",
    })
}

/// The attribute with this name in VISOR.
pub(super) fn attr_of(name: &str) -> Option<Attr> {
    ATTRS.iter().map(|row| row.attr).find(|attr| name_of(*attr) == Some(name))
}

/// Tells whether VISOR uses this name itself, so that a free attribute of another protocol may not have it here.
fn is_taken(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    attr_of(&name).is_some() || READ_ONLY.contains(&name.as_str())
}

/// VISOR's word for a visibility: all but public is private.
pub(super) fn access_word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Private | Visibility::Shared | Visibility::Community => "private",
    }
}

/// VISOR's word for a state. A deactivated image looks like one without a file; an image in deletion is never shown.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Queued | Status::Deactivated | Status::Deleting => "locked",
        Status::Saving => "uploading",
        Status::Available => "available",
        Status::Failed => "error",
    }
}

/// A value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// Text, written as a string.
    Text(String),
    /// A number, written without quotes.
    Number(u64),
}

impl Field {
    /// The value as text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.to_string().into(),
        }
    }
}

/// A record: names and values, in the order in which they are written.
pub(super) type Record = Vec<(Cow<'static, str>, Field)>;

/// Values of a record that come from outside the image.
pub(super) struct Surroundings {
    /// The server's address as the client used it, for `uri`.
    pub(super) base: String,
    /// Location of the bytes, if the caller may know it.
    pub(super) location: Option<String>,
}

/// Attributes of a brief record.
const BRIEF: [Attr; 7] = [Attr::Id, Attr::Name, Attr::Architecture, Attr::Kind, Attr::Format, Attr::Store, Attr::Size];

fn field(attr: Attr, image: &Image, location: Option<&str>) -> Option<Field> {
    match attr {
        Attr::Status => return Some(Field::Text(status_word(image.status).into())),
        Attr::Visibility => return Some(Field::Text(access_word(image.visibility).into())),
        Attr::Location => return location.map(|location| Field::Text(location.to_owned())),
        // The original shows real changes only.
        Attr::UpdatedAt if image.updated_at == Some(image.created_at) => return None,
        _ => {}
    }
    Some(match attr.read(image)? {
        Value::Text(text) => Field::Text(text.into_owned()),
        Value::Int(number) => Field::Number(number),
        Value::Time(time) => Field::Text(ruby(time)),
        Value::Id(id) => Field::Text(id.to_string()),
        Value::Flag(flag) => Field::Text(flag.to_string()),
    })
}

/// The brief record of an image.
pub(super) fn brief(image: &Image) -> Record {
    BRIEF.into_iter().filter_map(|attr| Some((name_of(attr)?.into(), field(attr, image, None)?))).collect()
}

/// The full record of an image. Absent attributes are left out.
pub(super) fn detail(image: &Image, around: &Surroundings) -> Record {
    let mut record = Record::new();
    for row in &ATTRS {
        let Some(name) = name_of(row.attr) else { continue };
        if let Some(field) = field(row.attr, image, around.location.as_deref()) {
            record.push((name.into(), field));
        }
        if row.attr == Attr::Id {
            record.push((URI.into(), Field::Text(format!("{}/images/{}", around.base, image.id))));
        }
    }
    // A free attribute of another protocol may have the name of one of VISOR's attributes.
    let free = image.properties.iter().filter(|(name, _)| !is_taken(name));
    record.extend(free.map(|(name, value)| (name.clone().into(), Field::Text(value.clone()))));
    record
}

/// The record of a removed image, with its counters.
pub(super) fn removed(image: &Image, access: Access, around: &Surroundings) -> Record {
    let mut record = detail(image, around);
    if let Some(last) = access.last {
        record.push(("accessed_at".into(), Field::Text(ruby(last))));
    }
    record.push(("access_count".into(), Field::Number(access.count)));
    record
}

/// Writes a record into metadata headers: the image's own attributes, and as many free ones as a client can read. Lists have all of them.
pub(super) fn put_headers(response: &mut HttpResponseBuilder, record: &Record) {
    let mut room = AttributeRoom::default();
    for (name, field) in record {
        let text = field.text();
        if let (Some(name), Some(value)) = (header_of(name, &text, &mut room), attribute_value(&text)) {
            response.append_header((name, value));
        }
    }
    room.tell(response);
}

/// The header of an attribute. Those of every image are made once: checking a name costs more than writing it.
fn header_of(name: &str, value: &str, room: &mut AttributeRoom) -> Option<HeaderName> {
    static TABLE: LazyLock<HashMap<&'static str, HeaderName>> = LazyLock::new(|| {
        let names = ATTRS.iter().filter_map(|row| name_of(row.attr)).chain([URI]);
        names.filter_map(|name| Some((name, HeaderName::try_from(format!("{META_PREFIX}{name}")).ok()?))).collect()
    });
    let mut free = || Some(format!("{META_PREFIX}{name}")).filter(|name| room.take(name, value));
    TABLE.get(name).cloned().or_else(|| HeaderName::try_from(free()?).ok())
}

/// A record as a JSON object.
struct JsonRecord<'a>(&'a [(Cow<'static, str>, Field)]);

impl Serialize for JsonRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, field) in self.0 {
            match field {
                Field::Text(text) => map.serialize_entry(name, text)?,
                Field::Number(number) => map.serialize_entry(name, number)?,
            }
        }
        map.end()
    }
}

/// A record as JSON.
fn json(fields: &[(Cow<'static, str>, Field)]) -> String {
    // Only a value that JSON cannot express fails here, and a record has none.
    serde_json::to_string(&JsonRecord(fields)).unwrap_or_default()
}

/// Escapes the characters that Rack escapes, the slash among them: answers match the original's byte for byte.
fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '\'' => into.push_str("&#x27;"),
            '"' => into.push_str("&quot;"),
            '/' => into.push_str("&#x2F;"),
            // Readers make a line feed of it otherwise.
            '\r' => into.push_str("&#xD;"),
            // These are not characters of XML 1.0.
            '\u{fffe}' | '\u{ffff}' => into.push('\u{fffd}'),
            c => into.push(c),
        }
    }
}

/// Turns a name into an element's name: free attributes may begin with a digit, and those of other protocols may have
/// any character.
fn element(name: &str) -> Cow<'_, str> {
    let stands = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match (starts, name.chars().all(stands)) {
        (true, true) => name.into(),
        (false, true) => format!("_{name}").into(),
        (_, false) => element(&name.replace(|c| !stands(c), "_")).into_owned().into(),
    }
}

/// Elements of a record, one per line.
fn xml(fields: &[(Cow<'static, str>, Field)]) -> String {
    let mut text = String::new();
    for (name, field) in fields {
        let name = element(name);
        text.push_str(&format!("<{name}>"));
        match field {
            Field::Text(value) => escape(value, &mut text),
            Field::Number(number) => text.push_str(&number.to_string()),
        }
        text.push_str(&format!("</{name}>\n"));
    }
    text
}

/// The first line and the root of every XML answer.
const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<results>\n";
/// Closes what [`XML_HEAD`] opened.
const XML_FOOT: &str = "</results>";

/// Format that a request asks for.
pub(super) fn format_of(request: &HttpRequest) -> Format {
    choose(request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()))
}

/// Sets the content type of a format.
pub(super) fn announce(response: &mut HttpResponseBuilder, format: Format) {
    response.insert_header((header::VARY, "Accept"));
    response.content_type(match format {
        Format::Json => "application/json; charset=utf-8",
        Format::Xml => "application/xml; charset=utf-8",
    });
}

/// Answers with one record, with or without a name around it.
pub(super) fn respond(
    request: &HttpRequest,
    response: &mut HttpResponseBuilder,
    name: Option<&'static str>,
    fields: &[(Cow<'static, str>, Field)],
) -> HttpResponse {
    let format = format_of(request);
    announce(response, format);
    response.body(match (format, name) {
        (Format::Json, None) => json(fields),
        (Format::Json, Some(name)) => format!("{{\"{name}\":{}}}", json(fields)),
        (Format::Xml, None) => format!("{XML_HEAD}{}{XML_FOOT}", xml(fields)),
        (Format::Xml, Some(name)) => format!("{XML_HEAD}<{name}>\n{}</{name}>\n{XML_FOOT}", xml(fields)),
    })
}

/// Text before the items of a list.
pub(super) fn list_head(format: Format, name: &str) -> String {
    match format {
        Format::Json => format!("{{\"{name}\":["),
        Format::Xml => format!("{XML_HEAD}<{name}>\n"),
    }
}

/// Text after the items of a list.
pub(super) fn list_foot(format: Format, name: &str) -> String {
    match format {
        Format::Json => "]}".to_owned(),
        Format::Xml => format!("</{name}>\n{XML_FOOT}"),
    }
}

/// Items of a list, or a run of them. In JSON, the caller adds the comma between two runs.
pub(super) fn list_items(format: Format, records: impl Iterator<Item = Record>) -> String {
    match format {
        Format::Json => records.map(|record| json(&record)).collect::<Vec<_>>().join(","),
        Format::Xml => records.map(|record| format!("<item>\n{}</item>\n", xml(&record))).collect(),
    }
}

/// Answers with a short list of records.
pub(super) fn respond_list(
    request: &HttpRequest,
    response: &mut HttpResponseBuilder,
    name: &'static str,
    records: impl IntoIterator<Item = Record>,
) -> HttpResponse {
    let format = format_of(request);
    announce(response, format);
    let items = list_items(format, records.into_iter());
    response.body(list_head(format, name) + &items + &list_foot(format, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::change::tests::sample;
    use crate::image::{Architecture, ImageId};

    #[test]
    fn names_are_unique_and_go_both_ways() {
        for row in &ATTRS {
            assert!(name_of(row.attr).is_none_or(|name| attr_of(name) == Some(row.attr)), "{:?}", row.attr);
        }
        assert_eq!(attr_of("os"), None);
    }

    /// Images of other protocols may have values that VISOR has no words for, and free attributes of any name.
    #[test]
    fn what_other_protocols_made_looks_like_an_image_of_ours() {
        let mut image = sample("a");
        image.visibility = Visibility::Shared;
        (image.protected, image.min_disk) = (true, 3);
        image.properties = ["_id", "Created-At", "uri", "os:a.b", "1/><x"].map(|name| (name.into(), "v".into())).into();
        let around = Surroundings { base: "http://h:1".into(), location: None };
        let record = detail(&image, &around);
        let names: Vec<_> = record.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["_id", "uri", "name", "access", "status", "created_at", "1/><x", "os:a.b"]);
        assert!(record.contains(&("access".into(), Field::Text("private".into()))));
        let text = xml(&record);
        assert!(text.ends_with("<_1___x>v</_1___x>\n<os_a.b>v</os_a.b>\n"), "{text}");
    }

    #[test]
    fn records_have_the_originals_order_and_no_empty_values() {
        let mut image = sample("a/b<\"'&>");
        image.id = ImageId::from_bytes([7; 16]);
        image.architecture = Some(Architecture::X86_64);
        image.properties.insert("os".into(), "linux".into());
        image.properties.insert("status".into(), "of another protocol".into());
        let around = Surroundings { base: "http://h:1".into(), location: None };
        let id = "07070707-0707-0707-0707-070707070707";
        assert_eq!(
            xml(&detail(&image, &around)),
            format!(
                "<_id>{id}</_id>\n<uri>http:&#x2F;&#x2F;h:1&#x2F;images&#x2F;{id}</uri>\n\
                 <name>a&#x2F;b&lt;&quot;&#x27;&amp;&gt;</name>\n<architecture>x86_64</architecture>\n\
                 <access>public</access>\n<status>locked</status>\n\
                 <created_at>1970-01-12 13:46:40 +0000</created_at>\n<os>linux</os>\n"
            )
        );
        assert_eq!(
            brief(&image).iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(),
            ["_id", "name", "architecture"]
        );
    }
}
