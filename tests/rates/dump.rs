//! Synthetic rates: made by the same rule each time, and written as pg_dump writes them.

#![allow(dead_code, reason = "no test target needs all of it")]

use std::fmt::Write as _;
use std::io::{self, Write};

/// The rows of a dump.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Slug, name and parent; an empty parent is null.
    pub regions: Vec<[String; 3]>,
    /// Code, name and parent.
    pub ports: Vec<[String; 3]>,
    /// Origin, destination, day and price.
    pub prices: Vec<(String, String, String, i64)>,
}

/// Regions up to four deep, of which one has the code of a port, and two months of prices: with
/// days that have none, one or two, and with equal ones.
pub fn sample() -> Rows {
    let own = |row: &[&str; 3]| row.map(str::to_owned);
    let regions = [
        ["europe", "Europe", ""],
        ["north_europe", "Nordeuropa, fjorder og \u{f8}er", "europe"],
        ["scandinavia", "Scandinavia\tand \\ more", "north_europe"],
        ["fjords", "Fj\u{f8}rds", "scandinavia"],
        ["baltic", "L\u{e4}\u{e4}nemeri", "north_europe"],
        ["asia", "\u{30a2}\u{30b8}\u{30a2}", ""],
        ["china", "\u{4e2d}\u{56fd}", "asia"],
        ["china_south", "\u{534e}\u{5357}\nline", "china"],
        ["pearl_river", "\\N and \\. and \\x41", "china_south"],
        ["TWICE", "A region with the code of a port", "baltic"],
        ["empty", "No port is here", ""],
    ];
    let ports = [
        ["NOBGO", "Bergen", "fjords"],
        ["NOSVG", "Stavanger", "fjords"],
        ["SEGOT", "G\u{f6}teborg", "scandinavia"],
        ["EETLL", "Tallinn", "baltic"],
        ["FIHEL", "Helsinki\r", "TWICE"],
        ["TWICE", "A port with the slug of a region", "scandinavia"],
        ["NLRTM", "Rotterdam", "europe"],
        ["CNGGZ", "Guanggang", "pearl_river"],
        ["CNSZX", "Shenzhen", "pearl_river"],
        ["CNXMN", "Xiamen", "china_south"],
        ["CNSGH", "Shanghai", "china"],
        ["cngGZ", "In small letters it is another one", "china"],
        ["ZZZZZ", "In no region", ""],
    ];
    let mut rows = Rows {
        regions: regions.iter().map(own).collect(),
        ports: ports.iter().map(own).collect(),
        prices: Vec::new(),
    };
    let mut random = Random(7);
    for [origin, _, _] in &ports {
        for [destination, _, _] in &ports {
            for day in 0..60 {
                // Half of the days have none, and most others few.
                for _ in 0..random.below(10).saturating_sub(4) {
                    let price = 900 + random.below(600) as i64;
                    let price = if random.below(50) == 0 { -price } else { price };
                    let row = ((*origin).into(), (*destination).into(), date(day), price);
                    let times = if random.below(8) == 0 { 2 } else { 1 };
                    rows.prices.extend(std::iter::repeat_n(row, times));
                }
            }
        }
    }
    rows
}

/// Deterministic numbers, by the finaliser of SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (number ^ (number >> 31)) % limit
    }
}

