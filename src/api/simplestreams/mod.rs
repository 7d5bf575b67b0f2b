//! Simplestreams: the public images as two documents and the files that they name, for LXD, Incus and mirroring tools.
//!
//! Read-only, and made of the current catalogue: no file is generated. Its clients know no accounts, but may have
//! a user name and a password in the server's URL. It knows no other protocol.

mod document;
pub(in crate::api) mod error;

use std::io::Write;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use self::document::{INDEX_PATH, PRODUCTS_PATH};
use self::error::{no_path, render};
use super::auth::{AuthRules, plain_reader};
use super::{Setup, elsewhere};
use crate::digest::hex;
use crate::error::{Error, Reason, Result};
use crate::http::conditional::{Facts, Verdict, judge};
use crate::http::deliver::deliver_from;
use crate::http::headers::text;
use crate::http::origin::{Buffers, Origin};
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, RouteTable, read};
use crate::registry::policy::Action;
use crate::registry::{Caller, Delivery, Registry, files_of, fingerprint_of};

/// The protocol.
pub(super) static PROTOCOL: Protocol = Protocol { name: "simplestreams", covers, tables, render, no_path };

/// Opens the protocol on a server.
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

/// State that the handlers share.
#[derive(Debug, Clone)]
pub struct Simplestreams {
    /// The service.
    pub registry: Arc<Registry>,
    /// Rules for callers.
    pub auth: AuthRules,
    /// Buffers for bytes of answers.
    pub buffers: Buffers,
    /// Rendered documents. The lock is held while one request renders them for all that wait.
    documents: Arc<Mutex<Option<Documents>>>,
}

/// Both documents, of one version of the catalogue.
#[derive(Debug, Clone)]
struct Documents {
    version: u64,
    index: Rendered,
    products: Rendered,
}

/// A rendered document.
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
        // Two encodings are two representations, so a cache needs two tags.
        let etag = format!("\"{}{}\"", self.etag, if zipped { "-gzip" } else { "" });
        let facts = Facts { etag: Some(etag.clone()), modified_s: None, size: None };
        let verdict = judge(request.headers(), &facts);
        let mut response = match verdict {
            Verdict::Failed => {
                return Err(Reason::ConditionFailed.saying("The document does not meet the condition of the request."));
            }
            Verdict::NotModified => HttpResponse::NotModified(),
            _ => HttpResponse::Ok(),
        };
        response.insert_header((header::ETAG, etag)).insert_header((header::VARY, "Accept-Encoding"));
        // The document may change at any moment, and revalidation is cheap.
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

/// Tells whether the client accepts gzip. Its name in the header is enough, unless it has `q=0`; other weights are
/// ignored.
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
    /// Creates the state over a service.
    pub fn new(registry: Arc<Registry>, auth: AuthRules, buffers: Buffers) -> Self {
        Self { registry, auth, buffers, documents: Arc::default() }
    }

    /// Checks that a request may read: any request where `public_read` is set, else one with the keys of an account or a token.
    async fn admit(&self, request: &HttpRequest) -> Result<()> {
        if self.auth.is_open()? {
            return Ok(());
        }
        match plain_reader(request, &self.auth, self.registry.now()).await? {
            None if request.headers().contains_key(header::AUTHORIZATION) || !self.auth.public_read => {
                Err(Reason::BadCredentials.into())
            }
            _ => Ok(()),
        }
    }

    /// The documents of the current catalogue, or of a later version. They are rendered at most once for each version,
    /// and never twice at a time.
    async fn documents(&self) -> Result<Documents> {
        let wanted = self.registry.version()?;
        let mut kept = self.documents.lock().await;
        // A request that waited takes the documents that were rendered meanwhile, without later changes.
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

/// The tables of routes. Other methods are answered as not found, as by any web server of files.
fn tables() -> Vec<RouteTable> {
    let routes = vec![
        read("/{document}.json", Action::ListImages, read_document),
        read("/files/{fingerprint}/{name}", Action::Download, read_file),
    ];
    vec![RouteTable::below("/streams/v1", Answers { no_method: None, no_path: None }, routes)]
}

async fn read_document(request: HttpRequest, state: Data<Simplestreams>, name: Path<String>) -> HttpResponse {
    let answer = async {
        state.admit(&request).await?;
        let path = format!("streams/v1/{name}.json");
        let documents = state.documents().await?;
        match path.as_str() {
            INDEX_PATH => documents.index.answer(&request),
            PRODUCTS_PATH => documents.products.answer(&request),
            _ => Err(Reason::NotFound.into()),
        }
    };
    answer.await.unwrap_or_else(|error| render(&request, &error))
}

async fn read_file(request: HttpRequest, state: Data<Simplestreams>, path: Path<(String, String)>) -> HttpResponse {
    let answer = async {
        state.admit(&request).await?;
        let (fingerprint, name) = path.into_inner();
        let nothing = || Error::from(Reason::NotFound);
        let fingerprint = fingerprint_of(&fingerprint).ok_or_else(nothing)?;
        let image = state.registry.lxd().published(&fingerprint).await?;
        let file = files_of(&image)?.into_iter().find(|file| document::name_of(file.role) == name);
        let file = file.ok_or_else(nothing)?;
        let modified = image.uploaded_at.unwrap_or(image.created_at);
        let facts = Facts {
            etag: file.sha256.map(|sha256| format!("\"{}\"", hex(&sha256))),
            modified_s: Some(modified.seconds()),
            size: Some(file.size),
        };
        state.registry.downloads().permit(&Caller::Anonymous, &image)?;
        let whole = image.id;
        let source = Arc::new((Arc::clone(&state.registry), image, file));
        let origin = Origin::new(move |range| {
            let source = Arc::clone(&source);
            async move {
                let (registry, image, file) = &*source;
                let is_whole = range.is_none();
                let opened = registry.lxd().open_file(&Caller::Anonymous, image, file, range).await;
                opened.map(|body| Delivery::exact(body, is_whole))
            }
        });
        let answer = deliver_from(&origin, facts, &state.buffers, &request, |_: &mut HttpResponseBuilder| {}).await?;
        state.registry.touch(whole);
        Ok(answer)
    };
    answer.await.unwrap_or_else(|error| render(&request, &error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Accounts;
    use crate::account::links::Links;
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
            unpack_imports: false,
            sha512: false,
            url_digests: false,
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
            links: Arc::new(Links::open(dir).unwrap()),
            open_without_accounts: true,
            public_read: true,
            date_window: Duration::ZERO,
            attempts: Arc::default(),
            keystone: None,
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
