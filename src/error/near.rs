//! Near names, for words that say what was perhaps meant.

/// ` (did you mean …?)` for a name that is near enough to a known one to be a slip; else nothing.
pub fn did_you_mean(wrong: &str, known: impl Iterator<Item = String>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(wrong, &name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map_or_else(String::new, |(_, name)| format!(" (did you mean {name}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_near_is_offered() {
        let known = || ["debian", "ubuntu"].map(str::to_owned).into_iter();
        assert_eq!(did_you_mean("debain", known()), " (did you mean debian?)");
        assert_eq!(did_you_mean("plan9", known()), "");
    }
}
