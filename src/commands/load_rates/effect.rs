//! What a statement of a dump does to rows.

use super::statement::Token;

/// What a statement does.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes no rows of tables that are there.
    None,
    /// Is followed by rows.
    Copy,
    /// Inserts rows.
    Inserts,
    /// Removes a table or a part of one.
    Removes,
    /// Says that texts are in another encoding than UTF-8.
    Encoding(String),
    /// May change rows in some other way, or is not known.
    Changes,
}

/// Functions that pg_dump calls: of settings, sequences, large objects' owners and statistics.
const HARMLESS_FUNCTIONS: &[&str] = &[
    "set_config",
    "setval",
    "pg_restore_relation_stats",
    "pg_restore_attribute_stats",
    "pg_restore_extended_stats",
];

/// Finds what the statement does.
pub fn effect(tokens: &[Token]) -> Effect {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => word.to_uppercase(),
        _ => String::new(),
    };
    match (&*word(0), &*word(1)) {
        ("", _) if tokens.is_empty() => Effect::None,
        ("COPY", _) => Effect::Copy,
        ("INSERT", _) => Effect::Inserts,
        ("DROP", _) => Effect::Removes,
        ("SET", "CLIENT_ENCODING") => encoding(tokens),
        ("SET" | "RESET" | "COMMENT" | "GRANT" | "REVOKE" | "SECURITY" | "ANALYZE", _)
        | ("REFRESH", "MATERIALIZED") => Effect::None,
        ("SELECT", _) if calls_harmless_function(tokens) => Effect::None,
        ("CREATE", _) if makes_rows(tokens) => Effect::Changes,
        ("ALTER", "TABLE") if changes_columns(tokens) => Effect::Changes,
        ("CREATE" | "ALTER", _) => Effect::None,
        _ => Effect::Changes,
    }
}

fn encoding(tokens: &[Token]) -> Effect {
    let encoding = match tokens.last() {
        Some(Token::Text(text)) => text.clone(),
        Some(token) => token.name().unwrap_or_default(),
        None => String::new(),
    };
    match encoding.to_uppercase().replace('-', "").as_str() {
        // ASCII is UTF-8, and what is neither is found line by line.
        "UTF8" | "UNICODE" | "SQL_ASCII" => Effect::None,
        _ => Effect::Encoding(encoding),
    }
}

/// Whether this is `SELECT [* FROM] [pg_catalog.]FUNCTION(…)` and nothing else.
fn calls_harmless_function(tokens: &[Token]) -> bool {
    let mut rest = &tokens[1..];
    if let [Token::Symbol('*'), from, after @ ..] = rest
        && from.is("FROM")
    {
        rest = after;
    }
    if let [schema, Token::Symbol('.'), after @ ..] = rest
        && schema.is("PG_CATALOG")
    {
        rest = after;
    }
    let [function, Token::Symbol('('), arguments @ .., Token::Symbol(')')] = rest else {
        return false;
    };
    let name = function.name().unwrap_or_default();
    HARMLESS_FUNCTIONS.contains(&&*name) && !arguments.contains(&Token::Symbol('('))
}

/// Whether this is `CREATE TABLE … AS` a query. Views and other objects hold no rows of tables.
fn makes_rows(tokens: &[Token]) -> bool {
    let is_table = tokens
        .iter()
        .take_while(|token| matches!(token, Token::Word(_)))
        .any(|token| token.is("TABLE"));
    let mut depth = 0_i32;
    is_table
        && tokens.iter().any(|token| {
            depth += match token {
                Token::Symbol('(') => 1,
                Token::Symbol(')') => -1,
                _ => 0,
            };
            depth == 0 && token.is("AS")
        })
}

/// Whether this renames a table or column, or gives a column other values.
fn changes_columns(tokens: &[Token]) -> bool {
    tokens.windows(2).any(|pair| match pair {
        [word, _] if word.is("RENAME") || word.is("TYPE") => true,
        [drop, column] => drop.is("DROP") && column.is("COLUMN"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::statement::Statements;
    use super::*;

    fn effect_of(statement: &str) -> Effect {
        let (statement, _) = Statements::default().read(statement, 1).expect(statement);
        effect(&statement.tokens)
    }

    #[test]
    fn what_pg_dump_writes_beside_rows_changes_none() {
        for statement in [
            ";",
            "SET statement_timeout = 0;",
            "SET client_encoding = 'UTF8';",
            "set client_encoding to utf8;",
            "SELECT pg_catalog.set_config('search_path', '', false);",
            "SELECT pg_catalog.setval('public.x_seq', 7, true);",
            "SELECT * FROM pg_catalog.pg_restore_relation_stats('version', '180000'::integer);",
            "CREATE TABLE public.prices (price integer, x integer GENERATED ALWAYS AS (1) STORED);",
            "CREATE INDEX i ON public.prices USING btree (day);",
            "CREATE VIEW v AS SELECT * FROM prices;",
            "CREATE TYPE t AS ENUM ('a');",
            "ALTER TABLE public.prices OWNER TO postgres;",
            "ALTER TABLE ONLY ports ADD CONSTRAINT a FOREIGN KEY (b) REFERENCES c(d);",
            "ALTER TABLE ONLY public.prices ALTER COLUMN id SET DEFAULT nextval('x'::regclass);",
            "ALTER TYPE t OWNER TO postgres;",
            "COMMENT ON TABLE prices IS 'DELETE FROM prices;';",
            "GRANT INSERT ON TABLE prices TO x;",
            "REVOKE ALL ON TABLE prices FROM public;",
            "SECURITY LABEL ON TABLE prices IS 'x';",
        ] {
            assert_eq!(effect_of(statement), Effect::None, "{statement}");
        }
    }

    #[test]
    fn statements_that_may_change_rows_are_recognized() {
        for (statement, expected) in [
            ("COPY prices (a) FROM stdin;", Effect::Copy),
            ("insert into prices values (1);", Effect::Inserts),
            ("DROP TABLE prices;", Effect::Removes),
            ("SET client_encoding = 'LATIN1';", Effect::Encoding("LATIN1".into())),
            ("DELETE FROM prices;", Effect::Changes),
            ("UPDATE prices SET price = 1;", Effect::Changes),
            ("TRUNCATE prices;", Effect::Changes),
            ("MERGE INTO prices USING x ON true WHEN MATCHED THEN DELETE;", Effect::Changes),
            ("WITH x AS (DELETE FROM prices) SELECT 1;", Effect::Changes),
            ("DO $$ begin delete from prices; end $$;", Effect::Changes),
            ("CALL change_prices();", Effect::Changes),
            ("SELECT change_prices();", Effect::Changes),
            ("SELECT setval('x', change_prices());", Effect::Changes),
            ("SELECT * INTO prices FROM x;", Effect::Changes),
            ("CREATE TABLE prices AS SELECT 1;", Effect::Changes),
            ("CREATE UNLOGGED TABLE prices (a) AS TABLE x;", Effect::Changes),
            (
                "ALTER TABLE prices ALTER COLUMN price TYPE integer USING price * 2;",
                Effect::Changes,
            ),
            ("ALTER TABLE x RENAME TO prices;", Effect::Changes),
            ("ALTER TABLE prices DROP COLUMN price;", Effect::Changes),
            ("ROLLBACK;", Effect::Changes),
            ("EXECUTE x;", Effect::Changes),
            ("'text';", Effect::Changes),
        ] {
            assert_eq!(effect_of(statement), expected, "{statement}");
        }
    }
}
