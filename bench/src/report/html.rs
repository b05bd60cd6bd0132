//! One page with everything in it: no scripts, no fonts, nothing from anywhere else. It is also well-formed XML, which
//! the tests make use of.

use ringfort_testbed::Result;

use super::cautions::cautions;
use super::other::Other;
use super::plots::escape;
use super::{pictures, sections, sheet};
use crate::results::Results;
use crate::results::model::Kind;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// A plot cannot be drawn.
pub fn page(results: &Results) -> Result<String> {
    let title = match results.kind {
        Kind::Compare => "Ringfort: comparison",
        Kind::Aead => "Ringfort: ciphers",
    };
    let mut body = sections::head(results, title);
    body += &sections::cautions(&cautions(results));
    body += &sections::failures(results);
    body += &sections::overview(results);
    for test in &results.tests {
        body += &sections::test(results, test)?;
    }
    body += &sections::memory(results)?;
    body += &sections::stages(&results.stages)?;
    body += &sections::reading(results);
    body += &sections::machine("Machine and programs", &results.command, &results.stamp, &results.contenders);
    Ok(whole(title, &body))
}

/// The page of a file of a single command.
///
/// # Errors
/// A plot cannot be drawn.
pub fn page_of_other(other: &Other) -> Result<String> {
    let head = other.head();
    let title = format!("Ringfort: {}", other.title());
    let mut body = format!("<h1>{}</h1>\n<p class=\"faint\">{}</p>\n", escape(&title), escape(&sheet::about(other)));
    body += &sections::cautions(&sheet::cautions(other));
    body += &pictures::of(other)?;
    body += &pictures::figures(other);
    if let Other::Stages(file) = other {
        body += &sections::stages(&file.findings.stages)?;
    }
    body +=
        &sections::machine("Machine and programs", &head.command, &head.stamp, std::slice::from_ref(&head.contender));
    if let Some(hosts) = &head.hosts {
        body += &sections::machine("The other host, as its reflector says", &[], &hosts.reflector, &[]);
    }
    Ok(whole(&escape(&title), &body))
}

fn whole(title: &str, body: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"/>
<link rel="icon" href="data:,"/>
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"#
    )
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, ParsingOptions};

    use super::*;
    use crate::report::other::Any;
    use crate::report::synthetic;

    fn parse(page: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
    }

    fn count(document: &Document<'_>, name: &str) -> usize {
        document.descendants().filter(|node| node.tag_name().name() == name).count()
    }

    #[test]
    fn the_page_is_well_formed_and_has_every_part() {
        let page = page(&synthetic::results()).unwrap();
        let document = parse(&page);
        // A bar chart of each test, percentiles, throughput over time, memory, stages.
        assert_eq!(count(&document, "svg"), 6);
        assert_eq!(count(&document, "svg"), count(&document, "figure"));
        assert!(count(&document, "table") >= 4);
        let text: String = document.descendants().filter_map(|node| node.text()).collect();
        let expected = ["no difference seen", "2.00 × better", "did not <open>", "fast 1.2 <beta> & \"more\"", "seal"];
        for expected in expected {
            assert!(text.contains(expected), "{expected:?} is not in the page");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_can_be_read_to_somebody() {
        let page = page(&synthetic::results()).unwrap();
        let document = parse(&page);
        for node in document.descendants().filter(|node| node.is_element()) {
            for attribute in node.attributes() {
                let elsewhere = ["src", "href", "srcset", "action", "data"].contains(&attribute.name());
                assert!(!elsewhere || attribute.value() == "data:,", "{attribute:?}");
            }
        }
        assert!(!page.contains("@import") && !page.contains("url(") && !page.contains("<script"));
        for svg in document.descendants().filter(|node| node.tag_name().name() == "svg") {
            let has =
                |name: &str| svg.children().any(|child| child.tag_name().name() == name && child.text().is_some());
            assert!(has("title") && has("desc"), "a picture without words");
        }
        let html = document.root_element();
        assert_eq!(html.attribute("lang"), Some("en"));
        assert_eq!(count(&document, "caption"), count(&document, "table"));
    }

    #[test]
    fn every_kind_of_file_has_a_page_with_its_pictures_and_its_figures() {
        let mut pictures = Vec::new();
        for file in synthetic::others() {
            let Any::Other(other) = Any::parse(&file).unwrap() else { panic!("that is a session") };
            let page = page_of_other(&other).unwrap();
            let document = parse(&page);
            pictures.push(count(&document, "svg"));
            assert_eq!(count(&document, "svg"), count(&document, "figure"));
            assert!(page.contains("<b>Caution</b>") && page.contains("The other host"), "{page}");
            assert_eq!(count(&document, "caption"), count(&document, "table"));
        }
        // Over time and percentiles; rates, latencies, loss, bursts; connections; times; stages; what is kept; a soak;
        // round trips and throughput under load.
        assert_eq!(pictures, [3, 4, 2, 1, 1, 1, 5, 3]);
    }

    #[test]
    fn a_session_in_which_everything_failed_has_a_page_too() {
        let mut results = synthetic::results();
        for run in &mut results.runs {
            run.error = Some("no".to_owned());
        }
        results.stages.clear();
        results.summary = crate::results::summary::summarise(&results);
        let page = page(&results).unwrap();
        assert_eq!(count(&parse(&page), "svg"), 0);
    }
}
