//! This machine: the data directory and its disk.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::Access;

use super::Finding;
use crate::cli::print;
use crate::config::{Config, DataDir};

/// Bits of a mode that are for other users.
const FOR_OTHERS: u32 = 0o077;

/// Looks at the data directory and its disk.
pub(super) fn look(config: &Config, data_dir: &Path) -> Vec<Finding> {
    if !data_dir.exists() {
        let words = format!("{} does not exist yet", data_dir.display());
        return vec![Finding::warn("data directory", words, "the first start of the server makes it")];
    }
    let mut findings = vec![writable(data_dir)];
    findings.extend(secret(&DataDir::keys(data_dir)));
    findings.push(disk(config, data_dir));
    findings
}

fn writable(data_dir: &Path) -> Finding {
    let shown = data_dir.display();
    match rustix::fs::access(data_dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok("data directory", format!("{shown} can be written")),
        Err(error) => Finding::fail(
            "data directory",
            format!("{shown} can't be written by this user: {}", io::Error::from(error)),
            "run this as the user of the server, or give that user the directory",
        ),
    }
}

/// Looks for secrets that other users may read. No directory of secrets, no finding.
fn secret(keys: &Path) -> Option<Finding> {
    if !keys.exists() {
        return None;
    }
    let mode = |path: &Path| std::fs::metadata(path).map(|meta| meta.permissions().mode());
    Some(match mode(keys) {
        Ok(mode) if mode & FOR_OTHERS == 0 => {
            Finding::ok("secrets", format!("{} is for its owner alone", keys.display()))
        }
        Ok(mode) => Finding::fail(
            "secrets",
            format!("{} has the mode {:o}, so other users may read it", keys.display(), mode & 0o777),
            format!("chmod 700 {}", keys.display()),
        ),
        Err(error) => {
            Finding::fail("secrets", format!("{}: {error}", keys.display()), "run this as the user of the server")
        }
    })
}

fn disk(config: &Config, data_dir: &Path) -> Finding {
    let stat = match rustix::fs::statvfs(data_dir) {
        Ok(stat) => stat,
        Err(error) => {
            return Finding::fail(
                "disk",
                format!("{}: {}", data_dir.display(), io::Error::from(error)),
                "check the disk",
            );
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let all = stat.f_blocks.saturating_mul(stat.f_frsize);
    room(free, config.upload.free_min.bytes(), config.cache.free_min.of(all))
}

/// Compares the free bytes with those that uploads and the cache leave.
fn room(free: u64, for_uploads: u64, for_cache: u64) -> Finding {
    let words = format!("{} free", print::size(free));
    let low =
        |setting: &str, least: u64| format!("{words}, less than the {} that {setting} leaves", print::size(least));
    if free <= for_uploads {
        return Finding::fail("disk", low("upload.free_min", for_uploads), "remove images, or make room on the disk");
    }
    if free <= for_cache {
        let advice = "visor prune makes room in the cache; nothing new is fetched without it";
        return Finding::warn("disk", low("cache.free_min", for_cache), advice);
    }
    Finding::ok("disk", words)
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn room_is_held_against_both_settings() {
        let health = |free, uploads, cache| room(free, uploads, cache).health;
        assert_eq!([health(10, 1, 5), health(10, 1, 10), health(10, 10, 5)], [Health::Ok, Health::Warn, Health::Fail]);
        assert!(room(1 << 20, 1 << 30, 0).words.contains("upload.free_min"));
    }

    #[test]
    fn secrets_that_others_may_read_are_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(secret(&dir.path().join("keys")), None);
        for (mode, expected) in [(0o700, Health::Ok), (0o750, Health::Fail), (0o705, Health::Fail)] {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(secret(dir.path()).unwrap().health, expected, "{mode:o}");
        }
    }
}
