//! The expectation: size and digests that a sender announced, compared with the received bytes.

use crate::error::{Reason, Result};
use crate::image::Digests;

/// Size and digests that a sender announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Digests.
    pub digests: Digests,
}

impl Expected {
    /// Adds another announcement of the size, such as the length of the body.
    ///
    /// # Errors
    /// `DigestMismatch` when the two sizes differ.
    pub fn and_size(self, size: Option<u64>) -> Result<Self> {
        self.check(size, &Digests::default())?;
        Ok(Self { size: self.size.or(size), ..self })
    }

    /// Compares the announcement with the received bytes.
    ///
    /// # Errors
    /// `DigestMismatch`, with the value that differs. A value that one side lacks is not compared.
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
