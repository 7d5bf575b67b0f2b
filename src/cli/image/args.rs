//! Arguments of the image commands, and their form for the server.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::failure::{Exit, Failure};
use crate::config::Client;

/// Address of a server.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlaceArgs {
    /// Address of the server, or its URL
    #[arg(short, long)]
    address: Option<String>,
    /// Port of the server
    #[arg(short, long)]
    port: Option<u16>,
}

impl PlaceArgs {
    /// True if the command line names a server.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.address.is_some() || self.port.is_some()
    }

    /// The URL of the server. The configuration completes the command line.
    pub(in crate::cli) fn url(&self, config: &Client) -> Result<String, Failure> {
        base_url(self.address.as_deref().unwrap_or(&config.address), self.port, config.port)
    }
}

/// The server, and how much to print.
#[derive(Debug, Args)]
pub(in crate::cli) struct ServerArgs {
    #[command(flatten)]
    pub(in crate::cli) place: PlaceArgs,
    /// Print more, and the time that it took
    #[arg(short, long)]
    pub(super) verbose: bool,
}

/// The choice of images.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// Only images with these attributes: 'k=v&k=v'
    #[arg(short, long)]
    query: Option<String>,
    /// Attribute to sort by
    #[arg(short, long)]
    sort: Option<String>,
    /// Direction: asc or desc
    #[arg(short, long)]
    dir: Option<String>,
    /// Number of images, at most
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImageCommand {
    /// List images, one per line
    Brief {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List images with all their attributes
    Detail {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one image
    Head {
        /// Id of the image, its name, or an alias
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Download an image's file, or resume a download
    Get {
        /// Id of the image, its name, or an alias
        id: String,
        /// Directory for the file; - is standard output
        #[arg(short = 'S', long, default_value = ".")]
        save: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Register an image, and upload its file
    Add {
        /// Attributes: name=… architecture=… [k=v …]
        #[arg(required = true)]
        attributes: Vec<String>,
        /// The file; - is standard input
        #[arg(short, long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Change an image, and upload its file
    Update {
        /// Id of the image
        id: String,
        /// Attributes: k=v …
        attributes: Vec<String>,
        /// The file; - is standard input
        #[arg(short, long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Move an image's file to another store, verified before the old file is removed; Ctrl-C leaves the job running
    Move {
        /// Id of the image
        id: String,
        /// The store: file, or a store in the server's configuration
        #[arg(long)]
        store: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print an address that opens an image's file to everyone who has it, until it expires or is revoked
    Link {
        /// Id of the image, its name, or an alias
        id: String,
        /// Time for which the address opens the file, such as 2d or 90min; at most 366d
        #[arg(long = "for", value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
        life: Duration,
        /// List the links of the image, without their signatures
        #[arg(long, conflicts_with = "life")]
        list: bool,
        /// Revoke the link with this id
        #[arg(long, value_name = "LINK", conflicts_with_all = ["life", "list"])]
        revoke: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Offer a disk to LXD and Incus as a virtual machine, or withdraw it
    LxdOffer {
        /// Id of the image
        id: String,
        /// on or off
        #[arg(value_parser = ["on", "off"])]
        offer: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove images and their files
    Delete {
        /// Ids of the images
        ids: Vec<String>,
        /// All images with these attributes: 'k=v&k=v'
        #[arg(short, long, conflicts_with = "ids")]
        query: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Reads the address of a server: an address, `host:port`, or a URL for a server behind TLS.
fn base_url(address: &str, port: Option<u16>, default: u16) -> Result<String, Failure> {
    if let Some((scheme, rest)) = address.split_once("://") {
        let host = rest.trim_end_matches('/');
        return match (scheme, port) {
            ("http" | "https", None) => Ok(format!("{scheme}://{host}")),
            ("http" | "https", Some(port)) => Ok(format!("{scheme}://{host}:{port}")),
            _ => Err(Failure::new(
                Exit::Usage,
                format!("'{address}' is not an address: it must begin with http:// or https://"),
            )),
        };
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("http://[{bare}]:{}", port.unwrap_or(default)));
    }
    match (address.rsplit_once(':'), port) {
        (Some((host, named)), None) if named.parse::<u16>().is_ok() => Ok(format!("http://{host}:{named}")),
        (Some(_), _) => Err(Failure::new(Exit::Usage, format!("'{address}' is not an address, or already has a port"))),
        (None, port) => Ok(format!("http://{address}:{}", port.unwrap_or(default))),
    }
}

/// Reads `k=v` arguments. A value may contain `=`; a `-` in a name means `_`.
pub(super) fn meta(attributes: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let wrong =
        |text: &String| Failure::new(Exit::Usage, format!("'{text}' is not an attribute of the form name=value"));
    attributes
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
            _ => Err(wrong(text)),
        })
        .collect()
}

/// The pairs of `k=v&k=v`.
pub(super) fn query_pairs(query: &str) -> Result<Vec<(String, String)>, Failure> {
    meta(&query.split('&').filter(|pair| !pair.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>())
}

pub(super) fn pairs(which: &Which) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = query_pairs(which.query.as_deref().unwrap_or_default())?;
    let limit = which.limit.map(|limit| limit.to_string());
    for (name, value) in [("sort", &which.sort), ("dir", &which.dir), ("limit", &limit)] {
        pairs.extend(value.clone().map(|value| (name.to_owned(), value)));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_in_every_usual_way() {
        for (address, port, expected) in [
            ("127.0.0.1", None, Some("http://127.0.0.1:4568")),
            ("lab", Some(80), Some("http://lab:80")),
            ("lab:81", None, Some("http://lab:81")),
            ("::1", None, Some("http://[::1]:4568")),
            ("[::1]", Some(9), Some("http://[::1]:9")),
            ("[::1]:9", None, Some("http://[::1]:9")),
            ("https://lab:8443/", None, Some("https://lab:8443")),
            ("https://lab", Some(8443), Some("https://lab:8443")),
            ("lab:81", Some(80), None),
            ("ftp://lab", None, None),
            ("lab:x", None, None),
        ] {
            assert_eq!(base_url(address, port, 4568).ok().as_deref(), expected, "{address} {port:?}");
        }
    }

    #[test]
    fn attributes_are_names_and_values() {
        let pairs = meta(&["my-attr=a=b".into(), "empty=".into()]).unwrap();
        assert_eq!(pairs, [("my_attr".into(), "a=b".into()), ("empty".into(), String::new())]);
        for bad in ["name", "=x", ""] {
            assert_eq!(meta(&[bad.into()]).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        assert_eq!(query_pairs("a=1&b=2&").unwrap().len(), 2);
    }
}
