//! Commands that talk to a server: `brief detail head get add update delete`, as the original's.

mod args;
mod link;
mod send;
mod unfinished;

use std::path::Path;
use std::time::Instant;

pub(super) use self::args::{ImageCommand, PlaceArgs, ServerArgs};
use self::args::{meta, pairs, query_pairs};
use self::send::Sending;
use super::failure::{Exit, Failure};
use super::follow::follow;
use super::progress::Bar;
use super::{Globals, interruptible, print, read_ca_file};
use crate::client::{Client, ClientError, Credentials, Downloaded, Record, Started, Target};

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotFound(_) => Exit::NotFound,
            ClientError::Invalid(_) | ClientError::Server(_) | ClientError::File(_) => Exit::General,
            ClientError::Forbidden(_) => Exit::Auth,
            ClientError::Conflict(_) => Exit::Conflict,
            ClientError::NoRoom(_) => Exit::Full,
            ClientError::Unreachable(_) | ClientError::Interrupted(_) => Exit::Network,
            ClientError::Mismatch(_) => Exit::Mismatch,
        };
        Failure::new(exit, error)
    }
}

/// Runs a command; Ctrl-C ends it cleanly.
pub(super) fn run(globals: &Globals, command: ImageCommand) -> Result<(), Failure> {
    let words = match command {
        ImageCommand::Get { .. } => "interrupted; repeat the command to continue where it stopped",
        ImageCommand::Add { file: Some(_), .. } | ImageCommand::Update { file: Some(_), .. } => {
            "interrupted; repeat the command to continue a large file where it stopped"
        }
        _ => "interrupted",
    };
    interruptible(words, carry_out(globals, command))
}

/// Client of the server that the command line names.
pub(super) fn connect(globals: &Globals, server: &ServerArgs) -> Result<Client, Failure> {
    let config = globals.load()?.client;
    let base = server.place.url(&config)?;
    let ca = read_ca_file(&config.ca_file, "client")?;
    let credentials = (!config.access_key.is_empty())
        .then(|| Credentials { access_key: config.access_key, secret_key: config.secret_key.reveal().to_owned() });
    Ok(Client::new(&base, credentials, ca.as_deref())?)
}

async fn carry_out(globals: &Globals, command: ImageCommand) -> Result<(), Failure> {
    let began = Instant::now();
    let json = globals.json;
    let verbose = match command {
        ImageCommand::Brief { which, server } => {
            let records = connect(globals, &server)?.brief(&pairs(&which)?).await?;
            list(json, &records, |records| print::line(print::table(records)))?;
            server.verbose
        }
        ImageCommand::Detail { which, server } => {
            let records = connect(globals, &server)?.detail(&pairs(&which)?).await?;
            list(json, &records, |records| {
                records.iter().try_for_each(|record| {
                    print::line("-".repeat(80))?;
                    print::line(print::record(record))
                })
            })?;
            server.verbose
        }
        ImageCommand::Head { id, server } => {
            let record = connect(globals, &server)?.head(&id).await?;
            show(json, &record)?;
            server.verbose
        }
        ImageCommand::Get { id, save, server } => {
            let client = connect(globals, &server)?;
            // A download is resumed under one id, even when the name stands for a newer image meanwhile.
            let id = client.id_of(&id).await?;
            get(json, &client, &id, &save).await?;
            server.verbose
        }
        ImageCommand::Add { attributes, file, server } => {
            let client = connect(globals, &server)?;
            add(json, &client, &meta(&attributes)?, file.as_deref()).await?;
            server.verbose
        }
        ImageCommand::Update { attributes, file: None, .. } if attributes.is_empty() => {
            return Err(Failure::new(
                Exit::Usage,
                "nothing to change: give attributes (name=value …), --file, or both",
            ));
        }
        ImageCommand::Update { id, attributes, file, server } => {
            let client = connect(globals, &server)?;
            update(json, server.verbose, &client, &id, &meta(&attributes)?, file.as_deref()).await?;
            server.verbose
        }
        ImageCommand::Move { id, store, server } => {
            let client = connect(globals, &server)?;
            let record = move_to(&client, &id, &store).await?;
            say(json, &format!("Successfully moved image {id} to the store {store}."));
            if json || server.verbose {
                show(json, &record)?;
            }
            server.verbose
        }
        ImageCommand::Link { id, life, list, revoke, server } => {
            let client = connect(globals, &server)?;
            let id = client.id_of(&id).await?;
            match (revoke, list) {
                (Some(link), _) => link::revoke(json, &client, &id, &link).await?,
                (None, true) => link::list(json, &client, &id).await?,
                (None, false) => link::make(json, &client, &id, life).await?,
            }
            server.verbose
        }
        ImageCommand::LxdOffer { id, offer, server } => {
            let meta = [("lxd_offer".to_owned(), (offer == "on").to_string())];
            update(json, server.verbose, &connect(globals, &server)?, &id, &meta, None).await?;
            server.verbose
        }
        ImageCommand::Delete { ids, query, server } => {
            delete(json, server.verbose, &connect(globals, &server)?, &ids, query.as_deref()).await?;
            server.verbose
        }
    };
    if verbose && !json {
        print::line(format!("Done in {:.4} seconds", began.elapsed().as_secs_f64()))?;
    }
    Ok(())
}

