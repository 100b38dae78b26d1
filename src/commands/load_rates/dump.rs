//! A plain dump of `pg_dump`, line by line.
//!
//! Only `COPY` blocks hold rows. What else is in a dump changes no rows and is skipped; what could
//! change some is refused, since skipping it would load other data than the dump describes.

use std::io::{BufRead, Read};

use anyhow::{Context, bail, ensure};

use super::copy_text::Fields;
use super::effect::{Effect, effect};
use super::format::{advice, other_format};
use super::statement::{Statement, Statements, Token};
use super::table::{Table, order_of};

/// Bytes of a line. A row of these tables takes a few hundred, and the longest statements of
/// pg_dump some thousands; a longer line is not from a dump.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A row of a dump.
pub struct Row<'a> {
    pub table: Table,
    /// The number of its line, from 1.
    pub line: u64,
    fields: &'a Fields,
    order: &'a [usize],
}

impl Row<'_> {
    /// The value of a column, by its place in [`Table::columns`]; `None` is null.
    pub fn get(&self, column: usize) -> anyhow::Result<Option<&str>> {
        let Some(bytes) = self.fields.get(self.order[column]) else { return Ok(None) };
        let name = self.table.columns()[column];
        let text = str::from_utf8(bytes)
            .map_err(|_| self.wrong(format!("{name} is not UTF-8: dump with --encoding=UTF8")))?;
        ensure!(!text.contains('\0'), self.wrong(format!("{name} holds NUL")));
        Ok(Some(text))
    }

    /// An error that names the line.
    pub fn wrong(&self, what: String) -> anyhow::Error {
        anyhow::anyhow!("line {}: {what}", self.line)
    }
}

/// Reads a dump.
pub struct Dump<R> {
    input: R,
    line: Vec<u8>,
    /// Whether a line end was read after it.
    has_line_end: bool,
    number: u64,
    bytes: u64,
    statements: Statements,
    block: Option<Block>,
    fields: Fields,
    /// The schema and the name of each table that has had a block, in the order of `Table::ALL`.
    seen: [Option<Vec<String>>; 3],
}

/// A `COPY` block whose rows follow.
struct Block {
    table: Table,
    began: u64,
    /// The field of each of the table's columns.
    order: Vec<usize>,
}

impl<R: BufRead> Dump<R> {
    /// Starts to read `input`, unless it is a dump of another format.
    pub fn open(mut input: R) -> anyhow::Result<Dump<R>> {
        let head = input.fill_buf().context("cannot read the dump")?;
        if let Some(format) = other_format(head) {
            bail!("this is {format}, not a plain dump: {}", advice(format));
        }
        Ok(Dump {
            input,
            line: Vec::new(),
            has_line_end: false,
            number: 0,
            bytes: 0,
            statements: Statements::default(),
            block: None,
            fields: Fields::default(),
            seen: [const { None }; 3],
        })
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next row; `None` at the end of a whole dump of all tables.
    pub fn next_row(&mut self) -> anyhow::Result<Option<Row<'_>>> {
        loop {
            if !self.read_line()? {
                return self.end().map(|()| None);
            }
            let Some(block) = &self.block else {
                self.read_statements()?;
                continue;
            };
            if self.line == br"\." {
                self.block = None;
                continue;
            }
            let (table, began) = (block.table, self.number);
            self.join_escaped_line_ends()?;
            ensure!(
                self.has_line_end,
                "line {}: the dump is cut short within a row of {}",
                self.number,
                table.name()
            );
            self.fields.read(&self.line);
            let block = self.block.as_ref().expect("the block has not ended");
            let (found, wanted) = (self.fields.len(), block.order.len());
            ensure!(
                found == wanted,
                "line {began}: a row of {} has {wanted} columns, and this one {found}",
                table.name()
            );
            return Ok(Some(Row { table, line: began, fields: &self.fields, order: &block.order }));
        }
    }

    /// Reads a line without its end. Returns whether there is one.
    fn read_line(&mut self) -> anyhow::Result<bool> {
        self.line.clear();
        self.append_line()
    }

    fn append_line(&mut self) -> anyhow::Result<bool> {
        let mut input = (&mut self.input).take(LINE_BYTES_MAX as u64 + 1);
        let before = self.line.len();
        let read = input.read_until(b'\n', &mut self.line).context("cannot read the dump")?;
        self.has_line_end = read > 0 && self.line.last() == Some(&b'\n');
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.bytes += read as u64;
        ensure!(
            self.line.len() <= LINE_BYTES_MAX,
            "line {}: longer than {LINE_BYTES_MAX} bytes: this is not a dump of rates",
            self.number
        );
        for end in [b'\n', b'\r'] {
            // A carriage return that is data is escaped.
            if self.line.len() > before && self.line.last() == Some(&end) {
                self.line.pop();
            }
        }
        Ok(true)
    }

    /// The end of a line belongs to a field if a backslash is before it.
    fn join_escaped_line_ends(&mut self) -> anyhow::Result<()> {
        let is_escaped =
            |line: &[u8]| line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        while is_escaped(&self.line) {
            self.line.push(b'\n');
            if !self.append_line()? {
                break;
            }
        }
        Ok(())
    }

