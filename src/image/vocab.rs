//! Closed sets of words: each value has one name, and further spellings.

/// A closed set of words.
pub trait Vocabulary: Copy + Sized + 'static {
    /// Every value, in the order in which messages list them.
    const ALL: &'static [Self];

    /// Canonical name.
    fn name(self) -> &'static str;

    /// Other spellings.
    fn aliases(self) -> &'static [&'static str] {
        &[]
    }

    /// Value of a word, if it names one. Case does not matter.
    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| {
            value.name().eq_ignore_ascii_case(word) || value.aliases().iter().any(|a| a.eq_ignore_ascii_case(word))
        })
    }

    /// All names, comma separated, for messages.
    fn names() -> String {
        Self::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(", ")
    }
}

/// Makes an enum and its words in one table. `$name` is written, `| $alias` is understood as well.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal $(| $alias:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$vdoc])* $variant,)+ }

        impl $type {
            /// Canonical name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Value of a word, if it names one. Case does not matter.
            pub fn parse(word: &str) -> Option<Self> {
                <Self as Vocabulary>::parse(word)
            }
        }

        impl Vocabulary for $type {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn name(self) -> &'static str {
                $type::name(self)
            }

            fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($alias),*],)+ }
            }
        }
    };
}

pub(super) use vocabulary;

vocabulary! {
    /// Processor of an image. The original knew the first two; the others are in common use.
    Architecture {
        /// 32-bit x86.
        I386 = "i386" | "i686" | "x86" | "i586" | "386" | "generic_32",
        /// 64-bit x86.
        X86_64 = "x86_64" | "amd64" | "x86-64" | "generic_64",
        /// 64-bit Arm.
        Aarch64 = "aarch64" | "arm64" | "arm64_generic",
        /// 32-bit Arm with hardware floating point.
        Armv7l = "armv7l" | "armhf" | "armv7" | "armhfp" | "armv7a_hardfp" | "armv7a_vfpv3_hardfp",
        /// 64-bit POWER, little endian.
        Ppc64le = "ppc64le" | "ppc64el",
        /// 64-bit RISC-V.
        Riscv64 = "riscv64",
        /// IBM Z.
        S390x = "s390x",
        /// 32-bit Arm of the sixth generation.
        Armv6l = "armv6l" | "armel" | "arm",
        /// 64-bit POWER, big endian.
        Ppc64 = "ppc64" | "powerpc64",
        /// 64-bit LoongArch.
        Loongarch64 = "loongarch64" | "loong64",
        /// 32-bit programs on 64-bit Arm.
        Armv8l = "armv8l",
        /// 32-bit POWER, big endian.
        Ppc = "ppc" | "powerpc",
        /// 32-bit MIPS, of either order of bytes, as LXD has it.
        Mips = "mips" | "mipsel" | "mipsle",
        /// 64-bit MIPS, of either order of bytes, as LXD has it.
        Mips64 = "mips64" | "mips64el" | "mips64le",
        /// 32-bit RISC-V.
        Riscv32 = "riscv32",
    }
}

impl Architecture {
    /// Processors whose programs this one runs too.
    pub const fn personalities(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::I386],
            Self::Aarch64 => &[Self::Armv6l, Self::Armv7l, Self::Armv8l],
            Self::Armv8l => &[Self::Armv6l, Self::Armv7l],
            Self::Armv7l => &[Self::Armv6l],
            Self::Ppc64 => &[Self::Ppc],
            Self::Mips64 => &[Self::Mips],
            _ => &[],
        }
    }

    /// Distance of an image for `image` from a machine of this processor: 0 for the machine's own, 1 for one whose programs
    /// it runs, 2 for an image that does not say, 3 for any other.
    pub fn distance(machine: Option<Self>, image: Option<Self>) -> u8 {
        match (machine, image) {
            (_, None) => 2,
            (Some(machine), Some(image)) if machine == image => 0,
            (Some(machine), Some(image)) if machine.personalities().contains(&image) => 1,
            _ => 3,
        }
    }
}

