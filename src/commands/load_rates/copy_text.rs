//! PostgreSQL's text format for rows
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format").

use std::ops::Range;

/// The fields of a row.
#[derive(Default)]
pub struct Fields {
    bytes: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
}

impl Fields {
    /// Reads a line without its end.
    pub fn read(&mut self, line: &[u8]) {
        self.bytes.clear();
        self.fields.clear();
        for field in line.split(|byte| *byte == b'\t') {
            if field == br"\N" {
                self.fields.push(None);
                continue;
            }
            let start = self.bytes.len();
            unescape(field, &mut self.bytes);
            self.fields.push(Some(start..self.bytes.len()));
        }
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// The field at this place; `None` is null.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        self.fields[at].clone().map(|range| &self.bytes[range])
    }
}

fn unescape(field: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = field;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend(&rest[..at]);
        rest = &rest[at + 1..];
        let (byte, length) = match rest {
            [] => (b'\\', 0),
            [b'b', ..] => (b'\x08', 1),
            [b'f', ..] => (b'\x0c', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'v', ..] => (b'\x0b', 1),
            [b'0'..=b'7', ..] => number(rest, 8, 3),
            [b'x', digits @ ..] if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
                let (byte, length) = number(digits, 16, 2);
                (byte, length + 1)
            }
            [byte, ..] => (*byte, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes.extend(rest);
}

/// The byte that up to `length_max` digits write, and how many they are. Higher bits are dropped,
/// as the server does.
fn number(digits: &[u8], radix: u32, length_max: usize) -> (u8, usize) {
    let digits = digits.iter().take(length_max).map_while(|it| char::from(*it).to_digit(radix));
    let (number, length) =
        digits.fold((0, 0), |(number, length), digit| (number * radix + digit, length + 1));
    ((number & 0xFF) as u8, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut fields = Fields::default();
        // What another line left must not show.
        fields.read(b"a\tb\tc\td");
        fields.read(line);
        (0..fields.len()).map(|at| fields.get(at).map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn fields_are_unescaped_as_the_server_does() {
        for (line, expected) in [
            (&br"Ningbo"[..], &b"Ningbo"[..]),
            (b"", b""),
            (br"a\tb\nc\\d", b"a\tb\nc\\d"),
            (br"\b\f\r\v", b"\x08\x0c\r\x0b"),
            (br"\101\60\0601\7", b"A001\x07"),
            (br"\x41\x4a1\xe", b"AJ1\x0e"),
            (br"\xzz\q\.\'", b"xzzq.'"),
            (br"\303\244", "ä".as_bytes()),
            (br"\777", b"\xff"),
            (br"\\N", br"\N"),
            (br"a\N", b"aN"),
            (br"\", br"\"),
        ] {
            let shown = String::from_utf8_lossy(line);
            assert_eq!(read(line), [Some(expected.to_vec())], "{shown}");
        }
    }

    #[test]
    fn fields_are_set_apart_by_tabs_and_may_be_null() {
        let some = |text: &[u8]| Some(text.to_vec());
        assert_eq!(read(b"a\t\\N\t\tb"), [some(b"a"), None, some(b""), some(b"b")]);
        assert_eq!(read(b"\t"), [some(b""), some(b"")]);
    }
}
