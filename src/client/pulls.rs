//! Pulls, vendors and the cache of a server, as values of JSON. Knows no terminal.

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Client, ClientError, Record, Result, checked, json as answered, record};

impl Client {
    async fn exchange(&self, method: Method, url: Url, body: Option<&impl Serialize>, key: &str) -> Result<Value> {
        let mut request = Request::new(method, url);
        if let Some(body) = body {
            let bytes = serde_json::to_vec(body).map_err(|error| ClientError::Invalid(error.to_string()))?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(bytes.into());
        }
        answered(checked(self.send(request).await?).await?, key).await
    }

    async fn read(&self, url: Url, key: &str) -> Result<Value> {
        self.exchange(Method::GET, url, None::<&Value>, key).await
    }

    /// Begins a pull, and returns its job. `ask` has a `name`, and more as the server's documentation says.
    ///
    /// # Errors
    /// As the server says.
    pub async fn start_pull(&self, ask: &impl Serialize) -> Result<Record> {
        record(self.exchange(Method::POST, self.url("/pulls")?, Some(ask), "job").await?)
    }

    /// Images that were pulled: a list.
    ///
    /// # Errors
    /// As the server says.
    pub async fn pulled(&self) -> Result<Value> {
        self.read(self.url("/pulls")?, "pulls").await
    }

    /// Vendors that the server knows: a list.
    ///
    /// # Errors
    /// As the server says.
    pub async fn vendors(&self) -> Result<Value> {
        self.read(self.url("/vendors")?, "vendors").await
    }

    /// Builds that a vendor has now: a list.
    ///
    /// # Errors
    /// As the server says.
    pub async fn builds(&self, vendor: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut url = self.url("/vendors")?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(vendor);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.read(url, "builds").await
    }

    /// The cache and its files.
    ///
    /// # Errors
    /// As the server says.
    pub async fn cache(&self) -> Result<Value> {
        self.read(self.url("/cache")?, "cache").await
    }

    /// Puts the server's cache offline, or online again.
    ///
    /// # Errors
    /// As the server says.
    pub async fn set_offline(&self, offline: bool) -> Result<Value> {
        let body = json!({ "offline": offline });
        self.exchange(Method::PUT, self.url("/cache")?, Some(&body), "cache").await
    }

    /// Makes room in the cache, or says what would go. `to` is the number of bytes that may be left.
    ///
    /// # Errors
    /// As the server says.
    pub async fn prune(&self, to: Option<u64>, dry_run: bool) -> Result<Value> {
        let body = json!({ "to": to, "dry_run": dry_run });
        self.exchange(Method::POST, self.url("/cache/prune")?, Some(&body), "pruned").await
    }

    /// Has a file of the cache compared with its server, and fetched again if it is not current.
    ///
    /// # Errors
    /// As the server says.
    pub async fn refresh_cached(&self, url: &str) -> Result<()> {
        self.change_cached(Method::POST, url, None).await
    }

    /// Removes a file from the cache.
    ///
    /// # Errors
    /// As the server says.
    pub async fn drop_cached(&self, url: &str) -> Result<()> {
        self.change_cached(Method::DELETE, url, None).await
    }

    /// Keeps a file of the cache from being removed for room, or lets it go again.
    ///
    /// # Errors
    /// As the server says.
    pub async fn pin_cached(&self, url: &str, pinned: bool) -> Result<()> {
        self.change_cached(Method::PUT, url, Some(json!({ "pinned": pinned }))).await
    }

    async fn change_cached(&self, method: Method, url: &str, body: Option<Value>) -> Result<()> {
        let mut at = self.url("/cache/entry")?;
        at.query_pairs_mut().append_pair("url", url);
        self.exchange(method, at, body.as_ref(), "entry").await.map(drop)
    }
}
