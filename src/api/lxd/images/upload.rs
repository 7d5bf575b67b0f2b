//! Uploads of images: one file, or a form with the description and then the root. The answer follows the last byte; the
//! operation that it names checks the bytes. Archives are read in `registry/lxd/`, not here.

use std::time::Instant;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::header;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::wire::{path_of, type_of};
use super::wishes::{NewImage, of_headers};
use crate::account::Secret;
use crate::api::lxd::Lxd;
use crate::api::lxd::envelope::accepted;
use crate::api::lxd::error::not_authorized;
use crate::api::lxd::operations::{About, Purpose};
use crate::digest::hex;
use crate::error::{Error, Kind, Reason, Result};
use crate::http::body::Body;
use crate::http::headers::text;
use crate::image::{ImageKind, ImagePatch};
use crate::jobs::JobKind;
use crate::registry::policy::{Action, On};
use crate::registry::{
    Caller, Expected, ImportOptions, IncomingImage, METADATA_BYTES_MAX, Pauses, RateGuard, Upload, fingerprint_of,
    too_slow,
};

/// The caller that an upload counts for, and the options of the new image.
struct Sender {
    who: Caller,
    wishes: ImportOptions,
    /// Lets a sender that is not trusted wait for the operation.
    secret: Option<Secret>,
}

/// The secret that allows a client without trust to send an image.
pub(super) fn secret_of(request: &HttpRequest) -> Option<&str> {
    let given = ["x-lxd-secret", "x-incus-secret"].iter().find_map(|name| text(request.headers(), *name));
    given.filter(|given| !given.is_empty())
}

/// The sender of an upload: a trusted client, or the owner of the request's secret, who has described the image.
async fn sender(request: &HttpRequest, lxd: &Lxd) -> Result<Sender> {
    let wishes = of_headers(request.headers())?;
    let Some(given) = secret_of(request) else {
        return Ok(Sender { who: lxd.trusted(request).await?, wishes, secret: None });
    };
    let ticket = lxd.operations.take(given, |purpose| matches!(purpose, Purpose::Upload(_)));
    let ticket = ticket.ok_or_else(not_authorized)?;
    let Purpose::Upload(asked) = ticket.purpose else { return Err(not_authorized()) };
    let who = lxd.renewed(&ticket.owner)?.ok_or_else(not_authorized)?;
    who.may(Action::CreateImage, On::Server)?;
    let expected = asked["fingerprint"].as_str().and_then(fingerprint_of);
    let asked: NewImage = serde_json::from_value(asked["new"].clone()).map_err(Error::internal)?;
    let ImportOptions { patch, .. } = asked.wishes()?;
    let patch = ImagePatch {
        // The owner's file name counts more than the sender's.
        filename: patch.filename.clone().or(wishes.patch.filename),
        // Clients copy the end that the other server shows: no request to expire the image here.
        supported_until: patch.expires_at.or(patch.supported_until),
        expires_at: None,
        // As with a pull, the image has these properties and no others.
        purge: !patch.properties.is_empty(),
        ..patch
    };
    let wishes = ImportOptions { patch, fingerprint: expected.or(wishes.fingerprint) };
    Ok(Sender { who, wishes, secret: Some(Secret::random()?) })
}

/// Receives an image in one file.
pub(super) async fn unified(request: &HttpRequest, lxd: &Lxd, mut body: Body) -> Result<HttpResponse> {
    let sender = sender(request, lxd).await?;
    let size = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let claim = Expected { size, ..Expected::default() };
    let arriving = IncomingImage { slot: lxd.registry.lxd().slot()?, metadata: None, claim, pauses: Pauses::default() };
    let mut bytes = body.chunks();
    let taken = lxd.registry.lxd().take_in(&sender.who, arriving, &mut bytes, |error| error, |_| {}).await;
    if taken.as_ref().is_err_and(|error| error.kind() == Kind::BadContent) {
        // The operation reports the error, and starts after the whole body as always.
        let mut rest = Rest(lxd.registry.image_bytes_max());
        while let Some(chunk) = bytes.next().await.transpose()?
            && rest.has_room_for(&chunk)
        {}
    }
    finish(request, lxd, sender, taken)
}

/// Receives an image in two files.
pub(super) async fn split(request: &HttpRequest, lxd: &Lxd, payload: Payload) -> Result<HttpResponse> {
    let mut sender = sender(request, lxd).await?;
    let mut form = Multipart::new(request.headers(), payload);
    let taken = read_form(lxd, &mut sender, &mut form).await;
    if taken.as_ref().is_err_and(|error| error.kind() == Kind::BadContent) {
        drain(lxd, &mut form).await?;
    }
    finish(request, lxd, sender, taken)
}

fn broken(error: MultipartError) -> Error {
    Reason::BodyIncomplete.saying("The form is malformed or ended before it was complete.").because(error.to_string())
}