vocabulary! {
    /// Disk format, and the suffix of the file on disk.
    Format {
        /// Optical disc.
        Iso = "iso",
        /// Virtual PC.
        Vhd = "vhd" | "vpc",
        /// VirtualBox.
        Vdi = "vdi",
        /// VMware.
        Vmdk = "vmdk",
        /// EC2-style machine image.
        Ami = "ami",
        /// EC2-style kernel.
        Aki = "aki",
        /// EC2-style ramdisk.
        Ari = "ari",
        /// QEMU copy on write.
        Qcow2 = "qcow2",
        /// Bytes of a disk as they are.
        Raw = "raw" | "img",
        /// Hyper-V.
        Vhdx = "vhdx",
        /// OpenVZ and Virtuozzo.
        Ploop = "ploop",
        /// Compressed read-only file system.
        Squashfs = "squashfs",
        /// An archive of files.
        Tar = "tar",
    }
}

vocabulary! {
    /// Purpose of an image.
    ImageKind {
        /// A kernel.
        Kernel = "kernel",
        /// An initial ramdisk.
        Ramdisk = "ramdisk",
        /// A whole machine.
        Machine = "machine",
        /// The root file system of a container, as LXD and Incus have them.
        Container = "container",
        /// The disk of a virtual machine, as LXD and Incus have them.
        VirtualMachine = "virtual-machine",
    }
}

vocabulary! {
    /// Container around a disk.
    Container {
        /// EC2-style machine image.
        Ami = "ami",
        /// EC2-style ramdisk.
        Ari = "ari",
        /// EC2-style kernel.
        Aki = "aki",
        /// Nothing: the disk as it is.
        Bare = "bare",
        /// A description of a machine, and its disks.
        Ovf = "ovf",
        /// A description of a machine and its disks, in one archive.
        Ova = "ova",
        /// The file system of a container.
        Docker = "docker",
        /// A disk in a compressed file.
        Compressed = "compressed",
    }
}

vocabulary! {
    /// Accounts that see an image, besides its owner and administrators.
    Visibility {
        /// Everyone.
        Public = "public",
        /// No other account.
        Private = "private",
        /// Its members.
        Shared = "shared",
        /// Everyone with its id, and lists that ask for such images.
        Community = "community",
    }
}

vocabulary! {
    /// Answer of a member to a shared image.
    MemberStatus {
        /// No answer yet.
        Pending = "pending",
        /// The image appears in the member's lists.
        Accepted = "accepted",
        /// The image stays out of the member's lists.
        Rejected = "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_spelling_names_one_value<V: Vocabulary + PartialEq + std::fmt::Debug>() {
        let mut seen = std::collections::HashSet::new();
        for value in V::ALL {
            assert_eq!(V::parse(value.name()), Some(*value));
            assert_eq!(V::parse(&value.name().to_uppercase()), Some(*value));
            for word in std::iter::once(value.name()).chain(value.aliases().iter().copied()) {
                assert!(seen.insert(word), "{word} stands twice");
                assert_eq!(V::parse(word), Some(*value));
            }
        }
        assert_eq!(V::parse("no such word"), None);
    }

    #[test]
    fn words_are_unambiguous() {
        every_spelling_names_one_value::<Architecture>();
        every_spelling_names_one_value::<Format>();
        every_spelling_names_one_value::<ImageKind>();
        every_spelling_names_one_value::<Container>();
        every_spelling_names_one_value::<Visibility>();
        every_spelling_names_one_value::<MemberStatus>();
    }

    #[test]
    fn spelling_variants_are_normalised() {
        assert_eq!(Architecture::parse("amd64"), Some(Architecture::X86_64));
        assert_eq!(Architecture::parse("arm64"), Some(Architecture::Aarch64));
    }
}