/// A day of 2016, a leap year, counted from its first.
pub fn date(day: u64) -> String {
    let mut rest = day;
    for (month, days) in (1..).zip([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if rest < days {
            return format!("2016-{month:02}-{:02}", rest + 1);
        }
        rest -= days;
    }
    panic!("not in 2016: {day}")
}

/// Ports of `write_many`.
const PORTS: u64 = 600;

/// Prices of a pair of ports in `write_many`: four on each of 60 days, more or less.
const PRICES_PER_PAIR: u64 = 240;

/// Writes `count` prices between 600 ports on 60 days. Half of the ports are below the region
/// "west", the others below "east", and all below "world". More prices are of more pairs.
pub fn write_many(count: u64, output: &mut impl Write) -> io::Result<()> {
    output.write_all(PREAMBLE.as_bytes())?;
    output.write_all(b"COPY public.prices (orig_code, dest_code, day, price) FROM stdin;\n")?;
    let mut random = Random(1);
    for _ in 0..count {
        let (origin, destination) = pair(random.below(count / PRICES_PER_PAIR));
        let (day, price) = (date(random.below(60)), 500 + random.below(2000));
        writeln!(output, "{}\t{}\t{day}\t{price}", port(origin), port(destination))?;
    }
    output.write_all(b"\\.\n\nCOPY public.ports (code, name, parent_slug) FROM stdin;\n")?;
    for number in 0..PORTS {
        writeln!(output, "{}\tPort {number}\tregion_{}", port(number), number % 24)?;
    }
    output.write_all(b"\\.\n\nCOPY public.regions (slug, name, parent_slug) FROM stdin;\n")?;
    output.write_all(b"world\tWorld\t\\N\nwest\tWest\tworld\neast\tEast\tworld\n")?;
    for region in 0..24 {
        let parent = if region < 12 { "west" } else { "east" };
        writeln!(output, "region_{region}\tRegion {region}\t{parent}")?;
    }
    output.write_all(b"\\.\n\n")?;
    output.write_all(POSTAMBLE.as_bytes())
}

/// The ports of a pair of `write_many`.
pub fn pair(number: u64) -> (u64, u64) {
    (number % PORTS, (number / PORTS + number * 13 + 1) % PORTS)
}

/// The code of a port of `write_many`.
pub fn port(number: u64) -> String {
    format!("P{number:04}")
}

pub const PREAMBLE: &str = r"--
-- PostgreSQL database dump
--

\restrict 3kXbT0

-- Dumped from database version 15.13
-- Dumped by pg_dump version 15.13

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET row_security = off;

CREATE FUNCTION public.unused() RETURNS void LANGUAGE plpgsql
    AS $$ begin
    delete from public.prices;
end $$;

CREATE TABLE public.ports (
    code text NOT NULL,
    name text NOT NULL,
    parent_slug text
);

CREATE TABLE public.prices (
    orig_code text NOT NULL,
    dest_code text NOT NULL,
    day date NOT NULL,
    price integer NOT NULL
);

COMMENT ON TABLE public.prices IS 'It''s not; DELETE FROM prices;';

CREATE TABLE public.regions (
    slug text NOT NULL,
    name text NOT NULL,
    parent_slug text
);

";

pub const POSTAMBLE: &str = r"ALTER TABLE ONLY public.ports
    ADD CONSTRAINT ports_pkey PRIMARY KEY (code);

ALTER TABLE ONLY public.regions
    ADD CONSTRAINT regions_pkey PRIMARY KEY (slug);

ALTER TABLE ONLY public.prices
    ADD CONSTRAINT prices_orig_code_fkey FOREIGN KEY (orig_code) REFERENCES public.ports(code);

--
-- PostgreSQL database dump complete
--

\unrestrict 3kXbT0
";

impl Rows {
    /// The dump, with the tables in the order of their names, as pg_dump has them, and with columns
    /// in another order than ours.
    pub fn to_dump(&self) -> String {
        let mut dump = PREAMBLE.to_owned();
        dump.push_str("COPY public.ports (parent_slug, code, name) FROM stdin;\n");
        for [code, name, parent] in &self.ports {
            writeln!(dump, "{}\t{}\t{}", nullable(parent), escape(code), escape(name))
                .expect("a string grows");
        }
        dump.push_str(
            "\\.\n\n\nCOPY public.prices (day, price, orig_code, dest_code) FROM stdin;\n",
        );
        for (origin, destination, day, price) in &self.prices {
            writeln!(dump, "{day}\t{price}\t{origin}\t{destination}").expect("a string grows");
        }
        dump.push_str("\\.\n\n\nCOPY public.regions (slug, name, parent_slug) FROM stdin;\n");
        for [slug, name, parent] in &self.regions {
            writeln!(dump, "{}\t{}\t{}", escape(slug), escape(name), nullable(parent))
                .expect("a string grows");
        }
        dump.push_str("\\.\n\n\n");
        dump + POSTAMBLE
    }
}

fn nullable(text: &str) -> String {
    if text.is_empty() { "\\N".to_owned() } else { escape(text) }
}

fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\t', "\\t");
    escaped.replace('\n', "\\n").replace('\r', "\\r")
}
