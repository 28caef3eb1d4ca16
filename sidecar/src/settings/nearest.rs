//! Which known name a misspelt one probably meant.

/// `; did you mean NAME?` for the name that is nearest to `name`, or nothing where none is near.
pub(super) fn among(name: &str, known: impl Iterator<Item = impl AsRef<str>>) -> String {
    let nearest = known.map(|known| (distance(name, known.as_ref()), known)).min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, known)) if distance * 3 <= name.len() => format!("; did you mean {}?", known.as_ref()),
        _ => String::new(),
    }
}

/// Levenshtein's distance in bytes: the least number of insertions, removals and replacements.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, left) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (column, right) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_nearest_one() {
        assert_eq!(among("lisen", ["listen", "policy"].iter()), "; did you mean listen?");
        assert_eq!(among("polciy", ["listen", "policy"].iter()), "; did you mean policy?");
    }

    #[test]
    fn a_foreign_name_finds_none() {
        assert_eq!(among("service-host", ["listen", "policy"].iter()), "");
        assert_eq!(among("", ["listen"].iter()), "");
    }
}
