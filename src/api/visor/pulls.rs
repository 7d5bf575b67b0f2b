//! `/pulls`, `/vendors` and `/get`: vendors' images by their names. Parses, calls, renders.

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::Visor;
use super::error::render;
use super::images::give;
use super::jobs::accepted;
use crate::error::{Error, Reason, Result};
use crate::http::body::Body;
use crate::http::json::from_text;
use crate::http::route::{Route, answer_json, get, head, parameter, part, post};
use crate::image::{Architecture, Format, Image};
use crate::registry::policy::{Action, On};
use crate::registry::{Caller, NameRequest, Provenance, PullAsk, Pulls};

/// Largest body of a request for a pull.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Formats that the end of a path can ask for.
const ENDINGS: [(&str, Format); 2] = [(".qcow2", Format::Qcow2), (".raw", Format::Raw)];

/// The routes.
pub(super) fn routes() -> [Route; 6] {
    [
        get("/pulls", Action::SeeVendors, list),
        post("/pulls", Action::Pull, start),
        get("/vendors", Action::SeeVendors, vendors),
        get("/vendors/{name}", Action::Pull, builds),
        get("/get/{name:.*}", Action::Download, read),
        head("/get/{name:.*}", Action::Download, read),
    ]
}

impl Visor {
    /// The service for pulls.
    pub(super) fn pulls(&self) -> Result<&Arc<Pulls>> {
        self.pulls.as_ref().ok_or_else(|| {
            Reason::Unsupported.saying("This server pulls no images: its setting cache.enabled is false.")
        })
    }
}

/// `GET /pulls`: what was pulled, as lock files have it.
async fn list(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let listed = async {
        let who = visor.caller(&request).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "pulls": visor.pulls()?.list_pulled(&who).await? })))
    };
    listed.await.unwrap_or_else(|error| render(&request, &error))
}

