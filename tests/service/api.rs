//! Every row and rule of the public API.

use serde_json::json;

use crate::harness::{Service, exchange};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

#[test]
fn a_saved_user_is_greeted() {
    let service = Service::start(&["--today", "2025-05-13"]);
    let answer = service.put("/hello/John", BORN).expect_status(204);
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("content-type"), None);
    let greeting = json!({ "message": "Hello, John! Your birthday is in 7 day(s)" });
    service.get("/hello/John").expect_status(200).expect_json(greeting);
}

#[test]
fn every_answer_about_a_user_or_the_health_and_every_error_forbids_caches_to_store_it() {
    let service = Service::start(&[]);
    service.save("John", "1990-05-20");
    for (method, path, status) in [
        ("GET", "/hello/John", 200),
        ("HEAD", "/hello/John", 200),
        ("OPTIONS", "/hello/John", 204),
        ("POST", "/hello/John", 405),
        ("GET", "/hello/Jane", 404),
        ("GET", "/hello/J1", 400),
        ("PUT", "/hello/John", 400),
        ("GET", "/health", 200),
        ("OPTIONS", "/health", 204),
        ("POST", "/health", 405),
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
    ] {
        let answer = service.request(method, path, "").expect_status(status);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
    }
    for path in ["/", "/openapi.json"] {
        let answer = service.get(path).expect_status(200);
        assert_eq!(answer.header("cache-control"), None, "{path}");
    }
    let answer = service.put("/hello/John", BORN).expect_status(204);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn a_birthday_is_wished_on_the_day() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_json(json!({ "message": "Hello, John! Happy birthday!" }));
}

#[test]
fn a_put_has_the_same_answer_for_a_new_a_changed_and_an_unchanged_user() {
    let service = Service::start(&["--today", "2025-05-20"]);
    for born in ["1990-05-20", "1991-06-21", "1991-06-21"] {
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        let mut answer = service.put("/hello/John", &body).expect_status(204);
        answer.headers.retain(|(name, _)| name != "date");
        answer.headers.sort();
        let expected = [("cache-control", "no-store"), ("connection", "close")];
        assert_eq!(answer.headers, expected.map(|(name, value)| (name.into(), value.into())));
    }
}

#[test]
fn a_later_date_replaces_an_earlier_one() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("John", "1990-05-21");
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_json(json!({ "message": "Hello, John! Happy birthday!" }));
}

#[test]
fn a_leapling_is_greeted_on_the_day_that_the_flag_names() {
    let cases = [
        ("feb-28", "2025-02-27", "Your birthday is in 1 day(s)"),
        ("feb-28", "2025-02-28", "Happy birthday!"),
        ("feb-28", "2025-03-01", "Your birthday is in 364 day(s)"),
        ("mar-1", "2025-02-28", "Your birthday is in 1 day(s)"),
        ("mar-1", "2025-03-01", "Happy birthday!"),
        ("feb-28", "2024-02-28", "Your birthday is in 1 day(s)"),
        ("feb-28", "2024-02-29", "Happy birthday!"),
        ("mar-1", "2024-02-29", "Happy birthday!"),
        ("feb-28", "2100-02-28", "Happy birthday!"),
    ];
    for (leap_day, today, wish) in cases {
        let service = Service::start(&["--leap-day-birthday", leap_day, "--today", today]);
        service.save("Anna", "2000-02-29");
        let message = format!("Hello, Anna! {wish}");
        service.get("/hello/Anna").expect_json(json!({ "message": message }));
    }
}

#[test]
fn today_is_the_date_in_the_time_zone() {
    // These two zones never have the same date.
    let days = ["Pacific/Kiritimati", "Etc/GMT+12"].map(|zone| {
        let service = Service::start(&["--time-zone", zone]);
        service.save("John", "2000-01-01");
        service.get("/hello/John").body
    });
    assert_ne!(days[0], days[1]);
}

#[test]
fn a_date_of_birth_must_be_before_today() {
    let service = Service::start(&["--today", "2024-02-29"]);
    for born in ["2024-02-29", "2024-03-01", "9999-12-31"] {
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        service.put("/hello/John", &body).expect_problem(400, "before today");
    }
    service.save("John", "2024-02-28");
}

#[test]
fn a_date_of_birth_must_be_ten_bytes_and_a_real_day() {
    let service = Service::start(&[]);
    let cases = [
        ("2023-02-29", "not a day of the calendar"),
        ("1900-02-29", "not a day of the calendar"),
        ("2000-04-31", "not a day of the calendar"),
        ("2000-13-01", "not a day of the calendar"),
        ("0000-01-01", "check the year"),
        ("20000101", "not written as YYYY-MM-DD"),
        ("2000-1-1", "not written as YYYY-MM-DD"),
        ("+002000-01-01", "not written as YYYY-MM-DD"),
        ("2000-01-01T00:00:00Z", "not written as YYYY-MM-DD"),
        ("2000-01-01 ", "not written as YYYY-MM-DD"),
        ("", "not written as YYYY-MM-DD"),
    ];
    for (born, complaint) in cases {
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        service.put("/hello/John", &body).expect_problem(400, complaint);
    }
    service.get("/hello/John").expect_status(404);
}

