//! Share links of images.

use std::time::Duration;

use reqwest::{Method, Request};
use serde_json::Value;

use super::{Client, ClientError, Record, Result, checked, garbled, json, record};

impl Client {
    /// Makes a link that opens an image for a time. The record's `uri` is the whole address.
    ///
    /// # Errors
    /// As the server says.
    pub async fn make_link(&self, image: &str, life: Duration) -> Result<Record> {
        let mut url = self.links_of(image, None)?;
        url.query_pairs_mut().append_pair("for", &format!("{}s", life.as_secs()));
        record(json(checked(self.send(Request::new(Method::POST, url)).await?).await?, "link").await?)
    }

    /// Links of an image that hold now, oldest first, without their signatures.
    ///
    /// # Errors
    /// As the server says.
    pub async fn links(&self, image: &str) -> Result<Vec<Record>> {
        let answer = self.send(Request::new(Method::GET, self.links_of(image, None)?)).await?;
        let Value::Array(links) = json(checked(answer).await?, "links").await? else { return Err(garbled()) };
        links.into_iter().map(record).collect()
    }

    /// Revokes a link of an image. Returns its last record.
    ///
    /// # Errors
    /// As the server says.
    pub async fn revoke_link(&self, image: &str, link: &str) -> Result<Record> {
        let url = self.links_of(image, Some(link))?;
        record(json(checked(self.send(Request::new(Method::DELETE, url)).await?).await?, "link").await?)
    }

    fn links_of(&self, image: &str, link: Option<&str>) -> Result<reqwest::Url> {
        let mut url = self.image(image)?;
        let path = match link {
            None => format!("{}/links", url.path()),
            Some(link) if !link.is_empty() && link.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                format!("{}/links/{link}", url.path())
            }
            Some(link) => return Err(ClientError::Invalid(format!("'{link}' is not the id of a link"))),
        };
        url.set_path(&path);
        Ok(url)
    }
}
