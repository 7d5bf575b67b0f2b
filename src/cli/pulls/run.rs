//! `visor run`: a command beside a server, which ends with it.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::signal::unix::{self, SignalKind};

use super::super::failure::{Exit, Failure, words_of};
use super::super::{Globals, runtime, server_file};
use crate::config::DataDir;

/// Longest wait for the server.
const START_MAX: Duration = Duration::from_secs(60);

/// Time between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Exit code of a command that a signal ended is this and the signal's number, as shells have it.
const SIGNALLED: i32 = 128;

/// The program itself, as it runs.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A server that ends with this, and with this program, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input is its own.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Runs the command and ends the program with its exit code.
pub(super) fn run(globals: &Globals, command: &[OsString]) -> Result<(), Failure> {
    let data_dir = globals.load()?.data_dir()?;
    let status = runtime()?.block_on(async {
        let (url, server) = server(globals, &data_dir).await?;
        let status = beside(command, &url, &data_dir).await;
        drop(server);
        status
    })?;
    std::process::exit(status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or_default()));
}

/// The server that has the data directory, or a new one on a free port.
async fn server(globals: &Globals, data_dir: &Path) -> Result<(String, Option<Server>), Failure> {
    let began = Instant::now();
    loop {
        match DataDir::try_take(data_dir).map_err(Failure::general)? {
            Some(free) => {
                // Of a server that was killed. No other process writes it while this has the lock.
                server_file::remove(data_dir);
                drop(free);
                if let Some((url, server)) = start(globals, data_dir, began).await? {
                    return Ok((url, Some(server)));
                }
            }
            None => {
                if let Some(place) = server_file::read(data_dir) {
                    return Ok((place.url, None));
                }
            }
        }
        // Another command has it for a while.
        if began.elapsed() > START_MAX {
            let text = format!("{} is in use by another visor command", data_dir.display());
            return Err(Failure::new(Exit::Conflict, text));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Starts a server and waits for its address; `None` if another command took the data directory before it.
async fn start(globals: &Globals, data_dir: &Path, began: Instant) -> Result<Option<(String, Server)>, Failure> {
    let mut program = Command::new(OWN_PROGRAM);
    program.args(["serve", "--listen", "127.0.0.1:0", "--no-tls", "--with-input", "--data-dir"]).arg(data_dir);
    if let Some(config) = &globals.config {
        program.arg("--config").arg(config);
    }
    // A Ctrl-C for the command is none for the server, which ends after it.
    program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut server = Server(program.spawn().map_err(|error| Failure::general(format!("no server starts: {error}")))?);
    loop {
        match server.0.try_wait().map_err(Failure::general)? {
            Some(status) if status.code() == Some(Exit::Conflict as i32) => return Ok(None),
            Some(status) => {
                return Err(Failure::general(format!("the server ended with {status}; visor serve says why")));
            }
            None => {}
        }
        if let Some(place) = server_file::read(data_dir) {
            return Ok(Some((place.url, server)));
        }
        if began.elapsed() > START_MAX {
            return Err(Failure::general("the server does not come up; visor serve says why"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Runs the command to its end. Signals that would end this program are the command's.
async fn beside(command: &[OsString], url: &str, data_dir: &Path) -> Result<ExitStatus, Failure> {
    let (program, arguments) = command.split_first().ok_or_else(|| Failure::new(Exit::Usage, "no command is given"))?;
    // Before it begins: a signal that comes meanwhile waits for it.
    let mut signals = Signals::listen().map_err(Failure::general)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("VISOR_URL", url)
        .env("VISOR__CLIENT__ADDRESS", url)
        .env("VISOR__DATA_DIR", data_dir)
        .spawn()
        .map_err(|error| not_run(program, &error))?;
    let pid = Pid::from_child(&child);
    let mut ended = tokio::task::spawn_blocking(move || wait_for(pid));
    loop {
        tokio::select! {
            ended = &mut ended => {
                ended.map_err(Failure::general)?.map_err(Failure::general)?;
                return child.wait().map_err(Failure::general);
            }
            // It may have ended by itself.
            signal = signals.next() => drop(kill_process(pid, signal)),
        }
    }
}

/// Waits for the end of a process and leaves it its number, so that no signal reaches another process.
fn wait_for(pid: Pid) -> rustix::io::Result<()> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return ended.map(drop),
        }
    }
}

/// The failure of a command that can't be run, with the code that shells have for it.
fn not_run(program: &OsString, error: &std::io::Error) -> Failure {
    let name = program.display();
    match error.kind() {
        std::io::ErrorKind::NotFound if program.as_encoded_bytes().contains(&b'/') => Failure::new(
            Exit::NoCommand,
            format!("{name}: there is no such command, or the program that it is for is missing"),
        ),
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::NoCommand, format!("{name}: there is no such command in the folders of PATH"))
        }
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::NotRunnable, format!("{name}: this user may not run it, or it is no program"))
        }
        _ => Failure::new(Exit::NotRunnable, format!("{name} can't be run: {}", words_of(error))),
    }
}

/// Signals that would end this program.
struct Signals {
    terminate: unix::Signal,
    hang_up: unix::Signal,
    quit: unix::Signal,
    interrupt: unix::Signal,
    /// True on a terminal, which sends a Ctrl-C to the command too.
    on_terminal: bool,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            quit: unix::signal(SignalKind::quit())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            on_terminal: std::fs::File::open("/dev/tty").is_ok(),
        })
    }

    /// The next one that the command does not get by itself.
    async fn next(&mut self) -> Signal {
        loop {
            return tokio::select! {
                Some(()) = self.terminate.recv() => Signal::TERM,
                Some(()) = self.hang_up.recv() => Signal::HUP,
                Some(()) = self.quit.recv() => Signal::QUIT,
                Some(()) = self.interrupt.recv() => match self.on_terminal {
                    true => continue,
                    false => Signal::INT,
                },
                else => std::future::pending().await,
            };
        }
    }
}
