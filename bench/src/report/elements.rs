//! Pieces of HTML that the sections are made of.

use super::plots::{SERIES, escape};

/// A table; `rows` and `header` are HTML already, the first cell of a row is its head. Each cell knows the head of its
/// column: where there is no room for columns, the style sheet puts it before the cell.
pub fn table(caption: &str, header: &[String], rows: &[Vec<String>]) -> String {
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
