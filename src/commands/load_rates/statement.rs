//! SQL statements, parsed far enough to know what they do and where they end.

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A keyword or a name without quotes.
    Word(String),
    /// A name in quotes, without these.
    Name(String),
    /// A text in quotes, without these, its escapes as they are.
    Text(String),
    /// Any other character.
    Symbol(char),
}

impl Token {
    /// Whether this is the keyword, which is given in capitals.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// The name that this is, folded as the server does.
    pub fn name(&self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_lowercase()),
            Token::Name(name) => Some(name.clone()),
            _ => None,
        }
    }
}

/// Tokens that are kept of one statement. The first ones show what a longer statement does.
const TOKENS_MAX: usize = 4096;

/// Bytes that are kept of a text or a name, for the same reason.
const TEXT_BYTES_MAX: usize = 4096;

/// Splits lines into statements.
#[derive(Default)]
pub struct Statements {
    tokens: Vec<Token>,
    /// The line on which the statement begins.
    began: u64,
    open: Option<Open>,
    parentheses: u32,
    /// `begin atomic` and `case` that have no `end` yet.
    blocks: u32,
}

/// What goes on over several lines.
enum Open {
    Comment(u32),
    /// A text that ends with this, and what it holds so far.
    Text {
        end: String,
        has_escapes: bool,
        text: String,
    },
    Name(String),
}

/// A whole statement, without its semicolon.
pub struct Statement {
    pub tokens: Vec<Token>,
    pub line: u64,
}

impl Statements {
    /// Reads a line, up to the end of a statement if there is one in it. Returns that, and what
    /// follows.
    pub fn read<'a>(&mut self, line: &'a str, number: u64) -> Option<(Statement, &'a str)> {
        let mut rest = line;
        while !rest.is_empty() {
            rest = match self.open.take() {
                Some(open) => self.read_open(open, rest),
                None => match self.read_token(rest, number) {
                    Some(rest) => rest,
                    None => {
                        let tokens = std::mem::take(&mut self.tokens);
                        let statement = Statement { tokens, line: self.began };
                        return Some((statement, &rest[1..]));
                    }
                },
            };
        }
        if let Some(Open::Text { text, .. } | Open::Name(text)) = &mut self.open {
            keep(text, "\n");
        }
        None
    }

    /// The line of the statement that has begun and not ended.
    pub fn unfinished(&self) -> Option<u64> {
        (self.open.is_some() || !self.tokens.is_empty()).then_some(self.began)
    }

    /// Reads a token, and returns what follows; `None` at the semicolon that ends the statement.
    fn read_token<'a>(&mut self, rest: &'a str, number: u64) -> Option<&'a str> {
        let first = rest.chars().next()?;
        let after = &rest[first.len_utf8()..];
        if first.is_whitespace() {
            return Some(after);
        }
        if rest.starts_with("--") {
            return Some("");
        }
        if self.tokens.is_empty() {
            self.began = number;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            self.open = Some(Open::Comment(1));
            return Some(comment);
        }
        match first {
            ';' if self.parentheses == 0 && self.blocks == 0 => return None,
            '"' => self.open = Some(Open::Name(String::new())),
            '\'' => {
                let has_escapes = self.tokens.last().is_some_and(|token| token.is("E"));
                self.open = Some(Open::Text { end: "'".into(), has_escapes, text: String::new() });
            }
            '$' if dollar_quote(rest).is_some() => {
                let end = dollar_quote(rest)?;
                self.open =
                    Some(Open::Text { end: end.into(), has_escapes: false, text: String::new() });
                return Some(&rest[end.len()..]);
            }
            _ if is_of_word(first) => {
                let end = rest.find(|it| !is_of_word(it) && it != '$').unwrap_or(rest.len());
                self.push(Token::Word(rest[..end].to_owned()));
                return Some(&rest[end..]);
            }
            _ => self.push(Token::Symbol(first)),
        }
        Some(after)
    }

    fn push(&mut self, token: Token) {
        match &token {
            Token::Symbol('(') => self.parentheses += 1,
            Token::Symbol(')') => self.parentheses = self.parentheses.saturating_sub(1),
            // The body of a function in standard SQL holds whole statements.
            word if word.is("ATOMIC") && self.tokens.last().is_some_and(|it| it.is("BEGIN")) => {
                self.blocks += 1;
            }
            word if self.blocks > 0 && word.is("CASE") => self.blocks += 1,
            word if self.blocks > 0 && word.is("END") => self.blocks -= 1,
            _ => {}
        }
        if self.tokens.len() < TOKENS_MAX {
            self.tokens.push(token);
        }
    }

    fn read_open<'a>(&mut self, open: Open, rest: &'a str) -> &'a str {
        match open {
            Open::Comment(depth) => self.read_comment(depth, rest),
            Open::Text { end, has_escapes, text } => self.read_text(end, has_escapes, text, rest),
            Open::Name(mut name) => {
                let Some(at) = rest.find('"') else {
                    keep(&mut name, rest);
                    self.open = Some(Open::Name(name));
                    return "";
                };
                keep(&mut name, &rest[..at]);
                if let Some(after) = rest[at + 1..].strip_prefix('"') {
                    keep(&mut name, "\"");
                    self.open = Some(Open::Name(name));
                    return after;
                }
                self.push(Token::Name(name));
                &rest[at + 1..]
            }
        }
    }

    /// Comments may hold others.
    fn read_comment<'a>(&mut self, depth: u32, rest: &'a str) -> &'a str {
        let Some(at) = rest.find("*/").into_iter().chain(rest.find("/*")).min() else {
            self.open = Some(Open::Comment(depth));
            return "";
        };
        let depth = if rest[at..].starts_with("/*") { depth + 1 } else { depth - 1 };
        if depth > 0 {
            self.open = Some(Open::Comment(depth));
        }
        &rest[at + 2..]
    }

    fn read_text<'a>(
        &mut self,
        end: String,
        has_escapes: bool,
        mut text: String,
        rest: &'a str,
    ) -> &'a str {
        let escape = if has_escapes { rest.find('\\') } else { None };
        let (at, is_escape) = match (rest.find(&end), escape) {
            (Some(end), Some(escape)) if escape < end => (escape, true),
            (Some(end), _) => (end, false),
            (None, Some(escape)) => (escape, true),
            (None, None) => {
                keep(&mut text, rest);
                self.open = Some(Open::Text { end, has_escapes, text });
                return "";
            }
        };
        keep(&mut text, &rest[..at]);
        if is_escape {
            // With the character that it keeps from ending the text, if it is on this line.
            let after = at + 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
            keep(&mut text, &rest[at..after]);
            self.open = Some(Open::Text { end, has_escapes, text });
            return &rest[after..];
        }
        let after = &rest[at + end.len()..];
        if let Some(after) = after.strip_prefix('\'').filter(|_| end == "'") {
            keep(&mut text, "'");
            self.open = Some(Open::Text { end, has_escapes, text });
            return after;
        }
        self.push(Token::Text(text));
        after
    }
}

