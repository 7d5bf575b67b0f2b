//! The program: arguments, the logger, an exit code.

use std::process::ExitCode;

use clap::Parser;
use visor::cli::{Cli, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli, |level| {
        let mut builder = env_logger::Builder::new();
        builder.filter_level(level);
        // It reports every packet of a key file that it passes over, in full.
        builder.filter_module("pgp", level.min(log::LevelFilter::Error));
        builder.parse_default_env().format_target(false);
        // A second logger can't be set; the program sets only this one.
        let _ = builder.try_init();
    })
}
