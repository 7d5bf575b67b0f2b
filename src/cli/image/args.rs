//! What the commands are told, and what that means for the server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::failure::{Exit, Failure};

/// Which server.
#[derive(Debug, Args)]
pub(in crate::cli) struct Server {
    /// The server's address
    #[arg(short, long)]
    pub(super) address: Option<String>,
    /// The server's port
    #[arg(short, long)]
    pub(super) port: Option<u16>,
    /// Say more, and how long it took
    #[arg(short, long)]
    pub(super) verbose: bool,
}

/// Which images.
#[derive(Debug, Args)]
pub(in crate::cli) struct Which {
    /// Only images with these attributes: 'k=v&k=v'
    #[arg(short, long)]
    query: Option<String>,
    /// Order by this attribute
    #[arg(short, long)]
    sort: Option<String>,
    /// asc or desc
    #[arg(short, long)]
    dir: Option<String>,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImageCommand {
    /// List images, a line each
    Brief {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        server: Server,
    },
    /// List images with all their attributes
    Detail {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        server: Server,
    },
    /// Show one image
    Head {
        /// Its id
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Download an image's file, or what is left of it
    Get {
        /// Its id
        id: String,
        /// Directory to save it in; - is standard output
        #[arg(short = 'S', long, default_value = ".")]
        save: PathBuf,
        #[command(flatten)]
        server: Server,
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
        server: Server,
    },
    /// Change an image, and upload its file
    Update {
        /// Its id
        id: String,
        /// Attributes: k=v …
        attributes: Vec<String>,
        /// The file; - is standard input
        #[arg(short, long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// Remove images and their files
    Delete {
        /// Their ids
        ids: Vec<String>,
        /// Or all with these attributes: 'k=v&k=v'
        #[arg(short, long, conflicts_with = "ids")]
        query: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

/// `k=v` arguments. A value may have a `=` of its own; a `-` in a name means `_`.
pub(super) fn meta(attributes: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let wrong = |text: &String| Failure::new(Exit::Usage, format!("'{text}' is no attribute like name=value"));
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
    fn attributes_are_names_and_values() {
        let pairs = meta(&["my-attr=a=b".into(), "empty=".into()]).unwrap();
        assert_eq!(pairs, [("my_attr".into(), "a=b".into()), ("empty".into(), String::new())]);
        for bad in ["name", "=x", ""] {
            assert_eq!(meta(&[bad.into()]).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        assert_eq!(query_pairs("a=1&b=2&").unwrap().len(), 2);
    }
}
