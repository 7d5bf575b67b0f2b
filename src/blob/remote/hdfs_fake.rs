//! A namenode and a datanode that keep their files in memory and answer as WebHDFS's document says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::fetch::fake::{Asked, Fake, Say, answer};

/// The user that requests must name.
pub(super) const USER: &str = "vm images";

/// Entries of a page of a list: few, so that there are several.
const PAGE: usize = 3;

/// Paths and what is there: bytes, or a directory.
type Files = Arc<Mutex<BTreeMap<String, Option<Vec<u8>>>>>;

/// Says something else than the servers would: gets whether the namenode is asked, and what.
pub(super) type Disturb = Arc<dyn Fn(bool, &Asked, &Files) -> Option<Say> + Send + Sync>;

/// Both servers.
pub(super) struct Hdfs {
    pub(super) namenode: Fake,
    pub(super) datanode: Fake,
    pub(super) files: Files,
    /// True if it can name the place of the bytes without a redirect.
    pub(super) knows_noredirect: Arc<AtomicBool>,
}

impl Hdfs {
    pub(super) fn new() -> Self {
        Self::disturbed(Arc::new(|_, _, _| None))
    }

    pub(super) fn disturbed(disturb: Disturb) -> Self {
        let files = Files::default();
        let (there, wrong) = (Arc::clone(&files), Arc::clone(&disturb));
        let datanode = Fake::serving(None, move |asked| {
            wrong(false, asked, &there).unwrap_or_else(|| Request::of(asked).at_datanode(asked, &there))
        });
        let knows_noredirect = Arc::new(AtomicBool::new(true));
        let (there, known, data) = (Arc::clone(&files), Arc::clone(&knows_noredirect), datanode.url(""));
        let namenode = Fake::serving(None, move |asked| {
            let request = Request::of(asked);
            disturb(true, asked, &there)
                .unwrap_or_else(|| request.at_namenode(&there, &data, known.load(Ordering::Relaxed)))
        });
        Self { namenode, datanode, files, knows_noredirect }
    }

    /// The paths of all files.
    pub(super) fn paths(&self) -> Vec<String> {
        let files = self.files.lock().unwrap();
        files.iter().filter(|(_, what)| what.is_some()).map(|(path, _)| path.clone()).collect()
    }
}

/// A request.
struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
}

fn ok(body: &Value) -> Say {
    answer("200 OK", "Content-Type: application/json\r\n", body.to_string())
}

/// The error of this name, as Hadoop words one.
pub(super) fn exception(status: &str, name: &str) -> Say {
    let exception = json!({ "exception": name, "javaClassName": format!("org.apache.hadoop.{name}"), "message": "no" });
    answer(status, "Content-Type: application/json\r\n", json!({ "RemoteException": exception }).to_string())
}

