//! The command line: one program, which serves, administers a data directory, and talks to a server.

mod admin;
mod banner;
mod catalogue;
mod doctor;
mod failure;
mod fetcher;
mod follow;
mod image;
mod import_glance;
mod jobs;
mod keystone;
mod listeners;
mod openstack;
mod print;
mod progress;
mod pulls;
mod ready;
mod serve;
mod server_file;
mod status;
mod stop;
mod stores;
mod trust;
mod vendor_cache;
mod verify;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use ipnet::IpNet;
use log::LevelFilter;

use self::doctor::DoctorArgs;
pub use self::failure::{Exit, Failure};
use self::image::{ImageCommand, PlaceArgs};
use self::import_glance::ImportArgs;
use self::jobs::JobsArgs;
use self::pulls::PullCommand;
use self::status::StatusArgs;
use self::trust::TrustCommand;
use crate::account;
use crate::config::Config;

/// Keeps virtual-machine and container images and serves them to every tool in the language it already speaks.
#[derive(Debug, Parser)]
#[command(name = "visor", version, subcommand_negates_reqs = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Configuration file [default: the shipped visor.toml, built in]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of images, catalogue and keys
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Reads the certificates to trust from a section's `ca_file`, if it is set.
fn read_ca_file(file: &Path, section: &str) -> Result<Option<Vec<u8>>, Failure> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    std::fs::read(file).map(Some).map_err(|error| bad_ca_file(file, section, error))
}

fn bad_ca_file(file: &Path, section: &str, what: impl Display) -> Failure {
    Failure::new(Exit::Usage, format!("{section}.ca_file {}: {what}", file.display()))
}

impl Globals {
    /// The configuration in force for this command.
    fn load(&self) -> Result<Config, Failure> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        Ok(config)
    }
}

