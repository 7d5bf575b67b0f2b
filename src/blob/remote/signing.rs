//! Signing requests to S3 that OpenDAL has no words for.

use std::fmt;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, ProvideCredential, Signer};

use super::S3Settings;

/// Headers that a signature brings along, and that the next one replaces.
const OF_SIGNATURE: [&str; 2] = ["x-amz-date", "x-amz-content-sha256"];

/// Keys that sign requests. The library's own type shows the secret in its debug log.
pub(super) struct Keys(Credential);

impl Keys {
    pub(super) fn of(settings: &S3Settings) -> Self {
        Self(Credential {
            access_key_id: settings.access_key.clone(),
            secret_access_key: settings.secret_key.clone(),
            session_token: None,
            expires_in: None,
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl ProvideCredential for Keys {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

/// The signer.
pub(super) struct Signing(Signer<Credential>);

impl Signing {
    /// A signer with the configured keys. Its context reads no file and no variable, and sends no request.
    pub(super) fn new(settings: &S3Settings) -> Self {
        Self(Signer::new(Context::new(), Keys::of(settings), RequestSigner::new("s3", settings.region())))
    }

    /// Signs a request, or signs it anew.
    pub(super) async fn sign(&self, parts: &mut Parts) -> reqsign_core::Result<()> {
        parts.headers.remove(AUTHORIZATION);
        for name in OF_SIGNATURE {
            parts.headers.remove(name);
        }
        self.0.sign(parts, None).await?;
        // The client says it by itself.
        parts.headers.remove(HOST);
        Ok(())
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing")
    }
}
