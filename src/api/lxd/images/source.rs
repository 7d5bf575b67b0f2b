//! New images by a request in JSON: pulled from another server, fetched from a URL, pushed by a client later, or packed
//! from a root file system of the operator's. `registry/` does the work; here it becomes an operation.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::named;
use super::wire::{fingerprint, path_of, type_of};
use super::wishes::{NewImage, architecture_of, kind_of};
use crate::api::lxd::Lxd;
use crate::api::lxd::envelope::accepted;
use crate::api::lxd::operations::{About, Progress, Purpose};
use crate::error::{Error, Result};
use crate::image::{Image, ImageId, Protocol};
use crate::jobs::JobKind;
use crate::registry::policy::Action;
use crate::registry::{Ask, Caller, Copied, ImportOptions, files_of};

/// Time until an announced push has to begin.
const PUSH_LIFETIME: Duration = Duration::from_secs(3600);

/// Largest announcement that is kept until then, in bytes of JSON.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// A request for a new image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewImageRequest {
    #[serde(flatten)]
    new: NewImage,
    source: Option<ImageSource>,
    compression_algorithm: Option<String>,
}

/// The source of a new image.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ImageSource {
    r#type: String,
    mode: Option<String>,
    server: Option<String>,
    protocol: Option<String>,
    alias: Option<String>,
    fingerprint: Option<String>,
    certificate: Option<String>,
    secret: Option<String>,
    image_type: Option<String>,
    architecture: Option<String>,
    project: Option<String>,
    url: Option<String>,
    name: Option<String>,
}

/// `POST /images` with JSON.
pub(super) async fn create(
    request: &HttpRequest,
    lxd: &Lxd,
    caller: &Caller,
    asked: NewImageRequest,
) -> Result<HttpResponse> {
    let wishes = asked.new.wishes()?;
    let source = asked.source.ok_or_else(|| Error::invalid("Missing source in the request"))?;
    match source.mode.as_deref().unwrap_or_default() {
        "" | "pull" => {}
        // The request names no type of image: the bytes that arrive decide it.
        "push" => return awaited(lxd, caller, &asked.new, &wishes, &source),
        other => return Err(Error::invalid(format!("Invalid mode {other:?}: use pull or push"))),
    }
    match source.r#type.as_str() {
        "image" => pull(request, lxd, caller, wishes, &source),
        "url" => {
            let url = source.url.clone().filter(|url| !url.is_empty());
            let url = url.ok_or_else(|| Error::invalid("Missing URL"))?;
            let state = lxd.clone();
            let who = caller.clone();
            copy(request, lxd, caller, JobKind::Pull, move |progress| async move {
                state.registry.mirror().pull_url(&who, &url, &wishes, progress.handle()).await
            })
        }
        kind @ ("container" | "instance" | "virtual-machine" | "snapshot") => {
            let name = source.name.as_deref().unwrap_or_default();
            if kind == "snapshot" && !name.contains('/') {
                return Err(Error::invalid("Not a snapshot"));
            }
            if kind != "snapshot" && name.contains('/') {
                return Err(Error::invalid("This is a snapshot"));
            }
            let packing = asked.compression_algorithm.as_deref().unwrap_or_default();
            let instance = lxd.registry.lxd().instances().find(name, packing)?;
            let (state, who) = (lxd.clone(), caller.clone());
            copy(request, lxd, caller, JobKind::Publish, move |_| async move {
                let image = state.registry.lxd().publish_instance(&who, instance, &wishes).await?;
                Ok(Copied { image, is_new: true })
            })
        }
        _ => Err(Error::invalid("Invalid images JSON: the type of its source is unknown")),
    }
}