    fn read_statements(&mut self) -> anyhow::Result<()> {
        let number = self.number;
        let line = str::from_utf8(&self.line)
            .map_err(|_| anyhow::anyhow!("line {number}: not UTF-8: dump with --encoding=UTF8"))?;
        // The byte order mark of an editor or another shell.
        let line = line.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(line);
        let is_between = self.statements.unfinished().is_none();
        if let Some(command) = line.strip_prefix('\\').filter(|_| is_between) {
            return self.check_command(command);
        }
        let mut found = Vec::new();
        let mut rest = line;
        while let Some((statement, after)) = self.statements.read(rest, number) {
            found.push(statement);
            rest = after;
        }
        for statement in found {
            ensure!(
                self.block.is_none(),
                "line {number}: rows follow COPY, so no statement may: put it on another line"
            );
            self.check(&statement)?;
        }
        Ok(())
    }

    /// Checks a command for psql, of which pg_dump writes a few.
    fn check_command(&self, command: &str) -> anyhow::Result<()> {
        match command.split_whitespace().next() {
            Some("restrict" | "unrestrict") => Ok(()),
            Some("connect" | "encoding") if !self.has_rows() => Ok(()),
            name => bail!(
                "line {}: \\{} is a command for psql that pg_dump does not write here: remove it if it changes no rows",
                self.number,
                name.unwrap_or_default()
            ),
        }
    }

    fn has_rows(&self) -> bool {
        self.seen.iter().any(Option::is_some)
    }

    fn check(&mut self, Statement { tokens, line }: &Statement) -> anyhow::Result<()> {
        match effect(tokens) {
            Effect::None => Ok(()),
            // As pg_dump --clean writes it, before anything is there.
            Effect::Removes if !self.has_rows() => Ok(()),
            Effect::Copy => self.begin_block(tokens, *line),
            Effect::Encoding(encoding) => {
                bail!("line {line}: the dump is in {encoding}: dump again with --encoding=UTF8")
            }
            Effect::Inserts if !self.has_rows() => bail!(
                "line {line}: this dump holds INSERT statements, as pg_dump --inserts writes them: dump again without --inserts, --column-inserts and --rows-per-insert"
            ),
            Effect::Removes | Effect::Inserts | Effect::Changes => bail!(
                "line {line}: {} may change rows, and only COPY is carried out: restore the dump with psql into an empty database, and load a new dump of that",
                first_words(tokens)
            ),
        }
    }

    /// Begins the block of `COPY [SCHEMA.]TABLE (COLUMN, …) FROM stdin`.
    fn begin_block(&mut self, tokens: &[Token], line: u64) -> anyhow::Result<()> {
        let is_symbol = |token: &Token, symbol| *token == Token::Symbol(symbol);
        let open = tokens.iter().position(|token| is_symbol(token, '('));
        let close = tokens.iter().position(|token| is_symbol(token, ')'));
        let (Some(open), Some(close)) = (open, close) else {
            bail!("line {line}: COPY without a list of columns: dump again with pg_dump");
        };
        ensure!(
            matches!(&tokens[close + 1..], [from, stdin] if from.is("FROM") && stdin.is("STDIN")),
            "line {line}: only COPY … FROM stdin of the text format is read: dump again with pg_dump"
        );
        let names = |tokens: &[Token]| tokens.iter().filter_map(Token::name).collect::<Vec<_>>();
        let path = names(&tokens[1..open]);
        let name = path.last().map_or("", String::as_str);
        let Some(at) = Table::ALL.iter().position(|table| table.name() == name) else {
            bail!(
                "line {line}: rows of {name}, which is none of regions, ports and prices: dump with --table=regions --table=ports --table=prices"
            );
        };
        let seen = self.seen[at].get_or_insert_with(|| path.clone());
        ensure!(
            *seen == path,
            "line {line}: {} and {} are two tables of one name: dump one of them",
            seen.join("."),
            path.join(".")
        );
        let table = Table::ALL[at];
        let order = order_of(table, &names(&tokens[open + 1..close]))
            .map_err(|what| anyhow::anyhow!("line {line}: {name}: {what}"))?;
        self.block = Some(Block { table, began: line, order });
        Ok(())
    }

    fn end(&self) -> anyhow::Result<()> {
        let last = self.number;
        if let Some(Block { table, began, .. }) = &self.block {
            bail!(
                "line {last}: the dump is cut short: the rows of {} from line {began} on do not end with \\.",
                table.name()
            );
        }
        if let Some(began) = self.statements.unfinished() {
            bail!("line {last}: the dump is cut short: the statement of line {began} does not end");
        }
        for (table, seen) in Table::ALL.iter().zip(&self.seen) {
            ensure!(
                seen.is_some(),
                "the dump has no COPY of {}: dump regions, ports and prices with pg_dump",
                table.name()
            );
        }
        Ok(())
    }
}

fn first_words(tokens: &[Token]) -> String {
    let words = tokens.iter().map_while(|token| match token {
        Token::Word(word) => Some(word.to_uppercase()),
        _ => None,
    });
    let words: Vec<String> = words.take(2).collect();
    if words.is_empty() { "this statement".to_owned() } else { words.join(" ") }
}
