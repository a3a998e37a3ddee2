//! The name that somebody probably meant.

/// The name that needs the fewest changed letters, at most two.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// A name that differs by more is no guess worth making.
    const CHANGES_MAX: usize = 2;
    let near = names.map(|name| (changes(given, name), name)).min_by_key(|(count, _)| *count);
    near.filter(|(count, _)| *count <= CHANGES_MAX).map(|(_, name)| name)
}

/// Letters to insert, drop or replace (Levenshtein's distance), one row of the table at a time.
fn changes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, wanted) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, letter) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(wanted != letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_and_two_may_differ() {
        for (from, to, want) in [("", "", 0), ("", "ab", 2), ("stats", "stat", 1), ("kitten", "sitting", 3)] {
            assert_eq!((changes(from, to), changes(to, from)), (want, want), "{from} {to}");
        }
        assert_eq!(nearest("sesion", ["run", "session"].into_iter()), Some("session"));
        assert_eq!(nearest("sess", ["run", "session"].into_iter()), None);
    }
}