fn pull(
    request: &HttpRequest,
    lxd: &Lxd,
    caller: &Caller,
    wishes: ImportOptions,
    source: &ImageSource,
) -> Result<HttpResponse> {
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let protocol = match text(&source.protocol) {
        None => Protocol::Lxd,
        Some(word) => Protocol::parse(&word).ok_or_else(|| Error::invalid(format!("Unknown protocol {word:?}")))?,
    };
    let kind = text(&source.image_type).map(|word| kind_of(&word)).transpose()?;
    let architecture = text(&source.architecture).map(|word| architecture_of(&word)).transpose()?;
    let ask = Ask {
        server: text(&source.server).ok_or_else(|| Error::invalid("Missing server"))?,
        protocol,
        image: text(&source.alias).or_else(|| text(&source.fingerprint)).unwrap_or_default(),
        certificate: text(&source.certificate),
        secret: text(&source.secret),
        kind,
        architecture,
        project: text(&source.project),
    };
    let (state, who) = (lxd.clone(), caller.clone());
    copy(request, lxd, caller, JobKind::Pull, move |progress| async move {
        state.registry.mirror().pull(&who, &ask, &wishes, progress.handle()).await
    })
}

/// Runs an operation that ends with an image.
fn copy<W, F>(request: &HttpRequest, lxd: &Lxd, caller: &Caller, kind: JobKind, work: W) -> Result<HttpResponse>
where
    W: FnOnce(Progress) -> F + Send + 'static,
    F: Future<Output = Result<Copied>> + Send + 'static,
{
    let (state, requestor) = (lxd.clone(), lxd.requestor(request, caller));
    let about = About::new(kind, "Downloading image").cancellable();
    let operation = lxd.operations.run(caller, about, |progress| async move {
        let Copied { image, is_new } = work(progress.clone()).await?;
        progress.image(image.id, &fingerprint(&image));
        if is_new {
            let context = json!({ "type": type_of(&image) });
            state.events.lifecycle(&requestor, "image-created", &path_of(&image), &context);
        }
        Ok(said_of(&image))
    })?;
    Ok(accepted(&operation))
}

/// The metadata of an operation that made an image. The size is a text, as in LXD.
fn said_of(image: &Image) -> Value {
    let size: u64 = files_of(image).unwrap_or_default().iter().map(|file| file.size).sum();
    json!({ "fingerprint": fingerprint(image), "size": size.to_string() })
}

/// An operation that waits for a push and holds the secret for it.
fn awaited(
    lxd: &Lxd,
    caller: &Caller,
    new: &NewImage,
    wishes: &ImportOptions,
    source: &ImageSource,
) -> Result<HttpResponse> {
    // For a public image `lxc` sends its alias here; the push itself then names the fingerprint.
    let expected = source.fingerprint.clone().filter(|text| !text.is_empty());
    let expected = expected.ok_or_else(|| Error::invalid("A push needs the fingerprint of its image"))?;
    // Refuse invalid attributes now, not after the image was sent.
    wishes.patch.apply(&mut Image::blank(ImageId::random(), lxd.registry.now()))?;
    let asked = json!({ "fingerprint": expected, "new": new });
    if asked.to_string().len() > KEPT_BYTES_MAX {
        return Err(Error::invalid(format!("The announcement of a push has at most {KEPT_BYTES_MAX} bytes.")));
    }
    let purpose = Purpose::Upload(asked);
    let about = About::new(JobKind::Secret, "Waiting for image").metadata("fingerprint", expected.as_str());
    Ok(accepted(&lxd.operations.token(&lxd.owner(caller)?, about, purpose, PUSH_LIFETIME)?))
}

/// `POST /images/FINGERPRINT/refresh`
pub(super) async fn refresh(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.trusted(&request).await?;
        let image = named(&request, &lxd, &caller).await?;
        caller.may(Action::RefreshImage, &image)?;
        let (state, who, requestor) = (Lxd::clone(&lxd), caller.clone(), lxd.requestor(&request, &caller));
        let about =
            About::new(JobKind::Refresh, "Refreshing image").id(image.id).image(&fingerprint(&image)).cancellable();
        let operation = lxd.operations.run(&caller, about, |progress| async move {
            let Copied { image, is_new } = state.registry.mirror().refresh(&who, &image, progress.handle()).await?;
            if is_new {
                state.events.lifecycle(&requestor, "image-refreshed", &path_of(&image), &Value::Null);
            }
            Ok(json!({ "refreshed": is_new }))
        })?;
        Ok(accepted(&operation))
    })
    .await
}
