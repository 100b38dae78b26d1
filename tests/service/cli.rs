//! Flags, variables and commands.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{BINARY, Service, new_folder, run, wait_until};

fn binary(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args);
    command
}

#[test]
fn help_shows_each_flag_with_its_default_unit_and_variable() {
    let (status, help, _) = run(binary(&["--help"]));
    assert!(status.success());
    let parts =
        ["Listening:", "Database:", "Greeting:", "Stopping:", "Logging:", "Error reporting:"];
    for part in parts {
        assert!(help.contains(part), "no {part}");
    }
    let flags = [
        ("--listen <ADDR>", "LISTEN", "127.0.0.1:8080"),
        ("--admin-listen <ADDR>", "ADMIN_LISTEN", "127.0.0.1:8081"),
        ("--keep-alive-timeout <TIME>", "KEEP_ALIVE_TIMEOUT", "75s"),
        ("--database-url <URL>", "DATABASE_URL", "sqlite:hello-birthday.db"),
        ("--database-url-file <FILE>", "DATABASE_URL_FILE", "none"),
        ("--read-database-url <URL>", "READ_DATABASE_URL", "none"),
        ("--read-database-url-file <FILE>", "READ_DATABASE_URL_FILE", "none"),
        ("--postgres-ca-file <FILE>", "POSTGRES_CA_FILE", "the machine's"),
        ("--migrate <WHAT>", "MIGRATE", "auto"),
        ("--sqlite-journal <JOURNAL>", "SQLITE_JOURNAL", "auto"),
        ("--time-zone <ZONE>", "TIME_ZONE", "UTC"),
        ("--leap-day-birthday <DAY>", "LEAP_DAY_BIRTHDAY", "feb-28"),
        ("--drain-delay <TIME>", "DRAIN_DELAY", "0s"),
        ("--drain-timeout <TIME>", "DRAIN_TIMEOUT", "20s"),
        ("--log-format <FORMAT>", "LOG_FORMAT", "auto"),
        ("--log-level <LEVEL>", "LOG_LEVEL", "info"),
        ("--log-level-file <FILE>", "LOG_LEVEL_FILE", "none"),
        ("--sentry-dsn <DSN>", "SENTRY_DSN", "none"),
        ("--sentry-dsn-file <FILE>", "SENTRY_DSN_FILE", "none"),
        ("--sentry-environment <NAME>", "SENTRY_ENVIRONMENT", "production"),
        ("--access-log", "ACCESS_LOG", "false"),
    ];
    for (flag, variable, default) in flags {
        let about = help.split_once(flag).unwrap_or_else(|| panic!("no {flag}")).1;
        let about = about.split("\n      --").next().unwrap();
        assert!(about.contains(&format!("[env: HELLO_BIRTHDAY_{variable}]")), "{flag}: {about}");
        assert!(about.contains(&format!("[default: {default}]")), "{flag}: {about}");
    }
    assert!(!help.contains("--today"), "a flag for tests is shown");
}

#[test]
fn help_does_not_show_what_is_in_the_environment() {
    let mut command = binary(&["--help"]);
    command.env("DATABASE_URL", "postgres://user:hunter2@db/app");
    let (_, help, _) = run(command);
    assert!(!help.contains("hunter2"));
    let mut command = binary(&["--help"]);
    command.env("HELLO_BIRTHDAY_DATABASE_URL", "postgres://user:hunter2@db/app");
    let (_, help, _) = run(command);
    assert!(!help.contains("hunter2"));
}

