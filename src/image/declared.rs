//! What an image says of its bytes: their format, and what is around the disk in them.

use super::{Container, Format, Image};

/// Format and container of an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared {
    /// Disk format.
    pub format: Option<Format>,
    /// Container around the disk.
    pub container: Option<Container>,
}

impl Declared {
    /// True if the bytes are around disks, which are looked at one by one.
    pub fn holds_disks(self) -> bool {
        matches!(self.container, Some(Container::Ova | Container::Ovf | Container::Compressed))
    }

    /// Format that the bytes themselves must have; none for a container with the disk in it.
    pub fn of_bytes(self) -> Option<Format> {
        self.format.filter(|_| match self.container {
            None | Some(Container::Bare | Container::Ami | Container::Aki | Container::Ari) => true,
            Some(Container::Ovf | Container::Ova | Container::Docker | Container::Compressed) => false,
        })
    }
}

impl PartialEq for Declared {
    /// Two are alike if the same bytes pass under both.
    fn eq(&self, other: &Self) -> bool {
        let asks = |said: &Self| (said.of_bytes(), said.holds_disks().then_some((said.format, said.container)));
        asks(self) == asks(other)
    }
}

impl Eq for Declared {}

impl Image {
    /// Format and container of the image.
    pub fn declared(&self) -> Declared {
        Declared { format: self.format, container: self.container }
    }
}
