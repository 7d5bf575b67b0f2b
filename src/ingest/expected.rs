//! What senders say of their bytes, and whether it is true.

use crate::error::{Reason, Result};
use crate::image::Digests;

/// What a sender says of its bytes beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// How many there are.
    pub size: Option<u64>,
    /// What they hash to.
    pub digests: Digests,
}

impl Expected {
    /// The same with what else is said of the size: the length of the body, say.
    ///
    /// # Errors
    /// `DigestMismatch` when the two differ.
    pub fn and_size(self, size: Option<u64>) -> Result<Self> {
        self.check(size, &Digests::default())?;
        Ok(Self { size: self.size.or(size), ..self })
    }

    /// Compares what was claimed with what came.
    ///
    /// # Errors
    /// `DigestMismatch`, in words that say which and how. Nothing is wrong about what neither side knows.
    pub(crate) fn check(&self, size: Option<u64>, digests: &Digests) -> Result<()> {
        let wrong = |text: String| Err(Reason::Mismatch.saying(text));
        if let (Some(claimed), Some(size)) = (self.size, size)
            && claimed != size
        {
            return wrong(format!("The file has {size} bytes, not {claimed} as announced."));
        }
        if let (Some(claimed), Some(found)) = (self.digests.md5_hex(), digests.md5_hex())
            && claimed != found
        {
            return wrong(format!("The file's md5 is {found}, not {claimed} as announced."));
        }
        if let (Some(claimed), Some(found)) = (self.digests.sha256_hex(), digests.sha256_hex())
            && claimed != found
        {
            return wrong(format!("The file's sha256 is {found}, not {claimed} as announced."));
        }
        if let (Some(claimed), Some(found)) = (self.digests.sha512_hex(), digests.sha512_hex())
            && claimed != found
        {
            return wrong(format!("The file's sha512 is {found}, not {claimed} as announced."));
        }
        Ok(())
    }
}
