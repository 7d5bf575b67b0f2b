//! Downloads of images: one file as it is, with ranges, or two files as a form. `registry/` chooses and opens them.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::wire::{fingerprint, path_of};
use super::{named, readable};
use crate::api::lxd::Lxd;
use crate::api::lxd::envelope::accepted;
use crate::api::lxd::operations::{About, Purpose};
use crate::archive::Packing;
use crate::digest::hex;
use crate::error::Result;
use crate::http::conditional::Facts;
use crate::http::deliver::{deliver_from, first_read};
use crate::http::origin::{BlobBody, Origin, bytes_of};
use crate::image::Image;
use crate::jobs::JobKind;
use crate::registry::policy::Action;
use crate::registry::{Caller, Delivery, FileRole, LxdFile, files_of};

/// Lifetime of a secret that is not used.
const SECRET_LIFETIME: Duration = Duration::from_secs(3600);

/// `GET /images/FINGERPRINT/export`
pub(super) async fn download(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let (image, caller) = readable(&request, &lxd).await?;
        let files = files_of(&image)?;
        let answer = match &files[..] {
            [unified] => one(&request, &lxd, &caller, &image, unified).await?,
            files => form(&lxd, &caller, &image, files).await?,
        };
        if answer.status().is_success() {
            lxd.registry.touch(image.id);
            lxd.events.lifecycle(&lxd.requestor(&request, &caller), "image-retrieved", &path_of(&image), &Value::Null);
        }
        Ok(answer)
    })
    .await
}

/// The name that clients save a file under: they insist on one. Its ending tells the packing, if it is known.
fn name_of(image: &Image, file: &LxdFile, packing: Option<Packing>) -> String {
    let prefix = if file.role == FileRole::Metadata { "meta-" } else { "" };
    format!("{prefix}{}{}", fingerprint(image), packing.map_or("", Packing::extension))
}

/// Opens a file, and returns its name.
pub(super) async fn open_named(
    lxd: &Lxd,
    caller: &Caller,
    image: &Image,
    file: &LxdFile,
) -> Result<(BlobBody, String)> {
    let (body, packing) = lxd.registry.lxd().open_packed(caller, image, file, None).await?;
    Ok((body, name_of(image, file, packing)))
}

async fn one(request: &HttpRequest, lxd: &Lxd, caller: &Caller, image: &Image, file: &LxdFile) -> Result<HttpResponse> {
    lxd.registry.downloads().permit(caller, image)?;
    let facts = Facts {
        etag: file.sha256.map(|sha256| format!("\"{}\"", hex(&sha256))),
        modified_s: Some(image.uploaded_at.unwrap_or(image.created_at).seconds()),
        size: Some(file.size),
    };
    let source = Arc::new((Arc::clone(&lxd.registry), caller.clone(), image.clone(), file.clone()));
    let mut origin = Origin::new(move |range| {
        let source = Arc::clone(&source);
        async move {
            let (registry, caller, image, file) = &*source;
            let is_whole = range.is_none();
            let opened = registry.lxd().open_file(caller, image, file, range).await;
            opened.map(|body| Delivery::exact(body, is_whole))
        }
    });
    let mut packing = None;
    // Opened before the headers, which have the name; and once, for that may be a request to another server.
    if let Some(range) = first_read(request, &facts) {
        let (body, found) = lxd.registry.lxd().open_packed(caller, image, file, range.clone()).await?;
        (origin, packing) = (origin.keeping(range, body), found);
    }
    let disposition = format!("inline;filename={}", name_of(image, file, packing));
    let headers = |response: &mut HttpResponseBuilder| {
        response.insert_header((header::CONTENT_DISPOSITION, disposition.as_str()));
    };
    deliver_from(&origin, facts, &lxd.buffers, request, headers).await
}

/// The name of a file in a form.
fn part_name(role: FileRole) -> &'static str {
    match role {
        FileRole::Metadata => "metadata",
        FileRole::Disk => "rootfs.img",
        FileRole::Unified | FileRole::Rootfs => "rootfs",
    }
}

/// All files in one answer. They are opened before its first byte, so that files of a removed image are still sent.
async fn form(lxd: &Lxd, caller: &Caller, image: &Image, files: &[LxdFile]) -> Result<HttpResponse> {
    // Random, so that no image can contain it on purpose.
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let (mut pieces, mut length) = (Vec::new(), 0);
    for (at, file) in files.iter().enumerate() {
        let (body, name) = open_named(lxd, caller, image, file).await?;
        let head = format!(
            "{}--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{name}\"\r\nContent-Type: \
             application/octet-stream\r\n\r\n",
            if at == 0 { "" } else { "\r\n" },
            part_name(file.role),
        );
        length += head.len() as u64 + file.size;
        pieces.push(text(head));
        pieces.push(bytes_of(body, &lxd.buffers));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length += end.len() as u64;
    pieces.push(text(end));
    let body = stream::iter(pieces).flatten();
    let body = body.map(|chunk| chunk.map_err(|error| -> Box<dyn std::error::Error> { Box::new(error) }));
    let content_type = format!("multipart/form-data; boundary={boundary}");
    Ok(HttpResponse::Ok().content_type(content_type).body(SizedStream::new(length, body)))
}

fn text(text: String) -> stream::BoxStream<'static, Result<Bytes>> {
    stream::iter([Ok(Bytes::from(text))]).boxed()
}

/// `POST /images/FINGERPRINT/secret`
pub(super) async fn secret(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let image = named(&request, &lxd, &caller).await?;
        // The right to read an image is not the right to let others read it.
        caller.may(Action::MakeImageSecret, &image)?;
        let fingerprint = fingerprint(&image);
        let about = About::new(JobKind::Secret, "Image download token").id(image.id).image(&fingerprint);
        let operation =
            lxd.operations.token(&lxd.owner(&caller)?, about, Purpose::Image(fingerprint), SECRET_LIFETIME)?;
        let requestor = lxd.requestor(&request, &caller);
        lxd.events.lifecycle(&requestor, "image-secret-created", &path_of(&image), &Value::Null);
        Ok(accepted(&operation))
    })
    .await
}
