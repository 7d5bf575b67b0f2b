//! Shape 3: the progress of an interrupted upload is in its ticket. In shape 2 it was a field of the image.

use serde_json::{Map, Value};

use super::Step;

pub(super) const STEP: Step = Step { to: 3, run: Some(run) };

fn run(line: &mut Map<String, Value>) {
    let Some(resumable) = line.remove("resumable") else { return };
    if let Some(ticket) = line.get_mut("image").and_then(|image| image.get_mut("ticket")).and_then(Value::as_object_mut)
    {
        ticket.insert("resumable".to_owned(), resumable);
    }
}
