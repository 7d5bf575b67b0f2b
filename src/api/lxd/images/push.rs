//! `POST /images/FINGERPRINT/export`: pushes an image to a server that waits for it. `registry/mirror/` speaks to that
//! server.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::Value;

use super::export::open_named;
use super::wire::{fingerprint, path_of};
use super::wishes::small_json;
use crate::api::lxd::Lxd;
use crate::api::lxd::envelope::accepted;
use crate::api::lxd::operations::About;
use crate::error::{Error, Result};
use crate::http::origin::bytes_of;
use crate::http::route::part;
use crate::image::{Image, ImageKind};
use crate::jobs::JobKind;
use crate::registry::policy::Action;
use crate::registry::{Caller, LxdFile, Outgoing, Parcel, Push, files_of};

/// A request to push an image: the server, its proof, and names there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PushRequest {
    target: Option<String>,
    secret: Option<String>,
    certificate: Option<String>,
    project: Option<String>,
    aliases: Option<Vec<PushAlias>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PushAlias {
    name: String,
}

/// `POST /images/FINGERPRINT/export`
pub(super) async fn push(request: HttpRequest, lxd: Data<Lxd>, payload: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let asked: PushRequest = small_json(payload, lxd.patience).await?;
        // `lxc` may put an alias into the path.
        let image = lxd.registry.lxd().by_name(&caller, &part(&request, "fingerprint")?).await?;
        caller.may(Action::PushImage, &image)?;
        let missing = |name: &str| Error::invalid(format!("{name} is required"));
        let to = Push {
            server: asked.target.filter(|text| !text.is_empty()).ok_or_else(|| missing("target"))?,
            certificate: asked.certificate,
            secret: asked.secret.filter(|text| !text.is_empty()).ok_or_else(|| missing("secret"))?,
            project: asked.project,
            fingerprint: image.fingerprint().unwrap_or_default(),
            filename: image.filename.clone().unwrap_or_default(),
            aliases: asked.aliases.into_iter().flatten().map(|alias| alias.name).collect(),
        };
        let (state, who, requestor) = (Lxd::clone(&lxd), caller.clone(), lxd.requestor(&request, &caller));
        let about = About::new(JobKind::Push, "Exporting image").id(image.id).image(&fingerprint(&image)).cancellable();
        let operation = lxd.operations.run(&caller, about, |_| async move {
            let parcel = parcel(&state, &who, &image).await?;
            state.registry.mirror().push(&to, parcel).await?;
            state.registry.touch(image.id);
            state.events.lifecycle(&requestor, "image-retrieved", &path_of(&image), &Value::Null);
            Ok(Value::Null)
        })?;
        Ok(accepted(&operation))
    })
    .await
}

/// The files of an image, opened.
async fn parcel(lxd: &Lxd, who: &Caller, image: &Image) -> Result<Parcel> {
    let mut files = Vec::new();
    for file in files_of(image)? {
        files.push(outgoing(lxd, who, image, &file).await?);
    }
    let kind = image.kind.filter(|kind| *kind == ImageKind::Container).unwrap_or(ImageKind::VirtualMachine);
    match (files.pop(), files.pop()) {
        (Some(unified), None) => Ok(Parcel::Unified(unified)),
        (Some(rootfs), Some(metadata)) => Ok(Parcel::Split { metadata, rootfs, kind }),
        (None, _) => Err(Error::internal("an image without files can't be pushed")),
    }
}

async fn outgoing(lxd: &Lxd, who: &Caller, image: &Image, file: &LxdFile) -> Result<Outgoing> {
    let (body, name) = open_named(lxd, who, image, file).await?;
    let bytes = bytes_of(body, &lxd.buffers);
    Ok(Outgoing { name, size: Some(file.size), bytes })
}
