//! Names of processors in LXD's and Incus' files and answers.

use crate::image::Architecture;

/// The name of a processor that kernels and LXD have for it.
pub const fn kernel_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::I386 => "i686",
        other => other.name(),
    }
}

/// The processor with a name in the description of an image. LXD knows fewer spellings than Visor, and an image that is
/// accepted here has to be readable there.
pub(super) fn read_lxd_name(name: &str) -> Option<Architecture> {
    let is_lxds = !name.contains(|c: char| c.is_ascii_uppercase()) && name != "x86-64";
    Architecture::parse(name).filter(|_| is_lxds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LXD 5.0's table, and what Incus adds to it.
    #[test]
    fn every_name_that_lxd_knows_is_known() {
        for (name, others) in [
            ("i686", "i386 i586 386 x86 generic_32"),
            ("x86_64", "amd64 generic_64"),
            ("armv6l", "armel arm"),
            ("armv7l", "armhf armhfp armv7a_hardfp armv7 armv7a_vfpv3_hardfp"),
            ("armv8l", ""),
            ("aarch64", "arm64 arm64_generic"),
            ("ppc", "powerpc"),
            ("ppc64", "powerpc64"),
            ("ppc64le", "ppc64el"),
            ("s390x", ""),
            ("mips", "mipsel mipsle"),
            ("mips64", "mips64el mips64le"),
            ("riscv32", ""),
            ("riscv64", ""),
            ("loongarch64", "loong64"),
        ] {
            for word in others.split_whitespace().chain([name]) {
                assert_eq!(read_lxd_name(word).map(kernel_name), Some(name), "{word}");
            }
        }
        for word in ["X86_64", "AMD64", "x86-64", "pdp11", "", " x86_64", "all"] {
            assert_eq!(read_lxd_name(word), None, "{word}");
        }
    }
}
