//! `visor import-glance`: brings the images and metadata definitions of a Glance, or of another Visor, to a running Visor through
//! the image API of both. Bytes go from one to the other without a file in between.

mod bytes;
mod images;
mod metadefs;
mod plan;

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use self::images::ImageImport;
use super::failure::{Exit, Failure};
use super::image::PlaceArgs;
use super::{Globals, bad_ca_file, print, read_ca_file, runtime};
use crate::client::openstack::ImageService;
use crate::config::{CloudSettings, cloud_settings};

/// Arguments of the command.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Ids of the images to import [default: all that the cloud shows]
    ids: Vec<String>,
    /// Cloud in clouds.yaml to import from [default: OS_CLOUD, or the variables OS_AUTH_URL, OS_USERNAME, …]
    #[arg(long, value_name = "NAME")]
    os_cloud: Option<String>,
    /// Show what there is to do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Give images and memberships of one owner there to another one here (repeatable)
    #[arg(long = "owner", value_name = "THERE=HERE")]
    owners: Vec<String>,
    /// Leave metadata definitions out
    #[arg(long)]
    no_metadefs: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Outcome for one image or one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Imported by this run.
    Imported,
    /// To be imported: the word of a dry run.
    Planned,
    /// Here before, with equal bytes.
    Present,
    /// Left out on purpose, for this reason.
    Skipped(String),
    /// Not imported, for this reason.
    Failed(String),
}

impl Outcome {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Imported => ("imported", ""),
            Self::Planned => ("to import", ""),
            Self::Present => ("here already", ""),
            Self::Skipped(why) => ("skipped", why),
            Self::Failed(why) => ("failed", why),
        }
    }
}

/// Outcomes of a run.
#[derive(Debug, Default)]
struct Summary {
    entries: Vec<Value>,
    counts: BTreeMap<&'static str, usize>,
    json: bool,
}

impl Summary {
    /// Notes an outcome, and prints it.
    fn add(&mut self, kind: &'static str, id: &str, name: &str, outcome: &Outcome) -> Result<(), Failure> {
        let (word, why) = outcome.words();
        *self.counts.entry(word).or_default() += 1;
        self.entries.push(json!({ "kind": kind, "id": id, "name": name, "outcome": word, "reason": why }));
        if self.json {
            return Ok(());
        }
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        print::line(print::text(Some(&Value::String(format!("{word:<12}  {kind} {id} {name}{why}")))))
    }

    /// Prints the end, and fails if anything did.
    fn finish(self) -> Result<(), Failure> {
        let counts: Vec<String> = self.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        match self.json {
            true => print::line(json!({ "entries": self.entries, "counts": self.counts }))?,
            false if counts.is_empty() => print::line("nothing to import")?,
            false => print::line(counts.join(", "))?,
        }
        match self.counts.get("failed") {
            None => Ok(()),
            Some(failed) => Err(Failure::general(format!(
                "{failed} of {} could not be imported; repeat the command to try these again",
                self.entries.len()
            ))),
        }
    }
}

/// Runs the command; Ctrl-C ends it cleanly.
pub(super) fn run(globals: &Globals, args: ImportArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = carry_out(globals, args) => done,
            _ = tokio::signal::ctrl_c() => {
                Err(Failure::new(Exit::Interrupted, "interrupted; repeat the command, which passes over what is here already"))
            }
        }
    });
    runtime.shutdown_background();
    done
}

async fn carry_out(globals: &Globals, args: ImportArgs) -> Result<(), Failure> {
    let owners = args.owners.iter().map(|text| match text.split_once('=') {
        Some((there, here)) if !there.is_empty() && !here.is_empty() => Ok((there.to_owned(), here.to_owned())),
        _ => Err(Failure::new(Exit::Usage, format!("'{text}' is not of the form THERE=HERE"))),
    });
    let owners = owners.collect::<Result<BTreeMap<_, _>, _>>()?;
    let (from, to) = open(globals, &args).await?;
    let mut summary = Summary { json: globals.json, ..Summary::default() };
    if !args.no_metadefs && args.ids.is_empty() {
        metadefs::import(&from, &to, args.dry_run, &mut summary).await?;
    }
    let import = ImageImport { from, to, owners, dry_run: args.dry_run };
    import.all(&args.ids, &mut summary).await?;
    summary.finish()
}

/// The two image services.
async fn open(globals: &Globals, args: &ImportArgs) -> Result<(ImageService, ImageService), Failure> {
    let settings: CloudSettings = cloud_settings(args.os_cloud.as_deref())?;
    let ca = match settings.get("cacert") {
        None => None,
        Some(file) => {
            let read = std::fs::read(file);
            Some(read.map_err(|error| Failure::new(Exit::Usage, format!("OS_CACERT {file}: {error}")))?)
        }
    };
    let from = ImageService::open(&settings, ca.as_deref()).await?;
    let client = globals.load()?.client;
    let base = args.place.url(&client)?;
    let ca = read_ca_file(&client.ca_file, "client")?;
    let keys = (!client.access_key.is_empty()).then(|| (client.access_key.as_str(), client.secret_key.reveal()));
    let to = ImageService::of_visor(&base, keys, ca.as_deref(), &from).await;
    let to = to.map_err(|error| match ca {
        Some(_) if matches!(error, crate::client::ClientError::Invalid(_)) => {
            bad_ca_file(&client.ca_file, "client", error)
        }
        _ => error.into(),
    })?;
    if from.url() == to.url() {
        return Err(Failure::new(Exit::Usage, format!("{} is the source and the target", to.url())));
    }
    Ok((from, to))
}
