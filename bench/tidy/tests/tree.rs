//! The tree is tidy: one test for each rule, which says where it is broken and what to do.

use std::path::Path;

use ringfort_tidy::{RULES, Tree, check};

/// Runs one rule over the repository.
fn assert_tidy(name: &str) {
    let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule of that name");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let problems = check(rule, &Tree::read(&root).expect("the files of the repository"));
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("{}:{}: {}", problem.path, problem.line, problem.text)).collect();
    assert!(lines.is_empty(), "\n{}\n{} of these. Why: {}.", lines.join("\n"), lines.len(), rule.reason);
}

macro_rules! tidy {
    ($($test:ident: $rule:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                assert_tidy($rule);
            }
        )*

        #[test]
        fn every_rule_has_a_test() {
            let tested = [$($rule),*];
            assert!(RULES.iter().all(|rule| tested.contains(&rule.name)));
        }
    };
}

tidy! {
    lines_fit: "width",
    no_trailing_blanks: "blanks",
    nothing_is_left_for_later: "todo",
    every_file_is_text: "binary",
    functions_are_short: "function length",
    files_are_short: "file length",
    modules_lie_in_one_place: "module style",
    imports_are_in_one_order: "imports",
    modules_do_not_use_each_other_in_a_circle: "circles",
    words_are_plain: "plain words",
    sentences_are_short: "sentence length",
    tests_that_are_named_are_there: "named tests",
}
