//! Images whose bytes come from other servers: by a URL, as copies, and kept up to date. Knows no protocol of our
//! clients.

pub(super) mod pull;
pub(super) mod refresh;
pub(super) mod register_url;
pub(super) mod service;
pub(super) mod source;
pub(super) mod succession;
pub(super) mod unhashed;
pub(super) mod url_import;
