//! Whether a command said what a page says that it does.

/// What stands for any text in a line, and on a line of its own for any lines.
const ANYTHING: &str = "…";

/// Whether `said` is what `expected` describes. How many blanks are between words, and before them, does not count.
#[must_use]
pub fn matches(expected: &str, said: &str) -> bool {
    lines_match(&lines(expected), &lines(said))
}

fn lines(text: &str) -> Vec<String> {
    let of_words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_end().lines().map(of_words).collect()
}

fn lines_match(expected: &[String], said: &[String]) -> bool {
    match expected.split_first() {
        None => said.is_empty(),
        Some((first, rest)) if first == ANYTHING => (0..=said.len()).any(|skipped| lines_match(rest, &said[skipped..])),
        Some((first, rest)) => {
            said.split_first().is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others))
        }
    }
}

fn line_matches(expected: &str, said: &str) -> bool {
    let mut parts = expected.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = said.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return left.is_empty() };
    for part in middle {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_any_text() {
        assert!(matches("a … c", "a b c\n") && matches("a…", "a") && matches("", ""));
        assert!(matches("…x…y", "1x2x3y") && !matches("…x…y", "1y2x"));
        assert!(!matches("ab…ba", "aba"), "no letter counts twice");
        assert!(matches("a b", "  a\tb "), "blanks are blanks");
        assert!(!matches("a", "ab") && !matches("a", "") && !matches("", "a"));
    }

    #[test]
    fn dots_alone_are_any_lines() {
        assert!(
            matches("a\n…\nd", "a\nb\nc\nd") && matches("a\n…\nd", "a\nd") && matches("…", "") && matches("…", "a\nb")
        );
        assert!(!matches("a\n…\nd", "a\nb") && !matches("…\nb\n…", "a\nc"));
    }
}
