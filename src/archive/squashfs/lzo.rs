//! Decoding of a block of LZO1X, which is how squashfs knows LZO. Libraries for it have another licence, or take a stranger's
//! bytes on trust: their output has no bound, and a distance beyond its start ends the process.
//!
//! The format: an instruction is a byte that says how far back and how long a copy is, with more bytes of the distance and
//! the length behind it; its two lowest bits, or those of the distance, say how many literal bytes follow. The meaning of the
//! lowest sixteen instructions depends on how many literals came before.

/// Number that stands for a run of literals before an instruction, where others stand for a few after one.
const RUN: usize = 4;

/// The shortest distance that the farthest form has; none farther than it marks the end.
const FAR: usize = 16 << 10;

/// Unpacks a block to at most `most` bytes; `None` if it is damaged, or more.
pub(super) fn unpack(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut input = Input(packed);
    let mut output = Output { bytes: Vec::new(), most };
    // Literals before the next instruction: none, one to three, or a run.
    let mut literals = 0;
    if let Some(first @ 18..) = packed.first() {
        input.byte()?;
        let count = usize::from(*first) - 17;
        output.literals(input.take(count)?)?;
        literals = count.min(RUN);
    }
    loop {
        let instruction = usize::from(input.byte()?);
        let (distance, length, rest) = match instruction {
            64.. => {
                let distance = (usize::from(input.byte()?) << 3) + (instruction >> 2 & 7) + 1;
                (distance, (instruction >> 5) + 1, instruction)
            }
            32..64 => {
                let length = input.length(instruction & 31, 31)? + 2;
                let distance = input.pair()?;
                ((distance >> 2) + 1, length, distance)
            }
            16..32 => {
                let length = input.length(instruction & 7, 7)? + 2;
                let low = input.pair()?;
                let distance = FAR + ((instruction & 8) << 11) + (low >> 2);
                if distance == FAR {
                    return (length == 3).then_some(output.bytes);
                }
                (distance, length, low)
            }
            _ if literals == 0 => {
                let count = input.length(instruction, 15)? + 3;
                output.literals(input.take(count)?)?;
                literals = RUN;
                continue;
            }
            _ => {
                let distance = (usize::from(input.byte()?) << 2) + (instruction >> 2) + 1;
                let after_run = literals == RUN;
                (if after_run { distance + (2 << 10) } else { distance }, if after_run { 3 } else { 2 }, instruction)
            }
        };
        output.copy(distance, length)?;
        literals = rest & 3;
        output.literals(input.take(literals)?)?;
    }
}

/// Packed bytes that have not been read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Two bytes, the lower one first.
    fn pair(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    /// A length: as it is in the instruction or, where that has 0, `base` more than the bytes behind it say, of which each 0
    /// stands for 255 and for another one.
    fn length(&mut self, length: usize, base: usize) -> Option<usize> {
        if length != 0 {
            return Some(length);
        }
        let mut total = base;
        loop {
            match self.byte()? {
                0 => total += 255,
                last => return Some(total + usize::from(last)),
            }
        }
    }
}

/// Unpacked bytes.
struct Output {
    bytes: Vec<u8>,
    most: usize,
}

impl Output {
    fn literals(&mut self, bytes: &[u8]) -> Option<()> {
        let fits = self.bytes.len() + bytes.len() <= self.most;
        fits.then(|| self.bytes.extend_from_slice(bytes))
    }

    /// Repeats what stands so far back. The copy may overlap what it makes.
    fn copy(&mut self, distance: usize, length: usize) -> Option<()> {
        let from = self.bytes.len().checked_sub(distance)?;
        if self.bytes.len() + length > self.most {
            return None;
        }
        for at in from..from + length {
            self.bytes.push(self.bytes[at]);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The end: the farthest form, with a distance of nothing.
    const END: [u8; 3] = [0x11, 0, 0];

    #[test]
    fn every_form_is_understood() {
        let run = [&[17 + 5][..], b"abcde"].concat();
        for (instructions, expected) in [
            (vec![], "abcde".to_owned()),
            // Three bytes of four back, with a literal behind them; five of one back; 31 + 4 + 2 of two back.
            (vec![0b0100_1101, 0, b'x'], "abcdebcdx".to_owned()),
            (vec![0b1000_0000, 0], "abcdeeeeee".to_owned()),
            (vec![0b0010_0000, 4, 1 << 2, 0], format!("abcde{}d", "de".repeat(18))),
            // After one literal, two bytes of one back.
            (vec![0b0100_0001, 0, b'x', 0b0000_0000, 0], "abcdeeeexxx".to_owned()),
            // After none, a run of literals: 3 + 1, and 3 + 15 + 2.
            ([&[0b0100_0000, 0, 1][..], b"wxyz"].concat(), "abcdeeeewxyz".to_owned()),
            ([&[0b0100_0000, 0, 0, 2][..], &[b'z'; 20]].concat(), format!("abcdeeee{}", "z".repeat(20))),
        ] {
            let packed = [&run[..], &instructions, &END].concat();
            assert_eq!(
                unpack(&packed, 1 << 10).map(|bytes| String::from_utf8(bytes).unwrap()),
                Some(expected),
                "{instructions:?}"
            );
        }
        // After a run, three bytes of 2049 back; and 16 KiB and one back.
        let long = |count: usize| {
            let zeros = (count - 19) / 255;
            [vec![0; 1 + zeros], vec![(count - 18 - zeros * 255) as u8]].concat()
        };
        let text: Vec<u8> = (0..17_000).map(|n| (n % 251) as u8).collect();
        let packed = [&long(17_000)[..], &text, &[0, 0], &END].concat();
        assert_eq!(unpack(&packed, 1 << 20).unwrap()[17_000..], text[17_000 - 2049..][..3]);
        let packed = [&long(17_000)[..], &text, &[0x12, 1 << 2, 0], &END].concat();
        assert_eq!(unpack(&packed, 1 << 20).unwrap()[17_000..], text[17_000 - 16_385..][..4]);
    }

    #[test]
    fn a_damaged_block_is_told() {
        let run = [&[17 + 5][..], b"abcde"].concat();
        assert_eq!(unpack(&[&run[..], &END].concat(), 4), None);
        for bad in [
            // Farther back than there is anything, ends in the middle, ends with another length.
            vec![0b0101_0101, 0, b'x'],
            vec![0b0100_0000],
            vec![],
            vec![0x12, 0, 0],
            vec![0x10, 0, 0, 0, 0],
        ] {
            assert_eq!(unpack(&[&run[..], &bad].concat(), 1 << 10), None, "{bad:?}");
        }
        let endless = [&run[..], &[0b0010_0000], &[0; 4000], &[1, 0, 0], &END].concat();
        assert_eq!(unpack(&endless, 1 << 20).map(|bytes| bytes.len()), Some(5 + 2 + 31 + 4000 * 255 + 1));
        assert_eq!(unpack(&endless, 1 << 19), None);
        assert_eq!(unpack(&[], 10), None);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(unpack(&bytes, 5000).is_none_or(|unpacked| unpacked.len() <= 5000));
        }
    }
}