#[test]
fn bad_flags_exit_2_and_say_what_is_right() {
    let cases: &[(&[&str], &str)] = &[
        (&["--listen", "0.0.0.0"], "as in 0.0.0.0:8080"),
        (&["--time-zone", "Mars/Olympus"], "IANA"),
        (&["--leap-day-birthday", "feb-29"], "feb-28, mar-1"),
        (&["--drain-timeout", "20"], "as in 500ms, 20s or 2m"),
        (&["--drain-delay", "2h"], "at most 1h"),
        (&["--keep-alive-timeout", "60"], "as in 500ms, 20s or 2m"),
        (&["--keep-alive-timeout", "0s"], "at least 1s"),
        (&["--keep-alive-timeout", "3h"], "at most 2h"),
        (&["--log-level", "loud"], "info"),
        (&["--sqlite-journal", "delete"], "auto, wal, truncate"),
        (&["erase", "--sqlite-journal", "wal", "John"], "unexpected argument"),
        (&["--database-url", "mysql://db/app"], "use sqlite:PATH"),
        (&["--database-url", "sqlite:"], "the path is missing"),
        (&["--database-url", "postgres:///app"], "names no host"),
        (
            &["--database-url", "postgres://db/app?sslmode=prefer"],
            "disable, require and verify-full",
        ),
        (&["--read-database-url", "postgres://db/app"], "only a Postgres database"),
        (&["--read-database-url-file", "/nowhere/url"], "--read-database-url-file: cannot read"),
        (&["--read-database-url-file", "x", "--read-database-url", "y"], "cannot be used with"),
        (&["--migrate", "never"], "[possible values: auto, check]"),
        (&["copy", "--from", "sqlite:x"], "--to <URL>"),
        (&["copy", "--from", "mysql://db", "--to", "sqlite:x"], "--from: "),
        (&["--database-url-file", "/nowhere/url"], "No such file"),
        (&["--database-url-file", "x", "--database-url", "sqlite:x"], "cannot be used with"),
        (&["--port", "80"], "unexpected argument"),
        (&["serve"], "unrecognized subcommand"),
        (&["--store-batch-max", "0"], "invalid value"),
        (&["--today", "9999-12-31"], "before the year 9999"),
    ];
    for (args, complaint) in cases {
        let (status, output, error) = run(binary(args));
        assert_eq!(status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(complaint), "{args:?}: {error}");
        assert_eq!(output, "", "{args:?}");
    }
}

#[test]
fn variables_that_conflict_are_named_with_how_to_unset_one() {
    let mut command = binary(&[]);
    command.env("HELLO_BIRTHDAY_DATABASE_URL", "sqlite:x");
    command.env("HELLO_BIRTHDAY_DATABASE_URL_FILE", "url");
    let (status, _, error) = run(command);
    assert_eq!(status.code(), Some(2), "{error}");
    for told in [
        "HELLO_BIRTHDAY_DATABASE_URL_FILE",
        "cannot be used with",
        "a variable with an empty value counts as unset",
    ] {
        assert!(error.contains(told), "{error}");
    }
    let flags = ["--database-url-file", "url", "--database-url", "sqlite:x"];
    let (_, _, error) = run(binary(&flags));
    assert!(!error.contains("variable"), "{error}");
}

#[test]
fn no_error_shows_a_password() {
    let folder = new_folder();
    let file = folder.path().join("url");
    let malformed = "postgres://user:hunter2@db:hunter2/app?hunter2=1";
    fs::write(&file, malformed).unwrap();
    let from_file = ["--database-url-file", file.to_str().unwrap()];
    let from_flag = ["--database-url", malformed];
    let for_reads = ["--read-database-url", malformed];
    let for_reads_from_file = ["--read-database-url-file", file.to_str().unwrap()];
    let for_copies = ["copy", "--from", "sqlite:x", "--to", malformed];
    let mut from_variable = binary(&[]);
    from_variable.env("DATABASE_URL", malformed);
    let commands = [&from_file[..], &from_flag, &for_reads, &for_reads_from_file, &for_copies];
    let commands = commands.map(binary);
    let commands = commands.into_iter().chain([from_variable]);
    let commands = commands.map(|command| (command, "not a Postgres URL"));
    let without_flag = [&[malformed][..], &["copy", malformed]].map(binary);
    let without_flag = without_flag.map(|command| (command, "a URL needs its flag"));
    for (command, complaint) in commands.chain(without_flag) {
        let (status, _, error) = run(command);
        assert_eq!(status.code(), Some(2), "{error}");
        assert!(error.contains(complaint), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_database_is_the_one_named_nearest() {
    let folder = new_folder();
    fs::write(folder.path().join("url"), "sqlite:file.db\n").unwrap();
    let start = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = binary(flags);
        // The harness takes these from its own environment only.
        let variables: Vec<String> =
            variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut with_variables = Command::new("env");
        with_variables.args(variables).arg(command.get_program()).args(command.get_args());
        std::mem::swap(&mut command, &mut with_variables);
        Service::spawn(&folder, command).stop();
    };
    let made = |name: &str| folder.path().join(name).exists();

    start(&[], &[]);
    assert!(made("hello-birthday.db"));
    start(&[("DATABASE_URL", "sqlite:usual.db")], &[]);
    assert!(made("usual.db"));
    let both =
        [("DATABASE_URL", "sqlite:no.db"), ("HELLO_BIRTHDAY_DATABASE_URL", "sqlite:ours.db")];
    start(&both, &[]);
    assert!(made("ours.db"));
    start(&both, &["--database-url", "sqlite:flag.db"]);
    assert!(made("flag.db"));
    start(&[("DATABASE_URL", "sqlite:no.db")], &["--database-url-file", "url"]);
    assert!(made("file.db"));
    assert!(!made("no.db"));
}

#[test]
fn a_database_url_of_another_tool_names_the_file_that_it_means() {
    let folder = new_folder();
    for (url, file) in [
        ("sqlite:one.db?mode=rwc", "one.db"),
        ("sqlite://two.db", "two.db"),
        ("sqlite:file:three.db", "three.db"),
        ("sqlite:sp%20ace.db", "sp ace.db"),
        ("SQLITE:one.db?mode=rw", "one.db"),
    ] {
        Service::start_in(&folder, &["--database-url", url]).stop();
        assert!(folder.path().join(file).exists(), "{url}");
    }
    let files = fs::read_dir(folder.path()).unwrap();
    assert_eq!(
        files
            .filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "db"))
            .count(),
        4
    );
    for (url, complaint, status) in [
        ("sqlite::memory:", "a database in memory would be lost", 2),
        ("sqlite://:memory:", "a database in memory would be lost", 2),
        ("sqlite:x.db?mode=ro", "mode=ro allows no saves", 2),
        ("sqlite:x.db?cache=shared", "unknown option cache of a sqlite URL", 2),
        ("postgres://h/db?schema=public", "unknown option schema", 2),
        ("sqlite:missing.db?mode=rw", "there is no file", 1),
    ] {
        let mut command = binary(&["--database-url", url]);
        command.current_dir(folder.path());
        let (exit, _, error) = run(command);
        assert_eq!(exit.code(), Some(status), "{url}: {error}");
        assert!(error.contains(complaint), "{url}: {error}");
    }
}

