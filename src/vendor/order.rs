//! Order of versions and builds: numbers in them count as numbers.

use std::cmp::Ordering;

/// Compares two texts, their runs of digits by value.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (a, rest_of_one) = run(one);
        let (b, rest_of_other) = run(other);
        if a.is_empty() && b.is_empty() {
            return Ordering::Equal;
        }
        let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let by = match (digits(a), digits(b)) {
            (true, true) => {
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            }
            _ => a.cmp(b),
        };
        if by != Ordering::Equal {
            return by;
        }
        (one, other) = (rest_of_one, rest_of_other);
    }
}

/// The digits, or what is none, at the beginning of a text; and the rest.
fn run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let ordered =
            ["", "9", "10", "10.2", "10.10", "10.10-1", "20260105", "20260105-2", "20260105-10", "20260105T1Z"];
        for pair in ordered.windows(2) {
            assert_eq!(natural(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(natural(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(natural("007", "7"), Ordering::Equal);
        let long = "9".repeat(100);
        assert_eq!(natural(&long, &format!("{long}0")), Ordering::Less, "of any length");
    }
}