/// Appends to a text, unless it is long already.
fn keep(text: &mut String, more: &str) {
    if text.len() + more.len() <= TEXT_BYTES_MAX {
        text.push_str(more);
    }
}

/// The opening of a text in dollar quotes, as `$$` or `$body$`.
fn dollar_quote(rest: &str) -> Option<&str> {
    let tag = rest[1..].find('$')?;
    let is_tag = rest[1..=tag].chars().all(is_of_word)
        && !rest[1..].starts_with(|it: char| it.is_ascii_digit());
    is_tag.then(|| &rest[..tag + 2])
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first words of each statement and its line, and whether something is unfinished.
    fn split(text: &str) -> (Vec<(String, u64)>, bool) {
        let mut statements = Statements::default();
        let mut found = Vec::new();
        for (number, mut line) in (1..).zip(text.split('\n')) {
            while let Some((statement, rest)) = statements.read(line, number) {
                let words = statement.tokens.iter().filter_map(Token::name);
                found.push((words.take(2).collect::<Vec<_>>().join(" "), statement.line));
                line = rest;
            }
        }
        (found, statements.unfinished().is_some())
    }

    #[test]
    fn a_statement_ends_with_the_semicolon_that_is_in_nothing_else() {
        for (text, expected) in [
            ("SET a = 1;", &[("set a", 1)][..]),
            ("\n-- SET b;\nSET a = 1;SET c=2;", &[("set a", 3), ("set c", 3)]),
            ("/* SET a; /* ; */\n; */ SET b = ';''; SET c;';", &[("set b", 2)]),
            ("COMMENT ON x IS E'it\\'s; SET c;';", &[("comment on", 1)]),
            ("COMMENT ON x IS 'a\\'; SET c = '';", &[("comment on", 1), ("set c", 1)]),
            ("COMMENT ON\n\"a;\"\"b\nc;\" IS '';", &[("comment on", 1)]),
            (
                "CREATE FUNCTION f() AS $_$ begin;\n $$;$$ end; $_$;\nSET a;",
                &[("create function", 1), ("set a", 3)],
            ),
            (
                "CREATE FUNCTION f()\nBEGIN ATOMIC\n SELECT CASE WHEN x THEN 1 END;\n SELECT 2;\nEND;\nSET a;",
                &[("create function", 1), ("set a", 6)],
            ),
            (
                "CREATE RULE r DO ALSO (SELECT 1; SELECT 2); SET a;",
                &[("create rule", 1), ("set a", 1)],
            ),
            ("SET a$b = $1; SET b;", &[("set a$b", 1), ("set b", 1)]),
        ] {
            let (found, is_unfinished) = split(text);
            let found: Vec<_> = found.iter().map(|(words, line)| (&**words, *line)).collect();
            assert_eq!(found, expected, "{text}");
            assert!(!is_unfinished, "{text}");
        }
    }

    #[test]
    fn what_has_not_ended_is_known() {
        for text in
            ["SET a", "SET a = ';", "/* ;", "CREATE x AS $a$;$b$;", "SET \"a;", "SELECT (1;"]
        {
            assert!(split(text).1, "{text}");
        }
        for text in ["", "-- a", "/* a */", "SET a; -- b"] {
            assert!(!split(text).1, "{text}");
        }
    }
}
