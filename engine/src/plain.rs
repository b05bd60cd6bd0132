//! Text that somebody else has a part in, made fit for a log and a terminal: the name of a file, an answer, an error of
//! another program. Nothing in it begins a line, or moves a cursor.

use std::borrow::Cow;

/// On one line: what was several has semicolons between. Other control characters are escaped.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |character, line| match character {
        '\n' => line.push_str("; "),
        other => line.extend(other.escape_default()),
    })
}

/// Its lines and tabs stay. Other control characters are escaped.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character, lines| match character {
        '\n' | '\t' => lines.push(character),
        other => lines.extend(other.escape_default()),
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => escape(character, &mut plain),
            false => plain.push(character),
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_a_line_or_moves_a_cursor() {
        let text = "ü:\tone\ntwo \x1b[2J\r\x07\u{9b}31m\x7f";
        assert_eq!(line(text), r"ü:\tone; two \u{1b}[2J\r\u{7}\u{9b}31m\u{7f}");
        assert_eq!(lines(text), "ü:\tone\ntwo \\u{1b}[2J\\r\\u{7}\\u{9b}31m\\u{7f}");
        assert!(matches!(line("as it is"), Cow::Borrowed("as it is")));
    }
}