#[test]
fn an_error_names_the_flag_or_the_variable_that_a_value_came_from() {
    for (arguments, variables, complaint) in [
        (&["--database-url=mysql://h"][..], &[][..], "error: --database-url: not a database URL"),
        (&[], &[("DATABASE_URL", "mysql://h")], "error: DATABASE_URL: not a database URL"),
        (
            &[],
            &[("HELLO_BIRTHDAY_DATABASE_URL", "mysql://h"), ("DATABASE_URL", "sqlite:x")],
            "error: HELLO_BIRTHDAY_DATABASE_URL: not a database URL",
        ),
        (
            &["migrate"],
            &[("HELLO_BIRTHDAY_DATABASE_URL_FILE", "/missing")],
            "error: HELLO_BIRTHDAY_DATABASE_URL_FILE: cannot read /missing",
        ),
        (
            &["copy", "--to=sqlite:y"],
            &[("HELLO_BIRTHDAY_FROM", "x.db")],
            "error: HELLO_BIRTHDAY_FROM: not a database URL",
        ),
        (&["--listen=x"], &[], "for '--listen <ADDR>': write ADDRESS:PORT"),
        (&[], &[("HELLO_BIRTHDAY_LISTEN", "x")], "for 'HELLO_BIRTHDAY_LISTEN': write ADDRESS"),
        (&["health"], &[("HELLO_BIRTHDAY_TIMEOUT", "2")], "for 'HELLO_BIRTHDAY_TIMEOUT'"),
        (&[], &[("HELLO_BIRTHDAY_MIGRATE", "maybe")], "for 'HELLO_BIRTHDAY_MIGRATE'"),
        (&[], &[("SENTRY_DSN", "x")], "error: SENTRY_DSN: not a Sentry DSN"),
    ] {
        let mut command = Command::new("env");
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(BINARY).args(arguments);
        let (status, _, error) = run(command);
        assert_eq!(status.code(), Some(2), "{error}");
        assert!(error.contains(complaint), "{error} does not say {complaint}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let folder = new_folder();
    let mut command = Command::new("env");
    command.args(["DATABASE_URL=", "SENTRY_DSN=", "SENTRY_ENVIRONMENT="]);
    let names = ["TIME_ZONE", "DATABASE_URL_FILE", "LOG_LEVEL", "ACCESS_LOG", "DATABASE_URL"];
    command.args(names.map(|name| format!("HELLO_BIRTHDAY_{name}="))).arg(BINARY);
    Service::spawn(&folder, command).stop();
    assert!(folder.path().join("hello-birthday.db").exists());
    let mut command = Command::new("env");
    command.args(["HELLO_BIRTHDAY_TIMEOUT=", BINARY, "health", "--listen=127.0.0.1:1"]);
    let (status, _, error) = run(command);
    assert_eq!(status.code(), Some(1), "{error}");
}

#[test]
fn an_unknown_variable_is_warned_of_with_the_most_similar_one() {
    let mut command = Command::new("env");
    command.args([
        "HELLO_BIRTHDAY_LISTN=hunter2",
        "HELLO_BIRTHDAY_FAVOURITE_COLOUR=hunter2",
        BINARY,
    ]);
    let service = Service::spawn(&new_folder(), command);
    let log = service.wait_for_log("serving on");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about = |variable: &str| lines.iter().find(|line| line["variable"] == variable).unwrap();
    assert_eq!(about("HELLO_BIRTHDAY_LISTN")["level"], "WARN");
    assert_eq!(about("HELLO_BIRTHDAY_LISTN")["did_you_mean"], "HELLO_BIRTHDAY_LISTEN");
    assert_eq!(about("HELLO_BIRTHDAY_FAVOURITE_COLOUR").get("did_you_mean"), None);
    assert!(!log.contains("hunter2"), "{log}");
    let known = Service::start(&[]).wait_for_log("serving on");
    assert!(!known.contains("unknown variable"), "{known}");
}

#[test]
fn a_service_listens_where_other_programs_would() {
    let service = Service::start(&["--listen", "localhost:0", "--admin-listen", ":0"]);
    assert_eq!(service.address.ip().to_string(), "127.0.0.1");
    assert_eq!(service.admin.ip().to_string(), "0.0.0.0");
    service.get("/").expect_status(200);
}

#[test]
fn sighup_reads_the_log_level_again_and_ends_nothing() {
    let folder = new_folder();
    let level = folder.path().join("level");
    fs::write(&level, "warn\n").unwrap();
    let service = Service::start_in(&folder, &["--log-level-file", "level"]);
    let log = service.log();
    assert!(!log.contains("serving on"), "{log}");
    fs::write(&level, "info\n").unwrap();
    service.signal(Signal::HUP);
    service.wait_for_log("read again on SIGHUP");
    fs::write(&level, "loud\n").unwrap();
    service.signal(Signal::HUP);
    service.wait_for_log("level names no log level");
    service.get("/").expect_status(200);
    service.stop();

    fs::write(folder.path().join("url"), "sqlite:one.db").unwrap();
    let service = Service::start_in(&folder, &["--database-url-file", "url"]);
    service.save("John", "1990-05-20");
    for (number, url) in ["sqlite:two.db", "postgres://db/app", "sqlite:one.db"].iter().enumerate()
    {
        fs::write(folder.path().join("url"), url).unwrap();
        service.signal(Signal::HUP);
        let reloads = || service.log().matches("read again on SIGHUP").count();
        wait_until("the file is read again", || (reloads() > number).then_some(()));
    }
    assert_eq!(service.log().matches("restart the service to use it").count(), 2);
    service.get("/hello/John").expect_status(200);
    service.stop();
}

#[test]
fn the_version_names_the_release_of_the_zone_data() {
    let (_, version, _) = run(binary(&["--version"]));
    let zone_data = version.lines().nth(1).unwrap().strip_prefix("time-zone data ").unwrap();
    let (year, letter) = zone_data.split_at(4);
    assert!(year.parse::<u32>().unwrap() >= 2026 && letter.len() == 1, "{zone_data}");
    let log = Service::start(&[]).wait_for_log("serving on");
    assert!(log.contains(&format!("\"time_zone_data\":\"{zone_data}\"")), "{log}");
}

#[test]
fn health_asks_a_running_service() {
    let service = Service::start(&[]);
    let address = service.address.to_string();
    let (status, output, _) = run(binary(&["health", "--listen", &address]));
    assert!(status.success());
    assert_eq!(output, "OK\n");
    // As in the unit's own environment, where the flags are variables.
    let mut command = binary(&["health"]);
    command.env("HELLO_BIRTHDAY_LISTEN", &address).env("HELLO_BIRTHDAY_TIME_ZONE", "UTC");
    assert!(command.output().unwrap().status.success());

    service.stop();
    let (status, output, error) = run(binary(&["health", "--listen", &address]));
    assert_eq!(status.code(), Some(1));
    assert_eq!(output, "");
    assert!(error.contains("cannot reach"), "{error}");
}

#[test]
fn migrate_makes_the_schema_and_exits() {
    let folder = new_folder();
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let mut from_variable = binary(&["migrate"]);
    from_variable.env("HELLO_BIRTHDAY_DATABASE_URL", url("variable.db"));
    let mut from_usual_variable = binary(&["migrate", "--log-format=text"]);
    from_usual_variable.env("DATABASE_URL", url("usual.db"));
    let from_flag = binary(&["migrate", "--database-url", &url("flag.db")]);
    let older_name = binary(&["--migrate=only", "--database-url", &url("older.db")]);
    for (mut command, file) in [
        (from_variable, "variable.db"),
        (from_usual_variable, "usual.db"),
        (from_flag, "flag.db"),
        (older_name, "older.db"),
    ] {
        // Settings for serving do not concern it, such as that of hosts that only check the schema.
        command.env("HELLO_BIRTHDAY_KEEP_ALIVE_TIMEOUT", "75s");
        command.env("HELLO_BIRTHDAY_MIGRATE", "check");
        let output = command.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        assert!(log.contains("the database has this release's schema"), "{log}");
        let service =
            Service::start_in(&folder, &["--database-url", &url(file), "--migrate=check"]);
        service.save("John", "1990-05-20");
    }
    let (status, _, error) =
        run(binary(&["migrate", "--database-url", "sqlite:/missing/users.db"]));
    assert_eq!(status.code(), Some(1));
    assert!(error.starts_with("hello-birthday: cannot open the store: "), "{error}");
    let (_, help, _) = run(binary(&["--help"]));
    assert!(help.contains("migrate") && !help.contains("  only"), "{help}");
}

#[test]
fn commands_ignore_invalid_settings_for_serving() {
    let service = Service::start(&[]);
    let address = service.address.to_string();
    for args in [&["health", "--listen", &address][..], &["man"], &["completions", "bash"]] {
        let mut command = binary(args);
        command.env("HELLO_BIRTHDAY_TIME_ZONE", "Mars/Olympus").env("DATABASE_URL", "mysql://");
        assert!(command.output().unwrap().status.success(), "{args:?}");
    }
}

#[test]
fn health_gives_up_in_time_and_says_what_is_wrong() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let args = ["health", "--listen", &address, "--timeout", "100ms"];
    let (status, _, error) = run(binary(&args));
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("did not respond within 100ms"), "{error}");
}

