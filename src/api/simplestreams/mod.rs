//! Simplestreams: the public images as two documents and the files that they name, for LXD and Incus and for tools that mirror.
//!
//! Read-only, and made of the catalogue as it is at the moment: nothing has to be generated. Their clients know no accounts
//! but may have a user name and a password in the server's URL.

mod document;

use std::io::Write;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use self::document::{INDEX_PATH, PRODUCTS_PATH};
use super::auth::AuthRules;
use super::{Setup, elsewhere};
use crate::digest::hex;
use crate::error::{Error, Kind, Result};
use crate::http::conditional::{Facts, Verdict, judge};
use crate::http::deliver::{deliver_from, unsatisfiable};
use crate::http::headers::text;
use crate::http::origin::{Buffers, OpenBody, Origin};
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, RouteTable, read};
use crate::registry::policy::Action;
use crate::registry::{Caller, Registry, files_of, fingerprint_of};

/// Simplestreams.
pub(super) static PROTOCOL: Protocol = Protocol { name: "simplestreams", covers, tables, render, no_path };

/// Makes the documents and files of a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    Box::new(Simplestreams::new(Arc::clone(&setup.registry), setup.auth.clone(), setup.buffers.clone()))
}

impl Service for Simplestreams {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn share(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.clone()));
    }
}

fn covers(path: &str) -> bool {
    path == "/streams/v1" || path.starts_with("/streams/v1/")
}

fn render(_: &HttpRequest, error: &Error) -> HttpResponse {
    refusal(error)
}

fn no_path(_: &HttpRequest) -> HttpResponse {
    refusal(&Error::new(Kind::NotFound, "There is no such file."))
}

/// What the handlers need.
#[derive(Debug, Clone)]
pub struct Simplestreams {
    /// The service.
    pub registry: Arc<Registry>,
    /// Who may read.
    pub auth: AuthRules,
    /// For bytes on their way out.
    pub buffers: Buffers,
    /// Locked while they are made: by one of those who want them, for all.
    documents: Arc<Mutex<Option<Documents>>>,
}

/// Both documents, of one version of the catalogue.
#[derive(Debug, Clone)]
struct Documents {
    version: u64,
    index: Rendered,
    products: Rendered,
}

/// A document as it goes out.
#[derive(Debug, Clone)]
struct Rendered {
    plain: Bytes,
    gzip: Bytes,
    etag: String,
}

impl Rendered {
    fn new(plain: Vec<u8>) -> Result<Self> {
        // Lists compress tenfold at any level; the lowest costs the least.
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let gzip = gzip.write_all(&plain).and_then(|()| gzip.finish()).map_err(Error::internal)?;
        let etag = hex(&Sha256::digest(&plain)[..16]);
        Ok(Self { plain: plain.into(), gzip: gzip.into(), etag })
    }

    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse> {
        let zipped = accepts_gzip(request);
        // Two encodings are two representations: a cache must not take one for the other.
        let etag = format!("\"{}{}\"", self.etag, if zipped { "-gzip" } else { "" });
        let facts = Facts { etag: Some(etag.clone()), modified_s: None, size: None };
        let verdict = judge(request.headers(), &facts);
        let mut response = match verdict {
            Verdict::Failed => return Err(Error::new(Kind::Precondition, "The document is another by now.")),
            Verdict::NotModified => HttpResponse::NotModified(),
            _ => HttpResponse::Ok(),
        };
        response.insert_header((header::ETAG, etag)).insert_header((header::VARY, "Accept-Encoding"));
        // It may change at any moment, and asking whether it did is cheap.
        response.insert_header((header::CACHE_CONTROL, "no-cache"));
        if verdict == Verdict::NotModified {
            return Ok(response.finish());
        }
        response.content_type("application/json");
        if zipped {
            response.insert_header((header::CONTENT_ENCODING, "gzip"));
        }
        Ok(response.body(if zipped { self.gzip.clone() } else { self.plain.clone() }))
    }
}

