//! As much of Rust's syntax as the rules need: what is code, what is comment, where functions end.

/// A line of a comment, without its slashes.
pub struct CommentLine<'a> {
    /// From 1.
    pub line: usize,
    /// `//`, `///` or `//!`.
    pub marker: &'a str,
    /// What follows the marker.
    pub text: &'a str,
}

/// Comments that have a line to themselves. Others are short.
pub fn comment_lines(source: &str) -> impl Iterator<Item = CommentLine<'_>> {
    source.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim_start();
        let marker = ["//!", "///", "//"].into_iter().find(|marker| line.starts_with(marker))?;
        Some(CommentLine { line: at + 1, marker, text: &line[marker.len()..] })
    })
}

/// The source with blanks in place of comments and of the contents of strings and characters. Lines stay where they
/// are.
pub fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let blank = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_len(rest),
            '"' => string_len(rest),
            'r' if !ends_in_word(&code) => raw_string_len(rest),
            '\'' => char_len(rest),
            _ => 0,
        };
        if blank == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..blank].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[blank..];
        }
    }
    code
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function<'a> {
    pub name: &'a str,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

/// The functions of a source that [`code_only`] has been through, those inside of others included.
pub fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if ends_in_word(&code[..at]) {
            continue;
        }
        let name = &code[at + 3..];
        let name = &name[..name.find(|c: char| !is_word(c)).unwrap_or(name.len())];
        // A type (`fn (u8)`) or a macro's variable (`fn $name`) has no name here.
        if let (false, Some(len)) = (name.is_empty(), body_end(&code[at..])) {
            let line = 1 + code[..at].matches('\n').count();
            found.push(Function { name, line, lines: 1 + code[at..at + len].matches('\n').count() });
        }
    }
    found
}

/// Where the body of the function ends that `code` begins with. `None` if it has none.
fn body_end(code: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            _ => continue,
        }
        if c == '}' && braces == 0 && brackets == 0 {
            return Some(at);
        }
    }
    None
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0;
    for (at, _) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    rest.len()
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// 0 if this is no raw string.
fn raw_string_len(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let Some(text) = rest[1 + hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    text.find(&end).map_or(rest.len(), |at| 2 + hashes + at + end.len())
}

/// 0 if this is the quote of a lifetime.
fn char_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |at| at + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = "a(\"}\\\"{\", '}', '\\'', b'{', &'a x, r#\"}\"{\"#); // }\n/* { /* } */ { */ b";
        let code = code_only(source);
        assert_eq!(code.lines().count(), 2);
        assert!(!code.contains(['{', '}', '"']), "{code}");
        assert!(code.contains("&'a x") && code.ends_with('b'), "{code}");
    }

    #[test]
    fn a_function_ends_with_its_brace() {
        let code =
            "trait T {\n    fn none(a: [u8; 2]);\n    fn two(f: fn(u8)) {\n    }\n}\nfn $name() {}\nfn last() {}";
        let two = Function { name: "two", line: 3, lines: 2 };
        assert_eq!(functions(code), [two, Function { name: "last", line: 7, lines: 1 }]);
    }
}
