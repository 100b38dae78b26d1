//! Which dumps are loaded, and what is said of the others.

use std::fs;
use std::process::{Command, Stdio};

use crate::cluster::{execute, programs};
use crate::databases::{Database, Loaded, Question, Reference, expect, restore};
use crate::dump::sample;
use crate::harness::{BINARY, clean_environment};

const MONTH: Question<'static> =
    Question { from: "2016-01-01", to: "2016-01-31", origin: "china", destination: "europe" };

/// The smallest dump that has all there is.
const SMALL: &str = "COPY public.regions (slug, name, parent_slug) FROM stdin;
china\tChina\t\\N
\\.
COPY public.ports (code, name, parent_slug) FROM stdin;
CNGGZ\tGuanggang\tchina
CNSGH\tShanghai\tchina
\\.
COPY public.prices (orig_code, dest_code, day, price) FROM stdin;
CNGGZ\tCNSGH\t2016-01-01\t1000
CNGGZ\tCNSGH\t2016-01-01\t1001
CNGGZ\tCNSGH\t2016-01-01\t1003
\\.
";

#[test]
fn a_refused_dump_changes_nothing_and_its_line_is_named() {
    let with = |old: &str, new: &str| SMALL.replacen(old, new, 1).into_bytes();
    let after = |more: &str| format!("{SMALL}{more}").into_bytes();
    let price = "CNGGZ\tCNSGH\t2016-01-01\t1000";
    let cases: Vec<(Vec<u8>, &str)> = vec![
        // Lines.
        (with("\t1000", ""), "line 9: a row of prices has 4 columns, and this one 3"),
        (with("\t1000", "\t1000\t"), "line 9: a row of prices has 4 columns, and this one 5"),
        (with("\t1000", "\tdear"), "line 9: price is not a whole number of 64 bits: \"dear\""),
        (with("\t1000", "\t10.5"), "line 9: price is not a whole number"),
        (with("\t1000", "\t9223372036854775808"), "line 9: price is not a whole number"),
        (with("\t1000", "\t\\N"), "line 9: price is null"),
        (with("2016-01-01\t1001", "2016-02-30\t1"), "line 10: day is not a day of the calendar"),
        (with("2016-01-01\t1001", "infinity\t1"), "line 10: day is not written as YYYY-MM-DD"),
        (with("\t1001", "\t9223372036854775807"), "add up to more than 64 bits"),
        (
            with("CNGGZ\tGuang", "CN GZ\tGuang"),
            "line 5: code has a character that no code has, at place 3",
        ),
        (with("CNGGZ\tGuang", "\tGuang"), "line 5: code is empty"),
        (with("Guanggang", "Guang\\377"), "line 5: name is not UTF-8"),
        (with("Guanggang", "Guang\\000"), "line 5: name holds NUL"),
        (
            with("CNSGH\tShanghai", "CNGGZ\tAgain"),
            "line 6: CNGGZ is twice in ports, first on line 5",
        ),
        // References, which are checked at the end.
        (
            with("Guanggang\tchina", "Guanggang\tasia"),
            "line 5: port CNGGZ is in region asia, which the dump lacks",
        ),
        (
            with("China\t\\N", "China\tasia"),
            "line 2: region china is in region asia, which the dump lacks",
        ),
        (with("China\t\\N", "China\tchina"), "line 2: region china is its own ancestor"),
        (
            with("china\tChina\t\\N", "a\tA\tb\nb\tB\tchina\nchina\tChina\ta"),
            "line 2: region a is its own ancestor",
        ),
        (
            with(price, "XXXXX\tCNSGH\t2016-01-01\t1"),
            "line 9: a price of port XXXXX, which the dump lacks",
        ),
        (
            with("\tCNSGH\t2016-01-01\t1001", "\tchina\t2016-01-01\t1"),
            "line 10: a price of port china",
        ),
        // Statements that could change rows.
        (
            after("SET a = 1;\nDELETE FROM prices WHERE price > 5;\n"),
            "line 14: DELETE FROM may change rows",
        ),
        (after("\n\nINSERT INTO prices VALUES (1);"), "line 15: INSERT INTO may change rows"),
        (after("UPDATE\nprices SET price = 1;"), "line 13: UPDATE PRICES may change rows"),
        (after("TRUNCATE TABLE prices;"), "line 13: TRUNCATE TABLE may change rows"),
        (after("/* x */ FROBNICATE;"), "line 13: FROBNICATE may change rows"),
        (after("DROP TABLE prices;"), "line 13: DROP TABLE may change rows"),
        (after("\\copy prices from x"), "line 13: \\copy is a command for psql"),
        (after("\\connect other"), "line 13: \\connect is a command for psql"),
        // Blocks.
        (with("public.prices", "public.users"), "line 8: rows of users, which is none of"),
        (with("price)", "amount)"), "line 8: prices: column amount is not known"),
        (with(", price)", ")"), "line 8: prices: column price is missing"),
        (with("day, price", "day, day"), "line 8: prices: column day is there twice"),
        (with("price)", "price, price)"), "line 8: prices: column price is there twice"),
        (with("day, price) FROM stdin;", "day, price) FROM stdin CSV;"), "line 8: only COPY"),
        (with("day, price) FROM stdin;", "day, price) TO stdout;"), "line 8: only COPY"),
        (with("(orig_code, dest_code, day, price) ", ""), "line 8: COPY without a list of columns"),
        (
            after("COPY other.prices (orig_code, dest_code, day, price) FROM stdin;\n\\.\n"),
            "line 13: public.prices and other.prices are two tables of one name",
        ),
        // Ends that are missing.
        (SMALL.trim_end().trim_end_matches("\\.").into(), "line 11: the dump is cut short"),
        (
            SMALL[..SMALL.find("\t2016-01-01\t1001").unwrap()].into(),
            "line 10: the dump is cut short within a row of prices",
        ),
        (
            SMALL[..SMALL.find("003").unwrap()].into(),
            "line 11: the dump is cut short within a row of prices",
        ),
        (
            format!("{}\\\n", &SMALL[..SMALL.find("anggang").unwrap()]).into(),
            "line 5: the dump is cut short within a row of ports",
        ),
        (
            SMALL[..SMALL.find("COPY public.prices").unwrap()].into(),
            "the dump has no COPY of prices",
        ),
        (after("COMMENT ON TABLE prices IS 'x"), "line 13: the dump is cut short"),
        (Vec::new(), "the dump has no COPY of regions"),
        // Other kinds of files.
        (
            b"PGDMP\x01\x0f\x00".to_vec(),
            "a dump in PostgreSQL's custom format, not a plain dump: convert it with pg_restore",
        ),
        (b"\x1f\x8b\x08\x00".to_vec(), "a gzip file, not a plain dump: unpack it"),
        (b"\x28\xb5\x2f\xfd\x00".to_vec(), "a zstd file"),
        (b"SQLite format 3\0".to_vec(), "a SQLite database"),
        (
            SMALL.encode_utf16().fold(b"\xff\xfe".to_vec(), |mut bytes, unit| {
                bytes.extend(unit.to_le_bytes());
                bytes
            }),
            "a text in UTF-16, not a plain dump: dump again with pg_dump --file=DUMP",
        ),
        (after("\u{feff}SET a = 1;\n"), "line 13: this statement may change rows"),
        (
            b"SET a = 1;\nINSERT INTO public.ports VALUES ('CNGGZ', 'x', NULL);\n".to_vec(),
            "line 2: this dump holds INSERT statements, as pg_dump --inserts writes them: dump again without",
        ),
        (
            b"SET client_encoding = 'LATIN1';".to_vec(),
            "line 1: the dump is in LATIN1: dump again with --encoding=UTF8",
        ),
        (b"\n-- \xFF\n".to_vec(), "line 2: not UTF-8"),
        ("x".repeat(2_000_000).into_bytes(), "line 1: longer than 1048576 bytes"),
    ];
    for database in Database::both() {
        database.load_rows(&sample());
        let service = database.start(&[]);
        let before = MONTH.ask(&service).expect_status(200).body;
        // All are found before anything is written, so that the database makes no difference.
        let count = if database.is_sqlite() { cases.len() } else { 3 };
        for (dump, told) in &cases[..count] {
            let Loaded { status, output, error } = database.load(dump);
            assert_eq!((status, &*output), (Some(1), ""), "{told}: {error}");
            assert!(error.contains(told), "{error:?} does not say {told:?}");
            let lines = error.lines().filter(|line| !line.starts_with("read ")).count();
            assert_eq!(lines, 1, "{error}");
        }
        assert_eq!(MONTH.ask(&service).body, before);
    }
}

