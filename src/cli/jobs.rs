//! `visor jobs`: lists, shows, follows and stops the jobs of a server.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::follow::follow;
use super::image::{ServerArgs, connect};
use super::pulls::running;
use super::{Globals, print, runtime};
use crate::client::{Client, Record};
use crate::config::Config;

/// Arguments of `visor jobs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct JobsArgs {
    /// Show this job alone
    id: Option<String>,
    /// Follow it to its end; Ctrl-C leaves the job running
    #[arg(short, long, requires = "id")]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Option<JobsCommand>,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// Stop a job; what it did by halves is undone
    Stop {
        /// Its id
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Columns of the list: title, attribute and width.
const COLUMNS: [(&str, &str, usize); 4] =
    [("ID", "_id", 37), ("KIND", "kind", 14), ("STATUS", "status", 10), ("IMAGE", "image", 37)];

pub(super) fn run(globals: &Globals, args: JobsArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        tokio::select! {
            // First, because a followed job reports an interruption in more detail.
            biased;
            done = carry_out(globals, args) => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        }
    })
}

async fn carry_out(globals: &Globals, args: JobsArgs) -> Result<(), Failure> {
    let json = globals.json;
    if let Some(JobsCommand::Stop { id, server }) = args.command {
        let job = self::server(globals, &server)?.stop_job(&id).await?;
        return match json {
            true => print::line(Value::Object(job)),
            false => print::line(format!("Successfully stopped job {id}.")),
        };
    }
    let client = server(globals, &args.server)?;
    match args.id {
        Some(id) => {
            let job = if args.follow { follow(&client, &id).await? } else { client.job(&id, None).await? };
            if json { print::line(Value::Object(job)) } else { print::line(record(&job)) }
        }
        None if json => client.jobs().await?.into_iter().try_for_each(|job| print::line(Value::Object(job))),
        None => print::line(table(&client.jobs().await?)),
    }
}

/// The server that the command line or the settings name. Where they name none, the one that has the data directory comes first, as for
/// pulls, which say how their jobs are stopped.
fn server(globals: &Globals, server: &ServerArgs) -> Result<Client, Failure> {
    let (client, shipped) = (globals.load()?.client, Config::shipped()?.client);
    let is_named = server.place.is_given() || (client.address, client.port) != (shipped.address, shipped.port);
    if is_named { connect(globals, server) } else { running(globals, &server.place) }
}

/// Progress of a job, in a few characters.
fn progress(job: &Record) -> String {
    let number = |name: &str| job.get(name).and_then(Value::as_u64);
    match (number("bytes"), number("bytes_total"), number("steps")) {
        (Some(bytes), Some(total), _) if total > 0 => format!("{}%", (bytes.saturating_mul(100) / total).min(100)),
        (Some(bytes), ..) => print::size(bytes),
        (None, _, Some(steps)) => match number("steps_total") {
            Some(total) => format!("{steps}/{total}"),
            None => steps.to_string(),
        },
        (None, _, None) => "-".to_owned(),
    }
}

fn table(jobs: &[Record]) -> String {
    let line = |cells: Vec<String>| cells.join(" ").trim_end().to_owned();
    let titles = COLUMNS.iter().map(|(title, _, width)| format!("{title:<width$}"));
    let mut lines = vec![line(titles.chain(["PROGRESS".to_owned()]).collect())];
    lines.extend(jobs.iter().map(|job| {
        let cells = COLUMNS.iter().map(|(_, name, width)| format!("{:<width$}", print::text(job.get(*name))));
        line(cells.chain([progress(job)]).collect())
    }));
    lines.join("\n")
}

fn record(job: &Record) -> String {
    let lines = job.iter().map(|(name, value)| format!("{:>13}: {}", name.to_uppercase(), print::text(Some(value))));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(more: Value) -> Record {
        let mut job = serde_json::json!({ "_id": "x", "kind": "move", "status": "running" });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job.as_object().unwrap().clone()
    }

    #[test]
    fn progress_is_said_in_the_best_terms_that_there_are() {
        for (more, expected) in [
            (serde_json::json!({ "bytes": 5, "bytes_total": 10, "steps": 1 }), "50%"),
            (serde_json::json!({ "bytes": 2048 }), "2.00 KiB"),
            (serde_json::json!({ "steps": 1, "steps_total": 3 }), "1/3"),
            (serde_json::json!({ "steps": 7 }), "7"),
            (serde_json::json!({}), "-"),
        ] {
            assert_eq!(progress(&job(more)), expected);
        }
        let table = table(&[job(serde_json::json!({ "steps": 7 }))]);
        assert!(table.starts_with("ID  ") && table.ends_with(" 7"), "{table}");
    }
}
