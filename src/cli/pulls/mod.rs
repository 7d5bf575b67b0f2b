//! `visor pull vendors cache offline prune lock run`: vendors' images, in this process or through the server that has the data
//! directory.

mod cached;
mod lock;
mod lock_file;
mod pace;
mod pull;
mod run;
mod seat;
mod show;
mod vendors;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use self::seat::Seat;
pub(super) use self::seat::running;
use self::show::ProgressForm;
use super::failure::{Exit, Failure};
use super::image::PlaceArgs;
use super::{Globals, interruptible};
use crate::error::Error;
use crate::image::Architecture;
use crate::registry::{check_cached, check_pullable};
use crate::vendor::{LOCK_FILE, Level, Sum};

/// Help on the end of a pull.
const PULL_HELP: &str = "Ctrl-C ends the command. Without a server, the next pull continues where it stopped. Through a server, the pull goes on \
    there, and a second Ctrl-C does nothing more: 'visor jobs stop ID' stops it.";

/// Help on the end of a command.
const RUN_HELP: &str = "Signals that would end this program (TERM, HUP, QUIT, INT) are passed on to the command; its exit code is the program's. \
    The server ends last. 127: there is no such command, 126: it can't be run.";

/// Arguments of `visor pull`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PullArgs {
    /// Names such as debian/13 or ubuntu/24.04:20260105, or URLs; with --locked, those of the lock file
    #[arg(required_unless_present = "locked", value_name = "NAME|URL")]
    names: Vec<String>,
    /// Processor [default: this machine's]
    #[arg(long, value_parser = architecture)]
    arch: Option<Architecture>,
    /// Level of verification that is demanded: none, tls, weak, checksum, given, signature
    #[arg(long, value_name = "LEVEL", conflicts_with = "locked")]
    require: Option<Level>,
    /// Digest that the file has to have, in place of the vendor's
    #[arg(long, value_name = "HEX", value_parser = sha256, conflicts_with = "locked")]
    sha256: Option<Sum>,
    /// Another alias for the image
    #[arg(long)]
    alias: Option<String>,
    /// Keep it, whatever room is needed
    #[arg(long)]
    pin: bool,
    /// Keep a compressed file as it is
    #[arg(long)]
    no_unpack: bool,
    /// Send nothing: take what is here
    #[arg(long)]
    offline: bool,
    /// Bring exactly what the lock file has
    #[arg(long)]
    locked: bool,
    /// The lock file; - is standard input
    #[arg(short, long, value_name = "FILE", default_value = LOCK_FILE)]
    file: PathBuf,
    /// Take an image that is verified less than the one before
    #[arg(long)]
    accept_weaker: bool,
    /// Form of the progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: ProgressForm,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PullCommand {
    /// Pull vendors' images by name, or files by URL, verified; what is here already is not fetched again
    #[command(after_help = PULL_HELP)]
    Pull(PullArgs),
    /// List vendors that images can be pulled of, or the builds that one has
    Vendors {
        /// Name of a vendor, or vendor/release
        name: Option<String>,
        /// Processor [default: this machine's]
        #[arg(long, value_parser = architecture)]
        arch: Option<Architecture>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List, refresh, drop and pin the files of the cache
    Cache {
        /// Change to make
        #[arg(value_enum, default_value = "list")]
        action: CacheAction,
        /// Names of pulled images, or URLs of files
        #[arg(value_name = "NAME|URL")]
        files: Vec<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Send nothing to vendors from now on, or begin to again
    Offline {
        /// on or off
        #[arg(value_enum)]
        state: Switch,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Remove files of the cache that are over its budget, each with its reason
    Prune {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Size that the cache may have then, such as 20GiB [default: its budget]
        #[arg(long, value_name = "SIZE", value_parser = size)]
        to: Option<u64>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Write a lock file of the pulled images, or compare them with one
    Lock {
        /// Compare: exit with 4 if an image is missing or other bytes
        #[arg(long)]
        check: bool,
        /// The lock file; - is standard output, and with --check standard input
        #[arg(short, long, value_name = "FILE", default_value = LOCK_FILE)]
        file: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Run a command beside a server, whose address it finds in VISOR_URL
    #[command(after_help = RUN_HELP)]
    Run {
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<std::ffi::OsString>,
    },
}

/// Actions of `visor cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CacheAction {
    /// List files
    List,
    /// Ask the servers, and fetch again what is not current
    Refresh,
    /// Remove files
    Drop,
    /// Keep files, whatever room is needed
    Pin,
    /// Let files go when their turn comes
    Unpin,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Switch {
    /// Send nothing
    On,
    /// Ask vendors
    Off,
}

fn architecture(text: &str) -> Result<Architecture, String> {
    Architecture::parse(text).ok_or_else(|| "it is no architecture such as x86_64 or arm64".to_owned())
}

fn sha256(text: &str) -> Result<Sum, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    Sum::of_hex(hex).filter(|_| hex.len() == 64).ok_or_else(|| "it is no SHA-256, of 64 hexadecimal digits".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let size: Result<bytesize::ByteSize, _> = text.parse();
    size.map(|size| size.as_u64()).map_err(|_| "it is no size such as 20GiB".to_owned())
}

/// Runs a command.
pub(super) fn run(globals: &Globals, command: PullCommand) -> Result<(), Failure> {
    match command {
        PullCommand::Pull(args) => {
            // Those of a lock file may be of any form.
            let names = if args.locked { &[][..] } else { &args.names };
            well_formed(names, check_pullable)?;
            pull::run(globals, &args)
        }
        PullCommand::Vendors { name, arch, place } => {
            at(globals, &place, async |seat| vendors::run(globals.json, &seat, name.as_deref(), arch).await)
        }
        PullCommand::Cache { action, files, place } => {
            well_formed(&files, check_cached)?;
            at(globals, &place, async |seat| cached::run(globals.json, &seat, action, &files).await)
        }
        PullCommand::Offline { state, place } => {
            at(globals, &place, async |seat| cached::offline(globals.json, &seat, state == Switch::On).await)
        }
        PullCommand::Prune { dry_run, to, place } => {
            at(globals, &place, async |seat| cached::prune(globals.json, &seat, to, dry_run).await)
        }
        PullCommand::Lock { check, file, place } => {
            at(globals, &place, async |seat| lock::run(globals.json, &seat, check, &file).await)
        }
        PullCommand::Run { command } => run::run(globals, &command),
    }
}

/// Checks names and URLs before anything is opened: a wrong command line is told from a thing that is not there.
fn well_formed(names: &[String], check: fn(&str) -> Result<(), Error>) -> Result<(), Failure> {
    let refused = |name: &String| check(name).err().map(|error| format!("{}{}", error.message(), hint(name)));
    names.iter().find_map(refused).map_or(Ok(()), |words| Err(Failure::new(Exit::Usage, words)))
}

/// Words about a file of this machine, which is not pulled.
fn hint(name: &str) -> &'static str {
    let is_path = ["/", "./", "../", "~"].iter().any(|begin| name.starts_with(begin));
    let is_file = is_path || name.starts_with("file://") || Path::new(name).is_file();
    if is_file { " A file of this machine is added with visor add name=NAME --file FILE." } else { "" }
}

/// Does work at the place where pulls are done; Ctrl-C ends it.
fn at(
    globals: &Globals,
    place: &PlaceArgs,
    work: impl AsyncFnOnce(Seat) -> Result<(), Failure>,
) -> Result<(), Failure> {
    interruptible("interrupted", async { work(Seat::take(globals, place, false).await?).await })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(architecture("amd64"), Ok(Architecture::X86_64));
        assert_eq!(size("20GiB"), Ok(20 << 30));
        let digest = "AB".repeat(32);
        assert_eq!(sha256(&digest), sha256(&format!("sha256:{digest}")));
        assert!(sha256(&digest).is_ok());
        for bad in ["", "abc", &"a".repeat(40), &"a".repeat(128)] {
            assert!(sha256(bad).is_err(), "{bad}");
        }
        assert!(architecture("z80").is_err() && size("much").is_err());
    }

    #[test]
    fn a_wrong_name_is_a_wrong_command_line() {
        let said = |name: &str| well_formed(&[name.to_owned()], check_pullable).unwrap_err();
        for (name, words) in [
            ("debian", "such as debian/13"),
            ("DEBIAN/13", "did you mean debian/13?"),
            ("./disk.qcow2", "visor add name=NAME --file FILE"),
            ("file:///srv/disk.qcow2", "visor add name=NAME --file FILE"),
            ("ftp://h.example/x", "begin with http:// or https://"),
            ("https://h.example/", "no file name"),
            ("https://alice:hunter2@h.example/x.qcow2?token=hunter2", "user information"),
        ] {
            let failure = said(name);
            assert!(failure.exit == Exit::Usage && failure.message.contains(words), "{name}: {failure:?}");
            assert!(!failure.message.contains("hunter2"), "{failure:?}");
        }
        assert!(well_formed(&["debian/13".to_owned()], check_pullable).is_ok());
    }
}