/// Whether the client takes gzip. Nobody weighs encodings against each other in earnest: naming it is enough, `q=0` is not.
fn accepts_gzip(request: &HttpRequest) -> bool {
    text(request.headers(), header::ACCEPT_ENCODING).is_some_and(|list| {
        list.split(',').any(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0f32));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    })
}

impl Simplestreams {
    /// Over a service.
    pub fn new(registry: Arc<Registry>, auth: AuthRules, buffers: Buffers) -> Self {
        Self { registry, auth, buffers, documents: Arc::default() }
    }

    /// Whether somebody may read: everybody where everybody may read public images, and else who has the keys of an account.
    fn admit(&self, request: &HttpRequest) -> Result<()> {
        let unknown = || Error::new(Kind::Unauthenticated, "This needs the keys of an account.");
        let Some(given) = text(request.headers(), header::AUTHORIZATION) else {
            let open = self.auth.is_open()? || self.auth.public_read;
            return if open { Ok(()) } else { Err(unknown()) };
        };
        let pair = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let pair = pair.and_then(|(_, pair)| STANDARD.decode(pair.trim()).ok());
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).ok_or_else(unknown)?;
        let (name, secret) = pair.split_once(':').ok_or_else(unknown)?;
        if self.auth.is_open()? {
            return Ok(());
        }
        let peer = request.peer_addr().map(|peer| peer.ip());
        self.auth.with_keys(name, secret, peer, self.registry.now())?.map(drop).ok_or_else(unknown)
    }

    /// The documents of the catalogue as it is, or is by the time that they are made. They are made once for each of its
    /// versions at the most, and one after the other.
    async fn documents(&self) -> Result<Documents> {
        let wanted = self.registry.version()?;
        let mut kept = self.documents.lock().await;
        // Whoever has waited takes what was made meanwhile, and does not ask for what has changed since.
        let version = self.registry.version()?;
        if let Some(known) = kept.as_ref().filter(|known| (wanted..=version).contains(&known.version)) {
            return Ok(known.clone());
        }
        let products = document::products(&self.registry).await?;
        let made = elsewhere(move || {
            let index = Rendered::new(document::index(&products)?)?;
            Ok(Documents { version, index, products: Rendered::new(products.into_json()?)? })
        });
        Ok(kept.insert(made.await?).clone())
    }
}

/// Methods that are not here are not found, as with any web server of files.
fn tables() -> Vec<RouteTable> {
    let routes = vec![
        read("/{document}.json", Action::ListImages, read_document),
        read("/files/{fingerprint}/{name}", Action::Download, read_file),
    ];
    vec![RouteTable::below("/streams/v1", Answers { no_method: None, no_path: None }, routes)]
}

async fn read_document(request: HttpRequest, state: Data<Simplestreams>, name: Path<String>) -> HttpResponse {
    let answer = async {
        state.admit(&request)?;
        let path = format!("streams/v1/{name}.json");
        let documents = state.documents().await?;
        match path.as_str() {
            INDEX_PATH => documents.index.answer(&request),
            PRODUCTS_PATH => documents.products.answer(&request),
            _ => Err(Error::new(Kind::NotFound, "There is no such document.")),
        }
    };
    answer.await.unwrap_or_else(|error| refusal(&error))
}

async fn read_file(request: HttpRequest, state: Data<Simplestreams>, path: Path<(String, String)>) -> HttpResponse {
    let answer = async {
        state.admit(&request)?;
        let (fingerprint, name) = path.into_inner();
        let nothing = || Error::new(Kind::NotFound, "There is no such file.");
        let fingerprint = fingerprint_of(&fingerprint).ok_or_else(nothing)?;
        let image = state.registry.lxd().published(&fingerprint).await.map_err(|_| nothing())?;
        let file = files_of(&image)?.into_iter().find(|file| document::name_of(file.role) == name);
        let file = file.ok_or_else(nothing)?;
        let modified = image.uploaded_at.unwrap_or(image.created_at);
        let facts = Facts {
            etag: file.sha256.map(|sha256| format!("\"{}\"", hex(&sha256))),
            modified_s: Some(modified.seconds()),
            size: Some(file.size),
        };
        let (whole, size) = (image.id, file.size);
        let registry = Arc::clone(&state.registry);
        let origin = Origin { registry, who: Caller::Anonymous, image, file: Some(file), opened: OpenBody::default() };
        match deliver_from(&origin, facts, &state.buffers, &request, |_: &mut HttpResponseBuilder| {}).await {
            Err(error) if error.kind() == Kind::BadRange => Ok(refuse(&error, |response| {
                response.insert_header(unsatisfiable(size));
            })),
            answer => {
                let answer = answer?;
                state.registry.touch(whole);
                Ok(answer)
            }
        }
    };
    answer.await.unwrap_or_else(|error| refusal(&error))
}

