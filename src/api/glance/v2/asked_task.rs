//! Requests that began a task, kept with the job for the task to show. Knows no job.

use actix_web::{HttpMessage, HttpRequest};
use serde_json::{Value, json};

use super::super::OpenStackRequestId;
use crate::image::{ImageId, StoreName};
use crate::registry::{Registry, without_query};

/// The request that began a task, as the task shows it.
#[derive(Debug)]
pub(super) struct AskedTask {
    pub(super) kind: &'static str,
    pub(super) request_id: String,
    pub(super) input: Value,
}

/// Types of tasks.
pub(super) const IMPORT: &str = "api_image_import";
const LOCATION: &str = "location_import";
pub(super) const OLD_IMPORT: &str = "import";

impl AskedTask {
    /// The task of `POST …/import`.
    pub(super) fn import(
        request: &HttpRequest,
        image: ImageId,
        mut body: Value,
        stores: &[StoreName],
        registry: &Registry,
    ) -> Self {
        if let Some(url) = body.pointer_mut("/method/uri") {
            *url = without_query(url.as_str().unwrap_or_default()).into();
        }
        let default = [registry.stores().default_name().clone()];
        let stores = if stores.is_empty() { &default } else { stores };
        let stores: Vec<&str> = stores.iter().map(StoreName::as_str).collect();
        let input = json!({ "image_id": image.to_string(), "import_req": body, "backend": stores });
        Self { kind: IMPORT, request_id: id_of_request(request), input }
    }

    /// The task of `POST …/locations`.
    pub(super) fn location(request: &HttpRequest, image: ImageId, body: &Value) -> Self {
        let url = without_query(body["url"].as_str().unwrap_or_default());
        let input = json!({ "image_id": image.to_string(), "loc_url": url, "validation_data": body["validation_data"].clone() });
        Self { kind: LOCATION, request_id: id_of_request(request), input }
    }

    /// The task of `POST /v2/tasks`.
    pub(super) fn old_import(request: &HttpRequest, input: Value) -> Self {
        Self { kind: OLD_IMPORT, request_id: id_of_request(request), input }
    }

    /// True for an import into an image that was there.
    pub(super) fn is_import(&self) -> bool {
        self.kind == IMPORT
    }
}

fn id_of_request(request: &HttpRequest) -> String {
    request.extensions().get::<OpenStackRequestId>().map(|id| id.0.clone()).unwrap_or_default()
}
