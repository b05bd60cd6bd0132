//! Pieces of HTML that the sections are made of.

use super::plots::{SERIES, escape};

/// More columns than a page of 1400 pixels has room for.
const COLUMNS_MAX: usize = 8;

/// A table; `rows` and `header` are HTML already, the first cell of a row is its head. Each cell knows the head of its
/// column: where there is no room for columns, the style sheet puts it before the cell. A table that is too wide is
/// turned, if it has fewer rows than columns.
pub fn table(caption: &str, header: &[String], rows: &[Vec<String>]) -> String {
    if header.len() > COLUMNS_MAX && rows.len() + 1 < header.len() {
        let (header, rows) = turned(header, rows);
        return upright(caption, &header, &rows);
    }
    upright(caption, header, rows)
}

/// Rows as columns.
fn turned(header: &[String], rows: &[Vec<String>]) -> (Vec<String>, Vec<Vec<String>>) {
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let heads = std::iter::once(header[0].clone()).chain(rows.iter().map(|row| cell(row, 0))).collect();
    let column = |column: usize| {
        std::iter::once(header[column].clone()).chain(rows.iter().map(|row| cell(row, column))).collect()
    };
    (heads, (1..header.len()).map(column).collect())
}

fn upright(caption: &str, header: &[String], rows: &[Vec<String>]) -> String {
    let heads: String = header.iter().map(|cell| format!("<th scope=\"col\">{cell}</th>")).collect();
    let mut text =
        format!("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n", escape(caption));
    text += &format!("<caption>{}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n", escape(caption));
    for row in rows {
        let mut cells = row.iter();
        let first = cells.next().map_or("", String::as_str);
        let heads = header.iter().skip(1).map(String::as_str).chain(std::iter::repeat(""));
        let rest = cells.zip(heads).map(|(cell, head)| format!("<td data-head=\"{head}\">{cell}</td>"));
        let rest: String = rest.collect();
        text += &format!("<tr><th scope=\"row\">{first}</th>{rest}</tr>\n");
    }
    text + "</tbody>\n</table></div>\n"
}

/// A plot with the names of its colours below.
pub fn figure(svg: &str, legend: &[(usize, &str)]) -> String {
    let entry = |(series, name): &(usize, &str)| {
        let series = series % SERIES;
        format!("<li><span class=\"swatch\" style=\"background: var(--series-{series})\"></span>{}</li>", escape(name))
    };
    let entries: String = legend.iter().map(entry).collect();
    let legend = if entries.is_empty() { String::new() } else { format!("<ul class=\"legend\">{entries}</ul>\n") };
    format!("<figure>\n{svg}{legend}</figure>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_that_is_too_wide_is_turned() {
        let header: Vec<String> = (0..9).map(|column| format!("head {column}")).collect();
        let rows: Vec<Vec<String>> =
            ["one", "two"].map(|row| (0..9).map(|column| format!("{row} {column}")).collect()).to_vec();
        let turned = table("caption", &header, &rows);
        assert!(turned.contains("<th scope=\"col\">two 0</th>"), "{turned}");
        assert!(turned.contains("<tr><th scope=\"row\">head 8</th><td data-head=\"one 0\">one 8</td>"), "{turned}");
        let small = table("caption", &words(&["", "a"]), &[words(&["one", "1"])]);
        assert!(small.contains("<th scope=\"row\">one</th><td data-head=\"a\">1</td>"), "{small}");
    }
}