#[test]
fn the_smallest_dump_is_loaded_in_whatever_order_and_form() {
    let blocks: Vec<String> = SMALL.split_inclusive("\\.\n").map(str::to_owned).collect();
    let dumps = [
        SMALL.to_owned(),
        [&*blocks[2], &blocks[1], &blocks[0]].concat(),
        SMALL.replace('\n', "\r\n"),
        format!("\u{feff}{SMALL}"),
        SMALL.replace("public.", ""),
        SMALL.replace("public.prices", "\"public\".\"prices\""),
        SMALL.replace("COPY", "\n/* a comment;\n*/ copy").replace("FROM stdin", "from STDIN"),
        // As pg_dump --clean --create begins.
        format!("\\connect rates\nDROP TABLE public.prices;\n{SMALL}"),
        // Parts of one table, as pg_dump --load-via-partition-root writes them.
        format!("{SMALL}{}", blocks[2].lines().next().unwrap().to_owned() + "\n\\.\n"),
        SMALL.replace("CNGGZ\tGuanggang", "\\103NG\\x47Z\tGu\\141ng\\\ngang"),
    ];
    for database in Database::both() {
        for dump in &dumps {
            // So that what is found is of this dump.
            database.load_rows(&sample());
            let loaded = database.load(dump.as_bytes());
            assert_eq!(loaded.status, Some(0), "{dump}{}", loaded.error);
            assert_eq!(loaded.output, "loaded 3 prices between 2 ports in 1 regions\n");
            let question = Question { to: "2016-01-01", destination: "CNSGH", ..MONTH };
            let days = vec![("2016-01-01".to_owned(), 3, 3004)];
            expect(question.ask(&database.start(&[])), &days, dump);
        }
    }
}

