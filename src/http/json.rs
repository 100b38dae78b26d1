//! The JSON of birthdays: a date of birth in, a message out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Problem;

/// The body of a greeting.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub message: fmt::Arguments<'a>,
}

/// Reads the `dateOfBirth` of a `PUT`; other members are ignored. The problem it may return
/// quotes nothing of the body.
pub(super) fn parse_date_of_birth(body: &[u8]) -> Result<Cow<'_, str>, Problem> {
    // JSON is UTF-8 (RFC 8259, section 8.1), even in members that are ignored.
    let body = str::from_utf8(body)
        .map_err(|_| Problem::bad_request("the body is not UTF-8: send JSON in UTF-8"))?;
    if body.trim_ascii().is_empty() {
        return Err(Problem::bad_request(
            r#"the body is empty: send {"dateOfBirth":"YYYY-MM-DD"}"#,
        ));
    }
    if body.starts_with('\u{feff}') {
        return Err(Problem::bad_request(
            "the body starts with a byte order mark: send JSON without it (RFC 8259, section 8.1)",
        ));
    }
    let Body { value, is_repeated } = serde_json::from_str(body).map_err(|error| {
        Problem::bad_request(match error.classify() {
            Category::Data => r#"the body is not a JSON object: send {"dateOfBirth":"YYYY-MM-DD"}"#,
            _ => r#"the body is not JSON: send {"dateOfBirth":"YYYY-MM-DD"}"#,
        })
    })?;
    if is_repeated {
        return Err(Problem::bad_request("dateOfBirth is given twice: send it once"));
    }
    let value = value.ok_or_else(|| {
        Problem::bad_request(r#"dateOfBirth is missing: send {"dateOfBirth":"YYYY-MM-DD"}"#)
    })?;
    let Text(text) = serde_json::from_str(value.get()).map_err(|_| {
        Problem::bad_request(r#"dateOfBirth is not a string: send it as "YYYY-MM-DD""#)
    })?;
    Ok(text)
}

/// An object, of which only the value of `dateOfBirth` is kept. A derived type would also
/// accept an array, and its errors would quote the body.
struct Body<'a> {
    value: Option<&'a RawValue>,
    is_repeated: bool,
}

/// The name of a member.
#[derive(Deserialize)]
#[serde(field_identifier)]
enum Member {
    #[serde(rename = "dateOfBirth")]
    DateOfBirth,
    #[serde(other)]
    Other,
}

/// A string, copied only if it holds an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Body<'de>, D::Error> {
        deserializer.deserialize_map(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Body<'de>, M::Error> {
        let mut body = Body { value: None, is_repeated: false };
        while let Some(member) = members.next_key()? {
            match member {
                Member::DateOfBirth => {
                    body.is_repeated |= body.value.replace(members.next_value()?).is_some();
                }
                Member::Other => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_date_of_birth_is_found_among_other_members() {
        for body in [
            r#"{"dateOfBirth":"1990-05-20"}"#,
            r#" { "name" : ["John"], "dateOfBirth" : "1990-05-20", "name" : null } "#,
            r#"{"dateOfB\u0069rth":"1990-05-2\u0030"}"#,
        ] {
            assert_eq!(parse_date_of_birth(body.as_bytes()).unwrap(), "1990-05-20", "{body}");
        }
    }

    #[test]
    fn other_bodies_are_rejected_with_what_to_send() {
        let deep = "[".repeat(4000);
        let cases: &[(&[u8], &str)] = &[
            (b"", "the body is empty"),
            (b" \r\n", "the body is empty"),
            (b"1990-05-20", "not a JSON object"),
            (b"{\"dateOfBirth\":\"1990-05-20\"", "not JSON"),
            (b"{\"dateOfBirth\":\"1990-05-20\"}}", "not JSON"),
            (b"{'dateOfBirth':'1990-05-20'}", "not JSON"),
            (b"\xEF\xBB\xBF{\"dateOfBirth\":\"1990-05-20\"}", "byte order mark"),
            (deep.as_bytes(), "not a JSON object"),
            (b"\"1990-05-20\"", "not a JSON object"),
            (b"[\"1990-05-20\"]", "not a JSON object"),
            (b"null", "not a JSON object"),
            (b"{\"dateOfBirth\":\"\xFF\"}", "not UTF-8"),
            (b"{\"x\":\"\xFF\",\"dateOfBirth\":\"1990-05-20\"}", "not UTF-8"),
            (b"{}", "missing"),
            (b"{\"dateofbirth\":\"1990-05-20\"}", "missing"),
            (b"{\"dateOfBirth\":null}", "not a string"),
            (b"{\"dateOfBirth\":19900520}", "not a string"),
            (b"{\"dateOfBirth\":[\"1990-05-20\"]}", "not a string"),
            (b"{\"dateOfBirth\":\"\\ud800\"}", "not a string"),
            (b"{\"dateOfBirth\":\"1990-05-20\",\"dateOfBirth\":\"1990-05-20\"}", "twice"),
        ];
        for (body, complaint) in cases {
            let shown = String::from_utf8_lossy(body);
            let problem = parse_date_of_birth(body).expect_err(&shown);
            let told = String::from_utf8(problem.body()).unwrap();
            assert!(told.contains(complaint), "{shown}: {told}");
        }
    }

    /// JSON, or nearly; a marker stands for text that must not be quoted.
    fn near_bodies() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            r#""[0-9]{4}-[0-9]{2}-[0-9]{2}""#,
            r#""SECRET(\\\\u00[0-9a-f]{2}|[a-zé]|\\\\")?""#,
            r"SECRET|null|true|-?[0-9]{1,3}(\.[0-9])?|\[\]|\{\}|\[1,SECRET\]|[\{\[]",
        ];
        let name = prop_oneof![4 => Just("dateOfBirth".to_owned()), 1 => "SECRET|dateofbirth|"];
        let member = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        let members = proptest::collection::vec(member, 0..4);
        (members, "[ \\{]?", "[ \\},x]?").prop_map(|(members, before, after)| {
            format!("{before}{{{}}}{after}", members.join(","))
        })
    }

    /// The date of birth according to serde_json's own type, which keeps only one member of
    /// several with the same name.
    fn date_of_birth(body: &[u8]) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(body.as_object()?.get("dateOfBirth")?.as_str()?.to_owned())
    }

    proptest! {
        #[test]
        fn a_body_is_parsed_as_serde_json_does_or_rejected_without_quoting_it(
            body in prop_oneof![
                near_bodies().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..64),
            ],
        ) {
            match parse_date_of_birth(&body) {
                Ok(found) => prop_assert_eq!(Some(found.into_owned()), date_of_birth(&body)),
                Err(problem) => {
                    let told = String::from_utf8(problem.body()).unwrap();
                    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
                    let detail = told["detail"].as_str().unwrap();
                    prop_assert!(!detail.is_empty() && !detail.contains("SECRET"), "{}", detail);
                    if date_of_birth(&body).is_some() {
                        prop_assert!(detail.contains("twice"), "{}", detail);
                    }
                }
            }
        }
    }
}
