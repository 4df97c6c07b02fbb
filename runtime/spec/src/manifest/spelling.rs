/// A misspelling differs from what was meant in this many letters at most.
const EDITS_MAX: usize = 3;
/// Longer words are not compared: the time grows with the product of the lengths.
const WORD_BYTES_MAX: usize = 64;

/// The candidate that `word` most likely meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (edits(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS_MAX && edits * 2 < candidate.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: insertions, deletions and replacements of bytes.
fn edits(from: &str, to: &str) -> usize {
    let mut costs: Vec<usize> = (0..=to.len()).collect();
    for (row, byte) in from.bytes().enumerate() {
        let mut above_left = row;
        let mut left = row + 1;
        for (other, above) in to.bytes().zip(costs.iter_mut().skip(1)) {
            let cost = (above_left + usize::from(byte != other)).min(*above + 1).min(left + 1);
            above_left = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = costs.first_mut() {
            *first = row + 1;
        }
    }
    costs.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }

    #[test]
    fn a_misspelling_finds_its_word_and_a_stranger_none() {
        let words = ["freeze-after", "zero-after", "tmp"];
        assert_eq!(nearest("freezeAfter", words), Some("freeze-after"));
        assert_eq!(nearest("gpu", words), None);
        assert_eq!(nearest(&"x".repeat(1000), words), None);
    }
}