fn invalid_form() -> Error {
    Reason::BadContent.saying("Invalid multipart image")
}

async fn next_part(lxd: &Lxd, form: &mut Multipart) -> Result<Option<Field>> {
    let part = timeout(lxd.patience.idle, form.next()).await.map_err(|_| too_slow())?;
    part.transpose().map_err(broken)
}

async fn read_form(lxd: &Lxd, sender: &mut Sender, form: &mut Multipart) -> Result<Upload> {
    // Before anything is held in memory.
    let slot = lxd.registry.lxd().slot()?;
    let mut first =
        next_part(lxd, form).await?.filter(|part| part.name() == Some("metadata")).ok_or_else(invalid_form)?;
    let mut pace = RateGuard::new(lxd.patience, Instant::now());
    let mut metadata = Vec::new();
    while let Some(chunk) = pace.next(&mut first, broken).await? {
        metadata.extend(chunk);
        if metadata.len() > METADATA_BYTES_MAX {
            let text = format!("The description of an image has at most {METADATA_BYTES_MAX} bytes.");
            return Err(Reason::BodyTooLarge.saying(text));
        }
    }
    drop(first);
    let mut root = next_part(lxd, form).await?.ok_or_else(invalid_form)?;
    let kind = match root.name() {
        Some("rootfs") => ImageKind::Container,
        Some("rootfs.img") => ImageKind::VirtualMachine,
        _ => return Err(invalid_form()),
    };
    let filename = root.content_disposition().and_then(|disposition| disposition.get_filename());
    let filename = filename.filter(|name| !name.is_empty()).map(|name| Some(name.to_owned()));
    let said = sender.wishes.patch.filename.take();
    // `lxc` sends the file name of the description, but an image is named like its root. A pushing server sends the
    // image's own name.
    sender.wishes.patch.filename = if sender.secret.is_none() { filename.or(said) } else { said.or(filename) };
    let metadata = Some((Bytes::from(metadata), kind));
    let arriving = IncomingImage { slot, metadata, claim: Expected::default(), pauses: Pauses::default() };
    let upload = lxd.registry.lxd().take_in(&sender.who, arriving, &mut root, broken, |_| {}).await?;
    drop(root);
    match next_part(lxd, form).await {
        Ok(None) => Ok(upload),
        Ok(Some(_)) => {
            upload.abandon().await;
            Err(invalid_form())
        }
        Err(error) => {
            upload.abandon().await;
            Err(error)
        }
    }
}

/// Bytes that are still read of a body that is not an image: at most the largest size of an image.
struct Rest(u64);

impl Rest {
    fn has_room_for(&mut self, chunk: &Bytes) -> bool {
        let left = self.0.checked_sub(chunk.len() as u64);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Reads the rest of a form that is not an image: a client may not listen before it has sent everything.
async fn drain(lxd: &Lxd, form: &mut Multipart) -> Result<()> {
    let mut pace = RateGuard::new(lxd.patience, Instant::now());
    let mut rest = Rest(lxd.registry.image_bytes_max());
    while let Some(mut part) = next_part(lxd, form).await? {
        while let Some(chunk) = pace.next(&mut part, broken).await? {
            if !rest.has_room_for(&chunk) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Starts the operation for the received bytes. Errors of the request itself are answered at once.
fn finish(request: &HttpRequest, lxd: &Lxd, sender: Sender, taken: Result<Upload>) -> Result<HttpResponse> {
    let taken = match taken {
        Err(error) if error.kind() != Kind::BadContent => return Err(error),
        taken => taken,
    };
    let Sender { who, wishes, secret } = sender;
    let mut about = About::new(JobKind::Publish, "Downloading image");
    if let Some(secret) = &secret {
        about = about.metadata("secret", secret.reveal());
    }
    let (state, requestor) = (lxd.clone(), lxd.requestor(request, &who));
    let operation = lxd.operations.run(&who, about, |progress| async move {
        let sealed = taken?.seal().await?;
        let fingerprint = hex(&sealed.fingerprint());
        // Also for an image that exists already: clients continue with its fingerprint.
        progress.say("fingerprint", fingerprint.as_str());
        progress.say("size", sealed.size().to_string());
        let image = sealed.publish(&wishes).await?;
        progress.image(image.id, &fingerprint);
        let context = json!({ "type": type_of(&image) });
        state.events.lifecycle(&requestor, "image-created", &path_of(&image), &context);
        Ok(Value::Null)
    })?;
    Ok(accepted(&operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_read_as_far_as_an_image_may_go() {
        let mut rest = Rest(10);
        let read = [4, 6, 0, 1].map(|length| rest.has_room_for(&Bytes::from(vec![0; length])));
        assert_eq!(read, [true, true, true, false]);
    }
}
