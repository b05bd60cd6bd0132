//! Lines of a file: what each is, and where its parts stand.

use super::setting::Section;

/// What begins a setting that only we understand, behind a comment's sign.
const MARK: &str = "ringfort:";

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

/// Understands a line. A `#` begins a comment wherever it stands, as in `wg` and `wg-quick`.
pub(crate) fn line(text: &str) -> Line<'_> {
    let (start, text) = trim(0, text);
    let (is_marked, start, text) = match marked(text) {
        Some(at) => (true, start + at, &text[at..]),
        None => (false, start, text),
    };
    let end = text.find('#').unwrap_or(text.len());
    let (at, text) = trim(start, &text[..end]);
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
    let (value_at, value) = trim(at + equals + 1, &text[equals + 1..]);
    Line::Setting(Parts { is_marked, name, name_at, value, value_at })
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
        for unknown in ["MTU 1420", "#ringfort:", "#ringfort: [Peer]", "#ringfort: # x"] {
            assert!(matches!(line(unknown), Line::Unknown { .. }), "{unknown:?}");
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
