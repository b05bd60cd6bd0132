//! Text of Markdown, in lines that fit.

/// As the house's rules have it.
const WIDTH: usize = 120;

/// An item of a list, in lines that fit.
pub fn item(text: &str) -> String {
    lines(text, "* ", "  ")
}

/// A paragraph, in lines that fit.
pub fn paragraph(text: &str) -> String {
    lines(text, "", "")
}

/// Text that means itself.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if ['<', '>', '*', '_', '$', '|'].contains(&c) {
            out.push('\\');
        }
        out.push(if c == '\n' { ' ' } else { c });
    }
    out
}

/// Ends it with a full stop, unless it ends.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '?']) { text.to_owned() } else { format!("{text}.") }
}

fn lines(text: &str, first: &str, others: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_owned();
    for word in text.split_whitespace() {
        let is_begun = line.len() > first.len().max(others.len());
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            others.clone_into(&mut line);
        } else if is_begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit() {
        let text = item(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.lines().count() == 3 && text.starts_with("* word word") && text.contains("\n  word"), "{text}");
        assert_eq!(paragraph("a  b\nc"), "a b c\n");
    }

    #[test]
    fn text_means_itself() {
        assert_eq!(plain("<N> *a* $B\n"), "\\<N\\> \\*a\\* \\$B");
        assert_eq!((sentence("a "), sentence("a?")), ("a.".to_owned(), "a?".to_owned()));
    }
}