fn list(
    json: bool,
    records: &[Record],
    print_all: impl FnOnce(&[Record]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if json {
        return records.iter().try_for_each(|record| print::line(serde_json::Value::Object(record.clone())));
    }
    print::line(format!("Found {} images records...", records.len()))?;
    print_all(records)
}

fn show(json: bool, record: &Record) -> Result<(), Failure> {
    match json {
        true => print::line(serde_json::Value::Object(record.clone())),
        false => print::line(format!("\n{}\n", print::record(record))),
    }
}

fn id_of(record: &Record) -> &str {
    record.get("_id").and_then(|id| id.as_str()).unwrap_or("-")
}

async fn get(json: bool, client: &Client, id: &str, save: &Path) -> Result<(), Failure> {
    let to_stdout = save == Path::new("-");
    if !to_stdout && !save.is_dir() {
        return Err(Failure::general(format!("{} is not a directory", save.display())));
    }
    let target = match to_stdout {
        true => Target::Writer(Box::new(std::io::stdout())),
        false => Target::Directory(save.to_owned()),
    };
    let bar = Bar::new();
    let begin = |record: &Record, length: Option<u64>| {
        if !json && !to_stdout {
            // The file is saved even if standard output is closed.
            let _ = print::line(format!("\n{}\n\nDownloading image {id}...", print::record(record)));
        }
        bar.length(length);
    };
    let done = client.download(id, target, begin, bar.progress()).await;
    bar.done();
    let Downloaded { path, bytes, verified } = done?;
    if let Some(path) = path {
        return match json {
            true => print::line(serde_json::json!({ "path": path, "size": bytes, "verified": verified })),
            false => print::line(format!("Saved {} ({}, {verified} verified).", path.display(), print::size(bytes))),
        };
    }
    Ok(())
}

async fn add(json: bool, client: &Client, meta: &[(String, String)], file: Option<&Path>) -> Result<(), Failure> {
    let what = match file {
        Some(_) => {
            say(json, "Adding new metadata and uploading file...");
            "metadata and image"
        }
        None => "metadata",
    };
    let record = Sending { client, into: None, meta, file }.send().await?;
    say(json, &format!("Successfully added new {what} with ID {}.", id_of(&record)));
    show(json, &record)
}

/// Moves an image, and follows the job that does it.
async fn move_to(client: &Client, id: &str, store: &str) -> Result<Record, Failure> {
    let job = match client.start_move(id, store).await? {
        Started::Done(record) => return Ok(record),
        Started::Job(job) => job,
    };
    follow(client, id_of(&job)).await?;
    Ok(client.head(id).await?)
}

async fn update(
    json: bool,
    verbose: bool,
    client: &Client,
    id: &str,
    meta: &[(String, String)],
    file: Option<&Path>,
) -> Result<(), Failure> {
    let what = match file {
        Some(_) => {
            say(json, "Updating metadata and uploading file...");
            "updated and uploaded"
        }
        None => "updated",
    };
    let record = Sending { client, into: Some(id), meta, file }.send().await?;
    say(json, &format!("Successfully {what} image {id}."));
    if json || verbose { show(json, &record) } else { Ok(()) }
}

async fn delete(
    json: bool,
    verbose: bool,
    client: &Client,
    ids: &[String],
    query: Option<&str>,
) -> Result<(), Failure> {
    let said = |record: &Record| -> Result<(), Failure> {
        say(json, &format!("Successfully deleted image {}.", id_of(record)));
        if json || verbose { show(json, record) } else { Ok(()) }
    };
    if let Some(query) = query {
        return client.delete_by_query(&query_pairs(query)?).await?.iter().try_for_each(said);
    }
    if ids.is_empty() {
        return Err(Failure::new(Exit::Usage, "no image given: say which images by their ids, or with --query"));
    }
    for id in ids {
        said(&client.delete(id).await?)?;
    }
    Ok(())
}

/// Prints a line of the original client on standard output; with `--json` only data goes there.
fn say(json: bool, text: &str) {
    if !json {
        // A closed standard output must not stop a transfer.
        let _ = print::line(text);
    }
}