impl Request {
    fn of(asked: &Asked) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let (path, query) = asked.target().split_once('?').unwrap_or((asked.target(), ""));
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            method: asked.head.split(' ').next().unwrap().to_owned(),
            path: decoded(path.strip_prefix("/webhdfs/v1").unwrap()).trim_end_matches('/').to_owned(),
            query: pairs.map(|(name, value)| (decoded(name), decoded(value))).collect(),
        }
    }

    fn said(&self, name: &str) -> Option<&str> {
        let mut all = self.query.iter().filter(|(other, _)| other == name);
        let first = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} is said twice");
        first
    }

    fn at_namenode(&self, files: &Files, data: &str, knows_noredirect: bool) -> Say {
        if self.said("user.name") != Some(USER) {
            return exception("401 Unauthorized", "SecurityException");
        }
        let mut files = files.lock().unwrap();
        let missing = || exception("404 Not Found", "FileNotFoundException");
        match (self.method.as_str(), self.said("op").unwrap()) {
            ("GET", "GETFILESTATUS") => match files.get(&self.path) {
                Some(what) => ok(&json!({ "FileStatus": status("", what.as_deref()) })),
                None if self.path.is_empty() => ok(&json!({ "FileStatus": status("", None) })),
                None => missing(),
            },
            ("GET", "LISTSTATUS_BATCH") => {
                if !self.path.is_empty() && !files.contains_key(&self.path) {
                    return missing();
                }
                let below = format!("{}/", self.path);
                let after = self.said("startAfter").unwrap_or_default();
                let names = files.iter().filter_map(|(path, what)| Some((path.strip_prefix(&below)?, what)));
                let all: Vec<Value> = names
                    .filter(|(name, _)| !name.contains('/') && *name > after)
                    .map(|(name, what)| status(name, what.as_deref()))
                    .collect();
                let (page, left) = all.split_at(all.len().min(PAGE));
                let listing = json!({ "FileStatuses": { "FileStatus": page } });
                ok(&json!({ "DirectoryListing": { "partialListing": listing, "remainingEntries": left.len() } }))
            }
            ("PUT", "MKDIRS") => {
                make_directories(&mut files, &format!("{}/x", self.path));
                ok(&json!({ "boolean": true }))
            }
            ("DELETE", "DELETE") => ok(&json!({ "boolean": files.remove(&self.path).is_some() })),
            ("PUT", "RENAME") => {
                let to = self.said("destination").unwrap().to_owned();
                let parent = to.rsplit_once('/').unwrap().0;
                let may = files.contains_key(&self.path) && !files.contains_key(&to) && files.contains_key(parent);
                if may && let Some(what) = files.remove(&self.path) {
                    files.insert(to, what);
                }
                ok(&json!({ "boolean": may }))
            }
            ("GET", "OPEN") | ("POST", "APPEND") if !files.contains_key(&self.path) => missing(),
            ("GET", "OPEN") | ("PUT", "CREATE") | ("POST", "APPEND") => {
                let place = self.place(data);
                if knows_noredirect && self.said("noredirect") == Some("true") {
                    ok(&json!({ "Location": place }))
                } else {
                    answer("307 Temporary Redirect", &format!("Location: {place}\r\n"), "")
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// URL of the bytes, with the user and the namenode.
    fn place(&self, data: &str) -> String {
        let encoded =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let said = self.query.iter().filter(|(name, _)| name != "noredirect");
        let query: String = said.map(|(name, value)| format!("{name}={}&", encoded(value))).collect();
        let path = self.path.split('/').map(encoded).collect::<Vec<_>>().join("/");
        format!("{data}webhdfs/v1{path}?{query}namenoderpcaddress=namenode:8020")
    }

    fn at_datanode(&self, asked: &Asked, files: &Files) -> Say {
        assert_eq!(self.said("namenoderpcaddress"), Some("namenode:8020"));
        assert_eq!(self.said("user.name"), Some(USER));
        assert!(asked.header("authorization").is_none());
        let mut files = files.lock().unwrap();
        match (self.method.as_str(), self.said("op").unwrap()) {
            ("PUT" | "POST", _) if asked.header("content-length").is_none() => answer("411 Length Required", "", ""),
            ("PUT", "CREATE") => {
                assert_eq!(self.said("overwrite"), Some("true"));
                make_directories(&mut files, &self.path);
                files.insert(self.path.clone(), Some(asked.body.clone()));
                answer("201 Created", &format!("Location: hdfs://namenode:8020{}\r\n", self.path), "")
            }
            ("POST", "APPEND") => match files.get_mut(&self.path) {
                Some(Some(bytes)) => {
                    bytes.extend_from_slice(&asked.body);
                    answer("200 OK", "", "")
                }
                _ => exception("404 Not Found", "FileNotFoundException"),
            },
            ("GET", "OPEN") => {
                let Some(Some(bytes)) = files.get(&self.path) else {
                    return exception("404 Not Found", "FileNotFoundException");
                };
                let number = |name| self.said(name).map(|value| value.parse::<usize>().unwrap());
                let rest = &bytes[number("offset").unwrap_or(0)..];
                let length = number("length").unwrap_or(rest.len()).min(rest.len());
                answer("200 OK", "Content-Type: application/octet-stream\r\n", &rest[..length])
            }
            other => panic!("{other:?}"),
        }
    }
}

fn status(name: &str, what: Option<&[u8]>) -> Value {
    json!({
        "accessTime": 0, "blockSize": 134_217_728, "group": "supergroup", "owner": USER, "permission": "644",
        "replication": 1, "pathSuffix": name, "modificationTime": 1_320_173_277_227_i64,
        "length": what.map_or(0, <[u8]>::len), "type": if what.is_some() { "FILE" } else { "DIRECTORY" },
    })
}

/// Makes the directories that a path lies in.
fn make_directories(files: &mut BTreeMap<String, Option<Vec<u8>>>, path: &str) {
    for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
        files.entry(path[..at].to_owned()).or_insert(None);
    }
}
