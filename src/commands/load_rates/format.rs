//! Files that are not plain dumps, and what to do with them.

/// The format of a file that begins with `head`, unless that may be a plain dump.
pub fn other_format(head: &[u8]) -> Option<&'static str> {
    const TAR_MAGIC: usize = 257;
    let magics: [(usize, &[u8], &str); 10] = [
        (0, b"PGDMP", "a dump in PostgreSQL's custom format"),
        (TAR_MAGIC, b"ustar", "a tar archive"),
        (0, b"\x1f\x8b", "a gzip file"),
        (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
        (0, b"\x04\x22\x4d\x18", "an lz4 file"),
        (0, b"BZh", "a bzip2 file"),
        (0, b"\xfd7zXZ", "an xz file"),
        (0, b"SQLite format 3", "a SQLite database"),
        (0, b"\xff\xfe", "a text in UTF-16"),
        (0, b"\xfe\xff", "a text in UTF-16"),
    ];
    let found = magics.iter().find(|(at, magic, _)| {
        head.get(*at..at + magic.len()).is_some_and(|bytes| bytes == *magic)
    });
    found.map(|(_, _, format)| *format)
}

/// How to make a plain dump of it.
pub fn advice(format: &str) -> &'static str {
    match format.rsplit(' ').next() {
        Some("format" | "archive") => "convert it with pg_restore --file=DUMP FILE",
        Some("UTF-16") => {
            "dump again with pg_dump --file=DUMP, since > of PowerShell writes another encoding"
        }
        Some("database") => "name a dump made with pg_dump",
        _ => "unpack it, as in gunzip --stdout FILE | hello-birthday load-rates -",
    }
}
