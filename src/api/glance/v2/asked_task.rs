//! Requests that began a task, kept with the job for the task to show. Knows no job.
//!
//! They stay for days, so nothing is kept that the service did not understand, and no URL: the job has the one that is
//! fetched.

use actix_web::{HttpMessage, HttpRequest};
use serde_json::{Map, Value, json};

use super::super::OpenStackRequestId;
use crate::image::{ImageId, StoreName};
use crate::registry::Registry;

/// The request that began a task, as the task shows it.
#[derive(Debug)]
pub(super) struct AskedTask {
    pub(super) kind: &'static str,
    pub(super) request_id: String,
    /// Input of the task, with null in the place of the URL.
    input: Value,
    /// Place of the URL.
    url_at: &'static str,
}

/// Types of tasks.
pub(super) const IMPORT: &str = "api_image_import";
const LOCATION: &str = "location_import";
pub(super) const OLD_IMPORT: &str = "import";

impl AskedTask {
    fn new(request: &HttpRequest, kind: &'static str, input: Value, url_at: &'static str) -> Self {
        Self { kind, request_id: id_of_request(request), input, url_at }
    }

    /// The task of `POST …/import`, whose `wanted` is its body as far as it was understood.
    pub(super) fn import(
        request: &HttpRequest,
        image: ImageId,
        wanted: &Value,
        stores: &[StoreName],
        registry: &Registry,
    ) -> Self {
        let default = [registry.stores().default_name().clone()];
        let stores = if stores.is_empty() { &default } else { stores };
        let input = json!({ "image_id": image.to_string(), "import_req": wanted, "backend": names(stores) });
        Self::new(request, IMPORT, input, "/import_req/method/uri")
    }

    /// The task of `POST …/locations`.
    pub(super) fn location(request: &HttpRequest, image: ImageId, body: &Value) -> Self {
        let input =
            json!({ "image_id": image.to_string(), "loc_url": null, "validation_data": body["validation_data"] });
        Self::new(request, LOCATION, input, "/loc_url")
    }

    /// The task of `POST /v2/tasks`.
    pub(super) fn old_import(request: &HttpRequest, format: &str, properties: &Map<String, Value>) -> Self {
        let input = json!({ "import_from": null, "import_from_format": format, "image_properties": properties });
        Self::new(request, OLD_IMPORT, input, "/import_from")
    }

    /// The input as a task shows it, with the URL that is fetched.
    pub(super) fn input(&self, url: Option<&str>) -> Value {
        let mut input = self.input.clone();
        if let Some(place) = input.pointer_mut(self.url_at) {
            *place = url.into();
        }
        input
    }

    /// True for an import into an image that was there.
    pub(super) fn is_import(&self) -> bool {
        self.kind == IMPORT
    }
}

/// Names of stores, as a list.
pub(super) fn names(stores: &[StoreName]) -> Value {
    stores.iter().map(StoreName::as_str).collect()
}

fn id_of_request(request: &HttpRequest) -> String {
    request.extensions().get::<OpenStackRequestId>().map(|id| id.0.clone()).unwrap_or_default()
}
