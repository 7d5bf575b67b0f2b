//! Clients of other image servers: the images API of LXD and Incus, simplestreams, and the header scheme by which LXD
//! imports from a URL. All of them use the one guarded way out.
//!
//! Knows their wire forms, and nothing of our catalogue, of who asks us, or of how we answer. Whatever comes from there is
//! hostile: it is bounded in bytes and time, names are names and never paths, and what was announced is what has to come. The
//! identity of a whole image, its fingerprint, is checked where the bytes are stored, as for any upload.

mod download;
mod file;
mod forms;
mod lxd;
mod push;
mod server;
mod simplestreams;
#[cfg(test)]
mod tests;
mod url;

use std::collections::BTreeMap;
use std::fmt;

pub use self::download::Download;
pub use self::file::{File, Part};
pub use self::push::{Outgoing, Parcel, Push};
use self::server::Server;
pub use self::simplestreams::this_machine;
pub use self::url::{INCUS_LEVEL, LXD_LEVEL, UrlAnswer};
use crate::error::{Error, Reason, Result};
use crate::fetch::{Fetcher, RetryEvent};
use crate::image::{Architecture, ImageKind, Protocol, Timestamp};

/// Longest name of an image that is asked for, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// A request for an image of a server.
#[derive(Clone)]
pub struct Ask {
    /// Its URL, such as `https://images.example.org` or `https://lab:8443`.
    pub server: String,
    /// The server's protocol.
    pub protocol: Protocol,
    /// An alias, a fingerprint, or the beginning of one.
    pub image: String,
    /// The certificate that the server has to have, in PEM; without one, or with an empty one, any that the system trusts.
    pub certificate: Option<String>,
    /// Secret for an image that is not public. Valid for one request and those within a few seconds after it.
    pub secret: Option<String>,
    /// A container or a virtual machine; without a wish, a container if there is one.
    pub kind: Option<ImageKind>,
    /// For which processor, where an alias stands for several. Without a wish this machine's own, then one whose programs
    /// it runs, then any.
    pub architecture: Option<Architecture>,
    /// The project on the server.
    pub project: Option<String>,
}

impl Ask {
    fn secret(&self) -> Option<&str> {
        self.secret.as_deref().filter(|secret| !secret.is_empty())
    }

    fn project(&self) -> Option<&str> {
        self.project.as_deref().filter(|project| !project.is_empty())
    }
}

impl fmt::Debug for Ask {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, protocol, image, kind, architecture, project, .. } = self;
        f.debug_struct("Ask")
            .field("server", server)
            .field("protocol", protocol)
            .field("image", image)
            .field("kind", kind)
            .field("architecture", architecture)
            .field("project", project)
            .finish_non_exhaustive()
    }
}

/// An image that a server has.
#[derive(Debug, Clone)]
pub struct Found {
    /// SHA-256 of its files, one after the other.
    pub fingerprint: [u8; 32],
    /// The request named an alias, which may stand for another image tomorrow.
    pub by_alias: bool,
    /// Container or virtual machine.
    pub kind: ImageKind,
    /// The processor it is for.
    pub architecture: Architecture,
    /// Its file name there, if it is one that is nothing but a name; else empty.
    pub filename: String,
    /// Properties on the server.
    pub properties: BTreeMap<String, String>,
    /// Time of its build.
    pub created_at: Option<Timestamp>,
    /// Time after which it is out of date.
    pub expires_at: Option<Timestamp>,
    /// Bytes of all its files together, as announced: more will not come.
    pub size: Option<u64>,
    files: Files,
}

/// Places of an image's files.
#[derive(Debug, Clone)]
enum Files {
    /// The server hands them out together.
    Export,
    /// Each lies on its own, in the order of the fingerprint.
    Listed(Vec<file::Listed>),
}

/// The client of other image servers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Upstream {
    fetcher: Fetcher,
}

impl Upstream {
    /// A client that goes out through `fetcher`.
    pub fn new(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }

    /// This client, which tells of its pauses before it asks a server again.
    pub fn telling(&self, listener: impl Fn(RetryEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { fetcher: self.fetcher.telling(listener) }
    }

    /// Asks for an image, as an alias first and then by fingerprint: clients put an alias where a fingerprint belongs.
    ///
    /// # Errors
    /// `Invalid` for what can't be asked; `NotFound` when there is no such image there; `Conflict` when the beginning of a
    /// fingerprint is that of several; `Unsupported` for a processor that we don't know; `Upstream` for a server that does
    /// not answer as it should.
    pub async fn find(&self, ask: &Ask) -> Result<Found> {
        if ask.image.is_empty() {
            return Err(Reason::NoImageNamed.into());
        }
        if ask.image.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("The name of an image has at most {NAME_BYTES_MAX} bytes.")));
        }
        let server = self.server_of(ask)?;
        match ask.protocol {
            Protocol::Lxd | Protocol::Incus => lxd::find(&self.fetcher, &server, ask).await,
            Protocol::Simplestreams => simplestreams::find(&self.fetcher, &server, ask).await,
        }
    }

    fn server_of(&self, ask: &Ask) -> Result<Server> {
        let server = Server::new(&self.fetcher, &ask.server, ask.certificate.as_deref())?;
        // Where a secret is good for one request, a second one would only hide the failure of the first.
        Ok(if ask.secret().is_some() { server.asked_once() } else { server })
    }

    /// Begins to bring in the files of an image that was found by the same question. With a secret, within five seconds of
    /// that: then the server forgets it.
    ///
    /// # Errors
    /// As [`Upstream::find`]; what goes wrong later, the download says.
    pub async fn download(&self, ask: &Ask, found: &Found) -> Result<Download> {
        let server = self.server_of(ask)?;
        match &found.files {
            Files::Export => lxd::export(&self.fetcher, &server, ask, found).await,
            Files::Listed(files) => Ok(Download::listed(self.fetcher.clone(), server, files.clone())),
        }
    }
}
