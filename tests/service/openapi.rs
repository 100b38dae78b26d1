//! Holds answers against the OpenAPI description.

use std::sync::LazyLock;

use serde_json::Value;

use crate::harness::Answer;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../src/http/openapi.json")).expect("JSON")
});

/// Fails where the description does not promise this answer.
#[track_caller]
pub fn check(method: &str, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap();
    let pattern = match path.split('/').collect::<Vec<_>>()[..] {
        ["", "hello", name] if !name.is_empty() => "/hello/{username}",
        _ => path,
    };
    let Some(item) = DESCRIPTION["paths"].get(pattern) else {
        return assert_eq!(answer.status, 404, "{path} is not described");
    };
    let Some(operation) = item.get(method.to_ascii_lowercase()) else {
        return assert_eq!(answer.status, 405, "{method} {path} is not described");
    };
    let mut response = &operation["responses"][answer.status.to_string()];
    if let Some(reference) = response["$ref"].as_str() {
        response = DESCRIPTION.pointer(reference.trim_start_matches('#')).unwrap();
    }
    assert!(response.is_object(), "{method} {path}: {} is not described", answer.status);
    let has_body = answer.header("content-type").is_some() && method != "HEAD";
    match response["content"].as_object() {
        Some(content) => {
            let content_type = answer.header("content-type").unwrap().split(';').next().unwrap();
            assert!(content.contains_key(content_type), "{method} {path}: {content_type}");
        }
        None => assert!(!has_body, "{method} {path}: a body that is not described"),
    }
    for header in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
        let name = header.to_ascii_lowercase();
        assert!(answer.header(&name).is_some(), "{method} {path}: no {header}");
    }
}
