//! What the documentation says of tests is so.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

use std::fs;
use std::path::Path;

/// `file::test`, as the questions name the tests that show their answers.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| quoted.split_once("::")).collect()
}

#[test]
fn all_questions_are_answered_in_their_order_and_the_tests_they_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/questions.md")).unwrap();
    let (questions, _) = text.split_once("## What is often told otherwise").unwrap();
    let numbers = questions.split("\n## ").skip(1).map(|question| {
        assert!(question.contains("\nShown by `"), "{question}");
        question.split_once(". ").unwrap().0.parse().unwrap()
    });
    assert_eq!(numbers.collect::<Vec<u32>>(), (1..=27).collect::<Vec<_>>());

    let tests = named_tests(&text);
    assert!(tests.len() >= 20, "{tests:?}");
    for (file, test) in tests {
        let file =
            if file.contains('/') { file.to_owned() } else { format!("pool-tonic/tests/{file}") };
        let source = fs::read_to_string(root.join(format!("{file}.rs")));
        let source = source.unwrap_or_else(|error| panic!("{file}.rs: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{file}.rs has no test {test}");
    }
}
