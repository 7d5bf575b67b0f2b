//! Moving names: URLs whose content is replaced by a newer build from time to time.

/// Words that vendors give to what is the newest.
const WORDS: [&str; 6] = ["current", "latest", "stable", "daily", "snapshots", "rolling"];

/// Fewest digits at the beginning of a word that is the serial of a build: its date.
const SERIAL_DIGITS_MIN: usize = 6;

/// Words of names with digits that tell no build.
const NUMBERED: [&str; 18] = [
    "x86", "64", "amd64", "aarch64", "arm64", "armv7l", "ppc64le", "ppc64el", "s390x", "riscv64", "i386", "i686",
    "qcow2", "bz2", "sha256", "sha512", "md5", "disk1",
];

/// Tells whether a URL names the newest of something, and not one build of it.
///
/// A word such as `latest` in its path says so, unless it, or one below, has the number of a build; and so does the want of any number in its last
/// two parts, but for those of processors and formats.
pub fn is_moving(url: &str) -> bool {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let path = url.split_once("://").map_or(url, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let tokens = |part: &str| {
        part.to_ascii_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect::<Vec<_>>()
    };
    let says_so = |part: &str| tokens(part).iter().any(|word| WORDS.contains(&word.as_str()));
    let is_build = |part: &str| {
        tokens(part).iter().any(|word| word.bytes().take_while(u8::is_ascii_digit).count() >= SERIAL_DIGITS_MIN)
    };
    let build = parts.iter().rposition(|part| is_build(part));
    let word = parts.iter().rposition(|part| says_so(part));
    let tells = |word: &String| word.bytes().any(|b| b.is_ascii_digit()) && !NUMBERED.contains(&word.as_str());
    let last = parts.get(parts.len().saturating_sub(2)..).unwrap_or_default();
    // Ubuntu has its newest builds below `release`, and each of them below `release-<serial>`.
    let release = parts.len() > 1 && last.first() == Some(&"release");
    release
        || word.is_some_and(|word| build.is_none_or(|build| build < word))
        || !last.iter().any(|part| tokens(part).iter().any(tells))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_newest_move_and_names_of_builds_do_not() {
        let moving = [
            "https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img",
            "https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-amd64.img",
            "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2",
            "https://repo.almalinux.org/almalinux/9/cloud/x86_64/images/AlmaLinux-9-GenericCloud-latest.x86_64.qcow2",
            "https://dl.rockylinux.org/pub/rocky/9/images/x86_64/Rocky-9-GenericCloud.latest.x86_64.qcow2",
            "https://dl-cdn.alpinelinux.org/alpine/latest-stable/releases/cloud/nocloud_alpine-3.23.0-x86_64-bios.qcow2",
            "https://cdn.openbsd.org/pub/OpenBSD/snapshots/amd64/install78.img?x=1",
            "https://download.opensuse.org/tumbleweed/appliances/openSUSE-Tumbleweed-Minimal-VM.x86_64-Cloud.qcow2",
            "https://lab.example/20260105/latest/disk.qcow2",
            "https://lab.example/images/disk.qcow2",
            "https://lab.example/",
        ];
        for url in moving {
            assert!(is_moving(url), "{url}");
        }
        let builds = [
            "https://cloud-images.ubuntu.com/releases/noble/release-20260105/ubuntu-24.04-server-cloudimg-amd64.img",
            "https://cloud.debian.org/images/cloud/trixie/20260105-2299/debian-13-generic-amd64-20260105-2299.qcow2",
            "https://download.cirros-cloud.net/0.6.3/cirros-0.6.3-x86_64-disk.img",
            "https://lab.example/unstable-7/disk.qcow2",
            "https://builds.coreos.fedoraproject.org/prod/streams/stable/builds/44.20260101.3.0/x86_64/fedora-coreos-44.20260101.3.0-qemu.x86_64.qcow2.xz",
            "https://cloud-images.ubuntu.com/daily/server/noble/20260105/noble-server-cloudimg-amd64.img",
            "https://cloud.debian.org/images/cloud/trixie/daily/20260105-2299/debian-13-generic-amd64-daily-20260105-2299.qcow2",
        ];
        for url in builds {
            assert!(!is_moving(url), "{url}");
        }
    }
}