/// Flags of `visor serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address for plain HTTP; port 0 takes any free port (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Address for HTTPS (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    listen_tls: Vec<SocketAddr>,
    /// Serve no HTTPS, even if it is configured
    #[arg(long, conflicts_with = "listen_tls")]
    no_tls: bool,
    /// Network that images may be fetched from, in addition to public addresses (repeatable)
    #[arg(long, value_name = "CIDR")]
    allow_fetch: Vec<IpNet>,
    /// Send nothing to the servers of vendors: serve what the cache has
    #[arg(long)]
    offline: bool,
    /// End when standard input does: for a program that starts a server for itself
    #[arg(long, hide = true)]
    with_input: bool,
    /// Write the URLs to this file, one per line, when the server answers
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl ServeArgs {
    fn is_empty(&self) -> bool {
        let Self { listen, listen_tls, no_tls, allow_fetch, offline, with_input, ready_file } = self;
        let no_flag = !no_tls && !offline && !with_input;
        listen.is_empty() && listen_tls.is_empty() && no_flag && allow_fetch.is_empty() && ready_file.is_none()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; `visor` without a command does so too
    Serve(ServeArgs),
    #[command(flatten)]
    Image(ImageCommand),
    #[command(flatten)]
    Pull(PullCommand),
    /// Bring the images of a Glance, or of another Visor, to a server
    ImportGlance(ImportArgs),
    /// List, show, follow and stop jobs of a server
    Jobs(JobsArgs),
    /// Show how a server is doing: images, jobs, disks and its cache of vendors' images
    Status(StatusArgs),
    /// Look at what a server needs: vendors within reach, their keys, the clock, the disk and the data directory
    Doctor(DoctorArgs),
    /// Manage the accounts of a data directory, also while the server runs
    #[command(subcommand)]
    Account(AccountCommand),
    /// Manage trusted certificates of LXD and Incus clients, also while the server runs
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Print the settings that another program needs for a server
    #[command(subcommand)]
    Use(UseCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Rebuild the metadata database from the journal
    Rebuild,
    /// Compare every image with its record: size, digests, index entries; and pulled ones with the sums and signatures that were kept
    Verify {
        /// Names or ids of images [default: all]
        images: Vec<String>,
    },
    /// Print completions for a shell
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Create an account and print its secret once
    Add {
        /// Access key: letters, digits and underscores
        name: String,
        /// Give the account administrator rights
        #[arg(long, conflicts_with = "read_only")]
        admin: bool,
        /// Let the account read, and change nothing
        #[arg(long)]
        read_only: bool,
        /// Address of its holder
        #[arg(long)]
        email: Option<String>,
    },
    /// Let an account only read from now on, or change things again
    Change {
        /// Access key
        name: String,
        /// Let the account read, and change nothing
        #[arg(long, required_unless_present = "read_write")]
        read_only: bool,
        /// Let the account change things again
        #[arg(long, conflicts_with = "read_only")]
        read_write: bool,
    },
    /// List accounts
    List,
    /// Remove an account; its images stay
    Remove {
        /// Access key
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum UseCommand {
    /// Print a clouds.yaml for openstack, its SDK, Nova and Terraform, and variables for a shell
    Openstack {
        #[command(flatten)]
        place: PlaceArgs,
        /// Print only the variables for a shell: eval "$(visor use openstack --shell)"
        #[arg(long)]
        shell: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration, with the entries and key files of vendors in the data directory
    Check,
    /// Print the settings in force
    Show,
}

/// Runs the program. `logger` sets the logger up, once the level is known.
pub fn run(cli: Cli, logger: impl FnOnce(LevelFilter)) -> ExitCode {
    let json = cli.globals.json;
    match dispatch(cli, logger) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit as u8;
            if json {
                let error = serde_json::json!({ "error": { "code": code, "message": failure.message } });
                eprintln!("{error}");
            } else {
                eprintln!("error: {}", failure.message);
            }
            ExitCode::from(code)
        }
    }
}

fn dispatch(cli: Cli, logger: impl FnOnce(LevelFilter)) -> Result<(), Failure> {
    let globals = cli.globals;
    match cli.command {
        None => serve::run(&globals, &cli.serve, logger),
        Some(_) if !cli.serve.is_empty() => {
            Err(Failure::new(Exit::Usage, "put the flags of serve after the command: visor serve --listen …"))
        }
        Some(Command::Serve(args)) => serve::run(&globals, &args, logger),
        Some(other) => {
            logger(LevelFilter::Warn);
            match other {
                Command::Serve(_) => Ok(()),
                Command::Image(command) => image::run(&globals, command),
                Command::Pull(command) => pulls::run(&globals, command),
                Command::ImportGlance(args) => import_glance::run(&globals, args),
                Command::Jobs(args) => jobs::run(&globals, args),
                Command::Status(args) => status::run(&globals, &args),
                Command::Doctor(args) => doctor::run(&globals, &args),
                Command::Account(AccountCommand::List) => admin::account(&globals, AccountCommand::List),
                Command::Account(command) => obeyed(admin::account(&globals, command)),
                Command::Trust(TrustCommand::List) => trust::run(&globals, TrustCommand::List),
                Command::Trust(command) => obeyed(trust::run(&globals, command)),
                Command::Use(UseCommand::Openstack { place, shell }) => openstack::run(&globals, &place, shell),
                Command::Config(command) => admin::config(&globals, &command),
                Command::Rebuild => admin::rebuild(&globals),
                Command::Verify { images } => verify::run(&globals, &images),
                Command::Completions { shell } => {
                    clap_complete::generate(shell, &mut Cli::command(), "visor", &mut std::io::stdout());
                    Ok(())
                }
            }
        }
    }
}

/// Waits after a change of accounts or of trust: when the command ends, a running server obeys it.
fn obeyed(changed: Result<(), Failure>) -> Result<(), Failure> {
    changed?;
    account::wait_for_servers();
    Ok(())
}

/// A runtime for commands that wait for something.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::general)
}

/// Does work that Ctrl-C ends, with words for that.
fn interruptible<T>(words: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        tokio::select! {
            // First, because work that follows a job reports an interruption in more detail.
            biased;
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, words)),
        }
    });
    // Does not wait for threads that read a disk or standard input.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn plain_visor_takes_the_flags_of_serve() {
        let cli = Cli::parse_from(["visor", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--no-tls"]);
        assert_eq!((cli.serve.listen.len(), cli.command.is_none()), (2, true));
        let cli = Cli::parse_from(["visor", "--json", "account", "add", "foo", "--admin", "--data-dir", "/d"]);
        assert!(cli.globals.json && cli.globals.data_dir.is_some());
    }
}