#[test]
fn a_real_dump_of_restored_tables_is_loaded() {
    let rows = sample();
    let restored = restore(&rows);
    for flags in
        [&[][..], &["--clean", "--if-exists", "--no-owner"], &["--inserts"], &["--format=custom"]]
    {
        let mut dump = Command::new(programs().join("pg_dump"));
        dump.args(flags).args(["--dbname", &restored]);
        let dump = dump.stdin(Stdio::null()).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let database = Database::sqlite("");
        let loaded = database.load(&dump.stdout);
        if flags.iter().any(|flag| ["--inserts", "--format=custom"].contains(flag)) {
            assert_eq!(loaded.status, Some(1), "{flags:?}");
            continue;
        }
        assert_eq!(loaded.status, Some(0), "{}", loaded.error);
        let days = Reference::in_sqlite(&rows).days(&MONTH);
        expect(MONTH.ask(&database.start(&[])), &days, &flags);
    }
}

#[test]
fn names_are_stored_as_they_were() {
    let rows = sample();
    for database in Database::both() {
        database.load_rows(&rows);
        let mut expected: Vec<String> =
            rows.ports.iter().chain(&rows.regions).map(|place| place[1].clone()).collect();
        expected.sort();
        let names = "select name from ports union all select name from regions";
        let mut found: Vec<String> = if database.is_sqlite() {
            let file = rusqlite::Connection::open(database.folder.path().join("rates.db")).unwrap();
            let mut names = file.prepare(names).unwrap();
            names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        } else {
            // Names hold line ends.
            let hex =
                format!("select encode(convert_to(name, 'UTF8'), 'hex') from ({names}) as names");
            execute(&database.url, &hex)
                .lines()
                .map(|hex| {
                    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                    String::from_utf8((0..hex.len()).step_by(2).map(byte).collect()).unwrap()
                })
                .collect()
        };
        found.sort();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_file_that_is_missing_or_a_folder_is_named() {
    let database = Database::sqlite("");
    for (file, told) in [("missing.sql", "cannot read missing.sql"), (".", ". is a folder")] {
        let mut command = Command::new(BINARY);
        command.args(["load-rates", file, "--database-url", &database.url]);
        clean_environment(&mut command).current_dir(database.folder.path());
        let loaded = Loaded::of(command.output().unwrap());
        assert_eq!(loaded.status, Some(1));
        assert!(loaded.error.contains(told), "{}", loaded.error);
        assert!(!database.folder.path().join("rates.db").exists());
    }
}

#[test]
fn a_terminal_sees_a_bar_and_a_log_a_line_for_each_tenth() {
    let database = Database::sqlite("");
    let file = database.folder.path().join("dump.sql");
    fs::write(&file, sample().to_dump()).unwrap();
    let mut command = Command::new("script");
    command
        .args(["-qec", &format!("{BINARY} load-rates dump.sql --database-url {}", database.url)]);
    clean_environment(&mut command).arg("/dev/null").env("TERM", "xterm");
    command.current_dir(database.folder.path()).stdin(Stdio::null());
    let seen = Loaded::of(command.output().unwrap()).output;
    assert!(seen.contains('\u{2588}') && seen.contains("bytes read"), "{seen}");

    let mut command = Command::new(BINARY);
    command.args(["load-rates", "dump.sql", "--database-url", &database.url]);
    clean_environment(&mut command).current_dir(database.folder.path());
    let loaded = Loaded::of(command.output().unwrap());
    assert_eq!(loaded.error.lines().count(), 10, "{}", loaded.error);
    assert!(loaded.error.starts_with("read "), "{}", loaded.error);
}
