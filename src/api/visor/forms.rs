//! `multipart/form-data`, as browsers and `curl -F` send it: fields are metadata, the part `file` is the file.
//!
//! Fields may stand before and after the file. The upload begins with those before it; the others are applied when the
//! form is complete. Until then the image is not available.

use std::time::Instant;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::HttpRequest;
use actix_web::web::Payload;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::Visor;
use super::meta::Fields;
use crate::error::{Error, Reason, Result};
use crate::image::change::{PROPERTIES_MAX, PROPERTY_BYTES_MAX};
use crate::image::{Attr, Format, Image, ImageId};
use crate::registry::{Caller, RateGuard, Upload, too_slow};

/// Maximum number of fields: more than an image can have of known and free attributes together.
const FIELDS_MAX: usize = PROPERTIES_MAX + 96;

fn broken(error: MultipartError) -> Error {
    Reason::BodyIncomplete.saying("The form is malformed or ended before it was complete.").because(error.to_string())
}

/// Content of a form.
pub(super) enum Sent {
    /// An image that received the file of the form.
    File(Box<Image>),
    /// Fields without a file.
    Fields(Fields),
}

/// Reads a form. With a file, creates or changes an image.
pub(super) async fn receive(
    request: &HttpRequest,
    visor: &Visor,
    who: &Caller,
    payload: Payload,
    id: Option<ImageId>,
) -> Result<Sent> {
    let mut form = Multipart::new(request.headers(), payload);
    let mut fields = Fields::of_headers(request.headers())?;
    let mut upload: Option<Upload> = None;
    let read = read_form(&mut form, visor, who, id, &mut fields, &mut upload).await;
    let Some(mut upload) = upload else {
        read?;
        return Ok(Sent::Fields(fields));
    };
    let with = visor.with(who, id.is_none(), true);
    let meta = read.and_then(|()| fields.read(with));
    let meta = match meta {
        Ok(meta) => meta,
        Err(error) => {
            upload.abandon().await;
            return Err(error);
        }
    };
    upload.claim(meta.claim);
    upload.finish(&meta.patch).await.map(|image| Sent::File(Box::new(image)))
}

/// Reads the form to its end. An upload that began is in `upload`, also after an error.
async fn read_form(
    form: &mut Multipart,
    visor: &Visor,
    who: &Caller,
    id: Option<ImageId>,
    fields: &mut Fields,
    upload: &mut Option<Upload>,
) -> Result<()> {
    let idle = visor.patience.idle;
    let mut pace = RateGuard::new(visor.patience, Instant::now());
    for _ in 0..FIELDS_MAX {
        let Some(part) = timeout(idle, form.next()).await.map_err(|_| too_slow())? else { return Ok(()) };
        let mut part = part.map_err(broken)?;
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.content_disposition().and_then(|disposition| disposition.get_filename());
        let file_name = file_name.map(ToOwned::to_owned);
        if name != "file" {
            if file_name.is_some_and(|file_name| !file_name.is_empty()) {
                return Err(Error::invalid("The file of a form must be in the part 'file'."));
            }
            let value = text(&mut part, &mut pace).await?;
            fields.put(&name, &value)?;
            continue;
        }
        if upload.is_some() {
            return Err(Error::invalid("A form may have only one part 'file'."));
        }
        // A browser sends an empty part without a name for a file field without a choice.
        let Some(first) = pace.next(&mut part, broken).await? else {
            if file_name.as_deref() == Some("") {
                continue;
            }
            return Err(Error::invalid("The file of the form is empty."));
        };
        suggest(fields, file_name.as_deref());
        // Fields that are known are checked before the file arrives, which may be large. Required fields may follow it.
        let with = visor.with(who, false, true);
        let meta = fields.read(with)?;
        let patch = if id.is_none() { meta.first(with) } else { meta.patch };
        let begun = upload.insert(visor.registry.uploads().begin(who, id, &patch, meta.claim).await?);
        let mut chunk = Some(first);
        while let Some(bytes) = chunk {
            begun.write(bytes).await?;
            chunk = pace.next(&mut part, broken).await?;
        }
    }
    Err(Error::invalid("The form has too many fields."))
}

/// Takes the format from the suffix of the file's name, unless a field gives it.
fn suggest(fields: &mut Fields, file_name: Option<&str>) {
    let suffix = file_name.and_then(|name| name.rsplit_once('.')).map(|(_, suffix)| suffix);
    if let Some(format) = suffix.and_then(Format::parse) {
        fields.suggest(Attr::Format, format.name());
    }
}

/// The value of a small field.
async fn text(part: &mut Field, pace: &mut RateGuard) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = pace.next(part, broken).await? {
        bytes.extend(chunk);
        if bytes.len() > PROPERTY_BYTES_MAX {
            return Err(Error::invalid(format!("A field of the form is longer than {PROPERTY_BYTES_MAX} bytes.")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("A field of the form is not UTF-8."))
}