/// `POST /pulls`: answered with the job.
async fn start(request: HttpRequest, visor: Data<Visor>, payload: Payload) -> HttpResponse {
    let started = async {
        let who = visor.caller_with(&request, true).await?;
        who.may(Action::Pull, On::Server)?;
        let bytes = Body::new(payload, visor.patience).whole(BODY_BYTES_MAX).await?;
        let ask: PullAsk =
            from_text(&bytes).map_err(|why| Error::invalid(format!("The request for a pull can't be used: {why}.")))?;
        Ok(accepted(&request, &visor.pulls()?.start(&who, ask)?))
    };
    started.await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /vendors`: the catalogue.
async fn vendors(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let listed = async {
        let who = visor.caller(&request).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "vendors": visor.pulls()?.list_vendors(&who)? })))
    };
    listed.await.unwrap_or_else(|error| render(&request, &error))
}

/// `GET /vendors/:name?release=…&architecture=…`: the builds that a vendor has now.
async fn builds(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let listed = async {
        let who = visor.caller(&request).await?;
        let (name, release) = (part(&request, "name")?, parameter(&request, "release")?);
        let found = visor.pulls()?.list_builds(&who, &name, release.as_deref(), architecture(&request)?).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &json!({ "builds": found })))
    };
    listed.await.unwrap_or_else(|error| render(&request, &error))
}

fn architecture(request: &HttpRequest) -> Result<Option<Architecture>> {
    let Some(word) = parameter(request, "architecture")? else { return Ok(None) };
    let unknown = || Error::invalid(format!("The architecture '{}' is not known.", word.escape_default()));
    Architecture::parse(&word).map(Some).ok_or_else(unknown)
}

/// `GET` and `HEAD /get/NAME[.qcow2|.raw]`: the bytes of the newest image of a name, which is pulled if it is not here.
async fn read(request: HttpRequest, visor: Data<Visor>) -> HttpResponse {
    let answer = async {
        let who = visor.caller(&request).await?;
        let path = part(&request, "name")?;
        if path.is_empty() {
            return Err(Error::invalid(
                "The name of an image is missing: /get/VENDOR/RELEASE, such as /get/debian/13.",
            ));
        }
        let (name, format) = asked(&path);
        let wanted = NameRequest { name, architecture: architecture(&request)?, is_container: Some(false) };
        let image = match visor.registry.named(&who, &wanted).await? {
            Some(image) if may_stand_for(&visor, &who, &image, &wanted.name) => image,
            _ => pull(&request, &visor, &who, &wanted).await?,
        };
        if format.is_some_and(|format| image.format != Some(format)) {
            let is = image.format.map_or("of no known format", Format::name);
            return Err(Reason::NothingMatches.saying(format!("The image {} is {is}.", wanted.name)));
        }
        if !image.status.gives_bytes() {
            return Err(Reason::NoFile.about(image.id));
        }
        visor.registry.touch(image.id);
        give(&request, &visor, &who, &image, &visor.record(&who, &image, &request)).await
    };
    answer.await.unwrap_or_else(|error| render(&request, &error))
}

/// The name in a path, and the format that its end asks for.
fn asked(path: &str) -> (String, Option<Format>) {
    let ending = ENDINGS.iter().find_map(|(ending, format)| Some((path.strip_suffix(ending)?, *format)));
    ending.map_or_else(|| (path.to_owned(), None), |(name, format)| (name.to_owned(), Some(format)))
}

/// Tells if an image may be given for a name: a vendor's name stands for no image that another account calls so.
fn may_stand_for(visor: &Visor, who: &Caller, image: &Image, name: &str) -> bool {
    let is_vendors = visor.pulls.as_ref().is_some_and(|pulls| pulls.knows(name));
    !is_vendors || image.owner.as_deref() == who.account() || Provenance::of(image).is_some()
}

/// Tells if a request may begin a pull: one that a page of another site navigates to changes nothing.
fn is_of_this_site(request: &HttpRequest) -> bool {
    let site = request.headers().get("sec-fetch-site").map(|value| value.as_bytes());
    matches!(site, None | Some(b"none" | b"same-origin"))
}

/// Pulls an image that is not here, for a caller that may.
async fn pull(request: &HttpRequest, visor: &Visor, who: &Caller, wanted: &NameRequest) -> Result<Image> {
    let near = || visor.pulls.as_ref().map(|pulls| pulls.near_name(who, &wanted.name)).unwrap_or_default();
    let name = wanted.name.escape_default();
    let unknown = || Reason::NothingMatches.saying(format!("No image is called {name}{}.", near()));
    let pulls = visor.pulls.as_ref().filter(|pulls| pulls.knows(&wanted.name)).ok_or_else(unknown)?;
    if let Some(image) = pulls.of_digest(who, &wanted.name).await? {
        return Ok(image);
    }
    let changes = request.method() != actix_web::http::Method::HEAD && is_of_this_site(request);
    if !changes || !pulls.can_bring(who, wanted) {
        return Err(unknown());
    }
    // A name with a digest is no alias: the pull says which image it is.
    let job = pulls.bring_missing(who, wanted).await?;
    match (visor.registry.named(who, wanted).await?, job.image) {
        (Some(image), _) => Ok(image),
        (None, Some(id)) => visor.registry.get(who, id).await,
        (None, None) => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_begins_no_pull() {
        for (site, begins) in
            [("", true), ("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false)]
        {
            let request = actix_web::test::TestRequest::get();
            let request = if site.is_empty() { request } else { request.insert_header(("sec-fetch-site", site)) };
            assert_eq!(is_of_this_site(&request.to_http_request()), begins, "{site}");
        }
    }

    #[test]
    fn the_end_of_a_path_may_ask_for_a_format() {
        for (path, name, format) in [
            ("ubuntu/24.04", "ubuntu/24.04", None),
            ("ubuntu/24.04.qcow2", "ubuntu/24.04", Some(Format::Qcow2)),
            ("alpine/3.23+bios-tiny.raw", "alpine/3.23+bios-tiny", Some(Format::Raw)),
        ] {
            assert_eq!(asked(path), (name.to_owned(), format));
        }
    }
}
