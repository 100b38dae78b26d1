//! The runner's expressions, held against what GitHub says of its own.

use serde_json::{Value, json};

use crate::github::GitHub;

/// Expressions and their values, after
/// <https://docs.github.com/actions/reference/workflows-and-actions/expressions>.
fn documented() -> Vec<(&'static str, Value)> {
    vec![
        // Literals.
        ("null", json!(null)),
        ("false", json!(false)),
        ("711", json!(711.0)),
        ("-9.2", json!(-9.2)),
        ("0xff", json!(255.0)),
        ("-2.99e-2", json!(-0.0299)),
        ("'Mona the Octocat'", json!("Mona the Octocat")),
        ("'It''s open source!'", json!("It's open source!")),
        // Operators, by their precedence.
        ("true || false && false", json!(true)),
        ("(true || false) && false", json!(false)),
        ("!false && 'yes'", json!("yes")),
        ("'' || 'default'", json!("default")),
        ("null && 'x'", json!(null)),
        ("github.ref == 'refs/heads/main' && 'main' || 'other'", json!("main")),
        ("1 < 2 == true", json!(true)),
        ("3 >= 3", json!(true)),
        // Values of other types are compared as numbers.
        ("null == 0", json!(true)),
        ("null == ''", json!(true)),
        ("true == 1", json!(true)),
        ("'1' == 1", json!(true)),
        ("'' == 0", json!(true)),
        ("'0xff' == 255", json!(true)),
        ("'abc' == 0", json!(false)),
        ("github == github", json!(true)),
        ("fromJSON('[1]') == fromJSON('[1]')", json!(false)),
        ("'abc' < 1", json!(false)),
        ("'abc' > 1", json!(false)),
        // Case is ignored.
        ("'Success' == 'success'", json!(true)),
        ("GITHUB.REF == 'x'", json!("error")),
        ("github.REF == 'refs/heads/main'", json!(true)),
        // What is not there is null.
        ("github.nothing", json!(null)),
        ("github.nothing.below", json!(null)),
        ("needs.build.outputs['arm64']", json!("ami-1")),
        ("needs.build.outputs[vars.NONE || 'arm64']", json!("ami-1")),
        ("fromJSON('[1, 2]')[1]", json!(2)),
        ("fromJSON('[1, 2]')[2]", json!(null)),
        ("join(github.labels.*.name, ', ')", json!("bug, help")),
        ("contains(github.labels.*.name, 'BUG')", json!(true)),
        ("contains(needs.*.result, 'skipped')", json!(true)),
        // Functions.
        ("contains('Hello world', 'llo')", json!(true)),
        ("contains(fromJSON('[\"push\", \"pull_request\"]'), 'push')", json!(true)),
        ("startsWith('Hello world', 'HE')", json!(true)),
        ("endsWith('Hello world', 'ld')", json!(true)),
        ("format('Hello {0} {1} {2}', 'Mona', 'the', 'Octocat')", json!("Hello Mona the Octocat")),
        ("format('{{Hello {0}!}}', 'Mona')", json!("{Hello Mona!}")),
        ("toJSON(fromJSON('{\"a\": 1}'))", json!("{\n  \"a\": 1\n}")),
        ("fromJSON('true')", json!(true)),
        // What is wrong.
        ("", json!("error")),
        ("1 +", json!("error")),
        ("(1", json!("error")),
        ("\"double\"", json!("error")),
        ("unknown()", json!("error")),
        ("secrets.TOKEN", json!("error")),
    ]
}

#[test]
fn expressions_have_the_values_that_github_documents() {
    let mut github = GitHub::start(json!({}));
    let contexts = json!({
        "github": { "ref": "refs/heads/main", "labels": [{ "name": "bug" }, { "name": "help" }] },
        "needs": {
            "build": { "result": "success", "outputs": { "arm64": "ami-1" } },
            "approval": { "result": "skipped", "outputs": {} },
        },
        "vars": {},
    });
    for (text, expected) in documented() {
        let ask = json!({ "do": "evaluate", "text": text, "contexts": contexts });
        let value = github.try_ask(ask).unwrap_or(json!("error"));
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn texts_are_filled_as_github_fills_them() {
    let mut github = GitHub::start(json!({}));
    let cases = [
        ("${{ 1 }}/${{ 1.5 }}/${{ true }}/${{ null }}", "1/1.5/true/"),
        ("a ${{ format('}}{0}', 'b') }} c", "a }b c"),
        ("$HOME {{ }}", "$HOME {{ }}"),
        ("${{ github }} ${{ fromJSON('[]') }}", "Object Array"),
    ];
    for (text, expected) in cases {
        let ask = json!({ "do": "fill", "text": text, "contexts": { "github": {} } });
        assert_eq!(github.ask(ask), expected, "{text}");
    }
}
