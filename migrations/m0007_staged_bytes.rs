//! Shape 7: bytes that wait for an import are marked in their ticket, so that no other request makes an image of them. Before,
//! they were told from an upload in pieces by nothing. What has all of its bytes and an image that was there before it is taken
//! for staged: an upload in pieces that was left so is finished by its import or its client.

use serde_json::{Map, Value};

use super::Step;

pub(super) const STEP: Step = Step { to: 7, run: Some(run) };

fn run(line: &mut Map<String, Value>) {
    let ticket = line.get_mut("image").and_then(|image| image.get_mut("ticket"));
    let Some(ticket) = ticket.and_then(Value::as_object_mut) else { return };
    let stays = ticket.get("fallback").is_some_and(|fallback| fallback == "fail");
    let Some(resumable) = ticket.get_mut("resumable").and_then(Value::as_object_mut) else { return };
    let has_all = resumable.get("size_bytes").is_some_and(|size| Some(size) == resumable.get("offset"));
    if stays && has_all {
        resumable.insert("staged".to_owned(), Value::Bool(true));
    }
}
