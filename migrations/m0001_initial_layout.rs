//! Layout 1: tables `meta`, `image`, `index`, `access` as the catalogue began. There is nothing before it to convert.

use super::Step;

pub(super) const STEP: Step = Step { to: 1, name: "initial layout", run: |_| Ok(()) };