#[test]
fn a_body_must_be_json_with_one_date_of_birth() {
    let service = Service::start(&[]);
    let cases = [
        ("", "the body is empty"),
        ("dateOfBirth=1990-05-20", "not JSON"),
        (r#"{"dateOfBirth":"1990-05-20""#, "not JSON"),
        (r#"{"dateOfBirth":"1990-05-20"} {}"#, "not JSON"),
        (r#"["1990-05-20"]"#, "not a JSON object"),
        (r#"{}"#, "missing"),
        (r#"{"date_of_birth":"1990-05-20"}"#, "missing"),
        (r#"{"dateOfBirth":null}"#, "not a string"),
        (r#"{"dateOfBirth":19900520}"#, "not a string"),
        (r#"{"dateOfBirth":"1990-05-20","dateOfBirth":"1990-05-20"}"#, "twice"),
    ];
    for (body, complaint) in cases {
        service.put("/hello/John", body).expect_problem(400, complaint);
    }
    service.get("/hello/John").expect_status(404);
}

#[test]
fn other_members_of_the_body_are_ignored() {
    let service = Service::start(&["--today", "2025-05-20"]);
    let body = r#"{"name":{"first":["John"]},"dateOfBirth":"1990-05-20","dateofbirth":1}"#;
    service.put("/hello/John", body).expect_status(204);
    service.get("/hello/John").expect_json(json!({ "message": "Hello, John! Happy birthday!" }));
}

#[test]
fn the_content_type_is_not_looked_at() {
    let service = Service::start(&[]);
    for content_type in ["application/x-www-form-urlencoded", "application/json", "text/xml", "?"] {
        let request = format!(
            "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{BORN}",
            BORN.len()
        );
        exchange(service.address, request.as_bytes()).expect_status(204);
    }
}

#[test]
fn a_username_of_anything_but_letters_is_refused_whatever_the_method() {
    let service = Service::start(&[]);
    let too_long = "a".repeat(65);
    let cases = [
        ("John1", "not a letter"),
        ("John%20Doe", "not a letter"),
        ("John-Doe", "not a letter"),
        ("John%0A", "not a letter"),
        ("%00", "not a letter"),
        ("John%2FDoe", "not a letter"),
        ("%F0%9F%8E%82", "not a letter"),
        ("Jo%E2%80%8Dhn", "not a letter"),
        ("%CC%81", "not a letter"),
        ("%25", "not a letter"),
        ("John%", "percent-encoded"),
        ("John%4", "percent-encoded"),
        ("John%GG", "percent-encoded"),
        ("%FF", "percent-encoded"),
        ("%C3", "percent-encoded"),
        (&too_long, "longer than 64"),
    ];
    for (username, complaint) in cases {
        let path = format!("/hello/{username}");
        service.get(&path).expect_problem(400, complaint);
        service.put(&path, BORN).expect_problem(400, complaint);
        service.request("OPTIONS", &path, "").expect_problem(400, complaint);
    }
}

#[test]
fn usernames_are_letters_of_any_script() {
    let service = Service::start(&["--today", "2025-05-20"]);
    let longest = "é".repeat(64);
    for username in ["José", "Мария", "李小龍", "नेहा", "محمد", "o", &longest]
    {
        let encoded: String = username.bytes().map(|byte| format!("%{byte:02x}")).collect();
        service.save(&encoded, "1990-05-20");
        let message = format!("Hello, {username}! Happy birthday!");
        service.get(&format!("/hello/{encoded}")).expect_json(json!({ "message": message }));
    }
}

#[test]
fn a_name_typed_in_two_ways_is_one_user() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("Jose%CC%81", "1990-05-20");
    let greeting = json!({ "message": "Hello, Jos\u{e9}! Happy birthday!" });
    service.get("/hello/Jos%C3%A9").expect_json(greeting.clone());
    service.get("/hello/%4Aose%CC%81").expect_json(greeting);
}

#[test]
fn case_tells_users_apart() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("John", "1990-05-20");
    service.get("/hello/john").expect_problem(404, "no date of birth is saved");
}

#[test]
fn an_unknown_user_or_path_is_404() {
    let service = Service::start(&[]);
    service.get("/hello/Nobody").expect_problem(404, "save one with PUT");
    for path in ["/hello", "/hello/", "/hello/John/", "/hello/John/x", "/x", "//", "/Hello/John"] {
        service.get(path).expect_problem(404, "/openapi.json");
        service.put(path, BORN).expect_problem(404, "/openapi.json");
        service.request("OPTIONS", path, "").expect_status(404);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        service.get(path).expect_problem(404, "/openapi.json");
    }
}

#[test]
fn a_query_changes_nothing() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("John", "1990-05-20");
    let greeting = json!({ "message": "Hello, John! Happy birthday!" });
    service.get("/hello/John?name=Jane").expect_json(greeting);
}

#[test]
fn head_answers_as_get_without_a_body() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("John", "1990-05-20");
    for path in ["/", "/hello/John", "/hello/Nobody", "/hello/J1", "/health", "/openapi.json", "/x"]
    {
        let get = service.get(path);
        let head = service.request("HEAD", path, "");
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.body, "", "{path}");
        let without_date = |mut headers: Vec<(String, String)>| {
            headers.retain(|(name, _)| name != "date");
            headers
        };
        assert_eq!(without_date(head.headers), without_date(get.headers), "{path}");
    }
}

#[test]
fn options_lists_the_methods_and_others_are_405() {
    let service = Service::start(&[]);
    let cases = [
        ("/", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/hello/John", "GET, HEAD, OPTIONS, PUT"),
    ];
    for (path, allow) in cases {
        let answer = service.request("OPTIONS", path, "").expect_status(204);
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
        assert_eq!(answer.body, "");
        for method in ["POST", "DELETE", "PATCH", "TRACE", "BREW"] {
            let answer = service.request(method, path, "").expect_problem(405, allow);
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
    service.put("/", BORN).expect_status(405);
}

#[test]
fn options_of_the_whole_server_lists_all_methods() {
    let service = Service::start(&[]);
    let ask = |method: &str| {
        let head = format!("{method} * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(service.address, head.as_bytes())
    };
    let answer = ask("OPTIONS").expect_status(204);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS, PUT"));
    assert_eq!(answer.body, "");
    for method in ["GET", "PUT", "POST"] {
        ask(method).expect_problem(404, "/openapi.json");
    }
}

#[test]
fn the_world_is_greeted() {
    let service = Service::start(&[]);
    service.get("/").expect_status(200).expect_json(json!({ "message": "Hello, world!" }));
}

#[test]
fn health_is_ok_in_plain_text() {
    let service = Service::start(&[]);
    let answer = service.get("/health").expect_status(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.body, "OK");
}

#[test]
fn the_description_is_served_as_it_is() {
    let service = Service::start(&[]);
    let description = include_str!("../../src/http/openapi.json");
    let answer = service.get("/openapi.json").expect_status(200);
    answer.expect_json(serde_json::from_str(description).unwrap());
}

#[test]
fn a_body_over_8_kib_is_413_and_one_of_8_kib_is_read() {
    let service = Service::start(&[]);
    let padded = |length: usize| format!("{BORN}{}", " ".repeat(length - BORN.len()));
    service.put("/hello/John", &padded(8192)).expect_status(204);
    service.put("/hello/John", &padded(8193)).expect_problem(413, "8192 bytes");
}

#[test]
fn a_chunked_body_is_read_to_its_limit() {
    let service = Service::start(&[]);
    let chunked = |body: &str| {
        let request = format!(
            "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        exchange(service.address, request.as_bytes())
    };
    chunked(BORN).expect_status(204);
    chunked(&" ".repeat(9000)).expect_problem(413, "8192 bytes");
}

#[test]
fn the_admin_listener_answers_probes_and_nothing_else() {
    let service = Service::start(&[]);
    for path in ["/livez", "/readyz"] {
        assert_eq!(service.ask_admin(path).expect_status(200).body, "OK", "{path}");
    }
    for path in ["/", "/hello/John", "/health", "/openapi.json"] {
        service.ask_admin(path).expect_status(404);
    }
}

#[test]
fn metrics_count_by_pattern_and_hold_no_personal_data() {
    let service = Service::start(&["--today", "2025-05-20"]);
    service.save("Rumpelstiltskin", "1990-05-21");
    service.get("/hello/Rumpelstiltskin").expect_status(200);
    service.get("/hello/Rumpelstiltskin").expect_status(200);
    service.get("/hello/Rumpel1").expect_status(400);
    service.request("BREW", "/hello/Rumpelstiltskin", "").expect_status(405);
    let count =
        |labels: &str| service.metric(&format!("hello_birthday_http_requests_total{{{labels}}}"));
    assert_eq!(count(r#"method="PUT",route="/hello/{username}",status="204""#), 1.0);
    assert_eq!(count(r#"method="GET",route="/hello/{username}",status="200""#), 2.0);
    assert_eq!(count(r#"method="GET",route="/hello/{username}",status="400""#), 1.0);
    assert_eq!(count(r#"method="other",route="/hello/{username}",status="405""#), 1.0);
    let seconds =
        r#"hello_birthday_http_request_seconds_count{method="GET",route="/hello/{username}"}"#;
    assert_eq!(service.metric(seconds), 3.0);
    assert_eq!(service.metric(r#"hello_birthday_store_batch_requests_sum{kind="write"}"#), 1.0);
    assert_eq!(service.metric("hello_birthday_http_requests_in_flight"), 0.0);
    assert!(service.metric("process_start_time_seconds") > 0.0);

    let metrics = service.ask_admin("/metrics").expect_status(200);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!metrics.body.contains("Rumpel"), "a username is in the metrics");
    assert!(!metrics.body.contains("1990-05-21"), "a date of birth is in the metrics");
}