#[test]
fn arguments_that_are_not_utf_8_are_a_usage_error_and_are_not_quoted() {
    let url = b"--database-url=postgres://user:hunter2\xff@db/app";
    let file = b"--database-url-file=/missing/hunter2\xff";
    for (argument, complaint) in [(&url[..], "UTF-8"), (file, "No such file")] {
        let mut command = Command::new(BINARY);
        command.arg(OsStr::from_bytes(argument));
        let (status, _, error) = run(command);
        assert_eq!(status.code(), Some(2), "{error}");
        assert!(error.contains(complaint), "{error}");
        // A path is no secret.
        assert!(complaint != "UTF-8" || !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_log_is_json_where_there_is_no_terminal_and_text_on_demand() {
    let service = Service::start(&["--time-zone", "Europe/Paris"]);
    let log = service.wait_for_log("\n");
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["commit"], env!("HELLO_BIRTHDAY_COMMIT"));
    assert_eq!(first["database"], "sqlite");
    assert_eq!(first["journal"], "wal");
    assert_eq!(first["time_zone"], "Europe/Paris");
    let message = first["message"].as_str().unwrap();
    assert_eq!(message, format!("serving on {}, admin on {}", service.address, service.admin));

    let service = Service::start(&["--log-format", "text"]);
    let log = service.wait_for_log("\n");
    assert!(log.contains("INFO") && !log.starts_with('{') && !log.contains('\u{1b}'), "{log}");
    let mut service = Service::start(&["--log-level", "warn"]);
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    assert_eq!(service.log(), "");
}

#[test]
fn the_access_log_is_off_by_default_and_names_nobody() {
    let mut service = Service::start(&[]);
    service.save("Rumpelstiltskin", "1990-05-20");
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    assert!(!service.log().contains("answered"), "{}", service.log());

    let service = Service::start(&["--access-log"]);
    service.save("Rumpelstiltskin", "1990-05-20");
    let log = service.wait_for_log("answered");
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["http.method"], "PUT");
    assert_eq!(line["http.route"], "/hello/{username}");
    assert_eq!(line["http.status"], 204);
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(log.lines().count(), 2);
}

#[test]
fn no_log_level_hides_the_access_log() {
    for level in ["error", "warn", "info", "debug"] {
        let service = Service::start(&["--access-log", "--log-level", level]);
        service.get("/").expect_status(200);
        service.wait_for_log("\"answered\"");
    }
}

#[test]
fn today_logs_a_warning() {
    let service = Service::start(&["--today", "2024-02-29"]);
    service.wait_for_log("WARN");
}

#[test]
fn an_address_in_use_is_one_sentence() {
    let service = Service::start(&[]);
    let address = service.address.to_string();
    let folder = new_folder();
    let mut command = binary(&["--listen", &address, "--database-url", "sqlite:other.db"]);
    command.current_dir(folder.path());
    let (status, _, error) = run(command);
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