/// No form of errors is agreed on here: the status says it to programs, a line of text to people.
fn refusal(error: &Error) -> HttpResponse {
    refuse(error, |_| {})
}

/// The same with more headers.
fn refuse(error: &Error, headers: impl FnOnce(&mut HttpResponseBuilder)) -> HttpResponse {
    let status = match error.kind() {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::Conflict | Kind::AlreadyExists => StatusCode::CONFLICT,
        Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Invalid
        | Kind::TooLarge
        | Kind::TooMany
        | Kind::MediaType
        | Kind::BadContent
        | Kind::Unsupported
        | Kind::DigestMismatch
        | Kind::Incomplete
        | Kind::TooSlow => StatusCode::BAD_REQUEST,
    };
    if error.kind() == Kind::Internal {
        log::error!("{error}: {}", error.causes());
    }
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"visor\"")));
    }
    headers(&mut response);
    response.content_type("text/plain; charset=utf-8").body(format!("{error}\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Accounts;
    use crate::account::tokens::Tokens;
    use crate::blob::{Linked, MemoryStore, Stores};
    use crate::catalog::Catalog;
    use crate::fetch::{FetchRules, Fetcher};
    use crate::image::{ImagePatch, Timestamp};
    use crate::inspect::Rules;
    use crate::registry::{Expected, Instances, Limits, RateLimits, system_clock};

    fn service(dir: &std::path::Path) -> Simplestreams {
        let limits = Limits {
            publish: crate::registry::policy::Publish::Owner,
            image_bytes_max: 1,
            uploads_max: 1,
            free_bytes_min: 0,
            inspect: Rules::default(),
            sha512: false,
            offer_disks: false,
            keep_removed: Duration::ZERO,
            patience: RateLimits { idle: Duration::ZERO, bytes_per_second_min: 1 },
        };
        let (linked, fetcher) = (Linked::new(Vec::new()), Fetcher::new(FetchRules::default()));
        let (catalog, store) = (Catalog::open(dir, 1 << 20).unwrap(), Box::new(MemoryStore::new()));
        let registry =
            Registry::new(catalog, Stores::local(store), linked, Instances::default(), fetcher, system_clock, limits);
        let auth = AuthRules {
            accounts: Arc::new(Accounts::open(dir).unwrap()),
            tokens: Arc::new(Tokens::open(dir, Duration::ZERO, Timestamp(0)).unwrap()),
            open_without_accounts: true,
            public_read: true,
            date_window: Duration::ZERO,
            attempts: Arc::default(),
        };
        Simplestreams::new(registry, auth, Buffers::for_reads())
    }

    #[actix_web::test]
    async fn documents_are_made_once_for_all_who_want_them() {
        let dir = tempfile::tempdir().unwrap();
        let state = service(dir.path());
        let all = || futures_util::future::join_all((0..8).map(|_| state.documents()));
        let made: Vec<Documents> = all().await.into_iter().map(Result::unwrap).collect();
        let first = made[0].products.plain.as_ptr();
        assert!(made.iter().all(|one| one.products.plain.as_ptr() == first));
        assert_eq!(state.documents().await.unwrap().products.plain.as_ptr(), first);
        state
            .registry
            .create(&Caller::Admin(None), None, &ImagePatch::default(), None, &Expected::default())
            .await
            .unwrap();
        let again: Vec<Documents> = all().await.into_iter().map(Result::unwrap).collect();
        assert!(again.iter().all(|one| one.version == again[0].version && one.version > made[0].version));
    }
}
