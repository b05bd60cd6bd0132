//! Lines of a file: what each is, and where its parts stand.

use super::setting::Section;

/// What begins a setting that only we understand, behind a comment's sign.
const MARK: &str = "ringfort:";

/// Their values are for a shell, which knows a comment from a `#` that is part of a command. So they reach to the end
/// of the line, as with `wg-quick` since 1.0.20260223. Earlier ones cut them at the first `#`.
const COMMANDS: [&str; 4] = ["PreUp", "PostUp", "PreDown", "PostDown"];

/// What some editors begin a file with. It says nothing, and is no blank either.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What a line is. Positions are in bytes from the beginning of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Blank, or a comment.
    Nothing,
    /// In brackets. `None` if there is no such section.
    Section { at: usize, section: Option<Section> },
    /// `Name = value`, in which the value may be empty.
    Setting(Parts<'a>),
    /// Anything else.
    Unknown { at: usize },
}

/// A setting, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// Behind `#ringfort:`.
    pub is_marked: bool,
    pub name: &'a str,
    pub name_at: usize,
    pub value: &'a str,
    pub value_at: usize,
}

/// The byte order mark that a file may begin with, and the lines behind it.
pub(crate) fn split_mark(text: &str) -> (&str, &str) {
    text.split_at(text.len() - text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).len())
}

/// Understands a line. A `#` begins a comment wherever it stands, as in `wg` and `wg-quick`, except in commands.
pub(crate) fn line(text: &str) -> Line<'_> {
    let (start, text) = trim(0, text);
    let (is_marked, start, whole) = match marked(text) {
        Some(at) => (true, start + at, &text[at..]),
        None => (false, start, text),
    };
    let end = whole.find('#').unwrap_or(whole.len());
    let (at, text) = trim(start, &whole[..end]);
    if text.is_empty() {
        return if is_marked { Line::Unknown { at: start } } else { Line::Nothing };
    }
    if text.starts_with('[') {
        let of = |section: &Section| text.eq_ignore_ascii_case(section.header());
        return match is_marked {
            true => Line::Unknown { at },
            false => Line::Section { at, section: [Section::Interface, Section::Peer].into_iter().find(of) },
        };
    }
    let Some(equals) = text.find('=') else { return Line::Unknown { at } };
    let (name_at, name) = trim(at, &text[..equals]);
    let is_command = COMMANDS.iter().any(|command| command.eq_ignore_ascii_case(name));
    let text = if is_command { &whole[at - start..] } else { text };
    let (value_at, value) = trim(at + equals + 1, &text[equals + 1..]);
    Line::Setting(Parts { is_marked, name, name_at, value, value_at })
}

/// Where the first `#` of a command is, if the shell takes it for a part of that rather than for a comment.
pub(crate) fn hash_in_command(command: &str) -> Option<usize> {
    let at = command.find('#')?;
    let (mut quote, mut is_word, mut is_escaped) = (None, false, false);
    for char in command[..at].chars() {
        match (quote, char) {
            _ if is_escaped => (is_word, is_escaped) = (true, false),
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(end), _) => quote = Some(end).filter(|&end| end != char),
            (None, '\'' | '"') => (quote, is_word) = (Some(char), true),
            (None, _) => is_word = !char.is_whitespace() && !";&|()<>`".contains(char),
        }
    }
    (quote.is_some() || is_word || is_escaped).then_some(at)
}

/// The column of a byte, in characters from 1.
pub(crate) fn column(line: &str, at: usize) -> usize {
    1 + line.char_indices().take_while(|&(position, _)| position < at).count()
}

/// Where the setting begins behind our mark.
fn marked(text: &str) -> Option<usize> {
    let comment = text.strip_prefix('#')?.trim_start();
    let head = comment.get(..MARK.len())?;
    head.eq_ignore_ascii_case(MARK).then_some(text.len() - comment.len() + MARK.len())
}

/// The text without blanks around it, and where that begins.
fn trim(at: usize, text: &str) -> (usize, &str) {
    let front = text.trim_start();
    (at + text.len() - front.len(), front.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, &str, usize, &str, usize) {
        match line(text) {
            Line::Setting(parts) => (parts.is_marked, parts.name, parts.name_at, parts.value, parts.value_at),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings() {
        assert_eq!(parts("MTU=1420"), (false, "MTU", 0, "1420", 4));
        assert_eq!(parts("\t MTU =  1420 # bytes\r"), (false, "MTU", 2, "1420", 9));
        assert_eq!(parts("PostUp = a=b; c"), (false, "PostUp", 0, "a=b; c", 9));
        assert_eq!(parts(" postdown = a#b # c \r"), (false, "postdown", 1, "a#b # c", 12));
        assert_eq!(parts("Post = a#b"), (false, "Post", 0, "a", 7));
        assert_eq!(parts("MTU="), (false, "MTU", 0, "", 4));
        assert_eq!(parts("#ringfort: Name = laptop # of Ann"), (true, "Name", 11, "laptop", 18));
        assert_eq!(parts("  #  RingFort:Name=x"), (true, "Name", 14, "x", 19));
    }

    #[test]
    fn everything_else() {
        for nothing in ["", " \t\r", "# x", "#ringfor: Name = x", "# Name = laptop", "##ringfort: Name = x"] {
            assert_eq!(line(nothing), Line::Nothing, "{nothing:?}");
        }
        assert_eq!(line(" [peer] # x"), Line::Section { at: 1, section: Some(Section::Peer) });
        assert_eq!(line("[Interface"), Line::Section { at: 0, section: None });
        for unknown in ["MTU 1420", "PostUp # = x", "#ringfort:", "#ringfort: [Peer]", "#ringfort: # x"] {
            assert!(matches!(line(unknown), Line::Unknown { .. }), "{unknown:?}");
        }
    }

    #[test]
    fn a_hash_of_a_command_is_told_from_a_comment() {
        for comment in ["a", "", "# a", "a # b#c", "a 'b c' # d", "a;# b", "a \\\\ #", "(a)# b", "'a' \"b\"\t# '"] {
            assert_eq!(hash_in_command(comment), None, "{comment}");
        }
        for (at, part) in
            [(1, "a# b"), (1, "$#"), (4, "a 'b#'"), (4, "a \" # b\""), (3, "a \\# b"), (1, "'#' # a"), (2, "''#")]
        {
            let is_found = hash_in_command(part);
            assert_eq!(is_found, Some(at), "{part}");
        }
    }

    #[test]
    fn one_mark_is_split_off() {
        for (text, parts) in [("", ("", "")), ("x", ("", "x")), ("\u{feff}", ("\u{feff}", ""))] {
            assert_eq!(split_mark(text), parts);
        }
        assert_eq!(split_mark("\u{feff}\u{feff}x"), ("\u{feff}", "\u{feff}x"));
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!((column("äö = x", 0), column("äö = x", 7)), (1, 6));
    }
}
