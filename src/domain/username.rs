use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// A name made of Unicode letters in Normalization Form C, as users type it.
///
/// A mark belongs to the letter before it, as in most names written in an Indic
/// script; a mark with no letter before it is refused.
///
/// A clone shares the text. `Debug` hides it: it is personal data.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username(Arc<str>);

/// Why a text is no username. It quotes nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the username is badly percent-encoded: encode its UTF-8 bytes as %XX")]
    BadlyEncoded,
    /// Something else than a letter, or a mark without one, at this place from 1.
    #[error("character {0} of the username is not a letter: use letters only")]
    NotALetter(usize),
    /// More than [`Username::LEN_MAX`].
    #[error("the username is longer than {max} characters, marks included", max = Username::LEN_MAX)]
    TooLong,
    /// No letter at all.
    #[error("the username is empty")]
    Empty,
}

impl Username {
    /// Unicode characters in NFC. Longer than any name in use, and short enough
    /// that a row stays far below a database page.
    pub const LEN_MAX: usize = 64;

    /// Parses one segment of a request's path, percent-encoded as it came.
    pub fn parse_percent_encoded(segment: &str) -> Result<Username, UsernameError> {
        Username::parse(&percent_decode(segment)?)
    }

    /// Parses a name, bringing it to NFC first.
    pub fn parse(name: &str) -> Result<Username, UsernameError> {
        let name: Cow<str> =
            if is_nfc(name) { name.into() } else { name.nfc().collect::<String>().into() };
        let mut length = 0;
        for character in name.chars() {
            length += 1;
            let belongs = is_letter(character) || (length > 1 && is_mark(character));
            if !belongs {
                return Err(UsernameError::NotALetter(length));
            }
            if length > Username::LEN_MAX {
                return Err(UsernameError::TooLong);
            }
        }
        match length {
            0 => Err(UsernameError::Empty),
            _ => Ok(Username(name.into())),
        }
    }

    /// Trusts a name that a store gave back.
    pub(crate) fn from_stored(name: &str) -> Username {
        Username(name.into())
    }

    /// The name that no user can have, for asking a store whether it answers.
    pub(crate) fn nobody() -> Username {
        Username(Arc::default())
    }

    /// The name as it is stored and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Username(..)")
    }
}

/// Unlike the library, refuses a `%` that encodes nothing.
fn percent_decode(segment: &str) -> Result<Cow<'_, str>, UsernameError> {
    let bytes = segment.as_bytes();
    let well_formed = bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%'
            || bytes
                .get(at + 1..at + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !well_formed {
        return Err(UsernameError::BadlyEncoded);
    }
    percent_decode_str(segment).decode_utf8().map_err(|_| UsernameError::BadlyEncoded)
}

fn is_letter(character: char) -> bool {
    character.is_ascii_alphabetic()
        || (!character.is_ascii()
            && character.general_category_group() == GeneralCategoryGroup::Letter)
}

fn is_mark(character: char) -> bool {
    !character.is_ascii() && character.general_category_group() == GeneralCategoryGroup::Mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_letters_are_usernames() {
        let longest = "a".repeat(Username::LEN_MAX);
        for name in [
            "John",
            "john",
            "José",
            "Ærøskøbing",
            "Мария",
            "李小龍",
            "Ἀθηνᾶ",
            "नेहा",
            "ก้อง",
            "ª",
            &longest,
        ] {
            let username = Username::parse(name).expect("a name of letters");
            assert_eq!(username.as_str(), name);
        }
    }

    #[test]
    fn a_name_typed_in_two_ways_is_one_username() {
        assert_eq!(Username::parse("Jose\u{301}"), Username::parse("Jos\u{e9}"));
        assert_eq!(
            Username::parse_percent_encoded("Jose%CC%81"),
            Username::parse_percent_encoded("Jos%c3%a9"),
        );
    }

    #[test]
    fn case_tells_users_apart() {
        assert_ne!(Username::parse("John"), Username::parse("john"));
    }

    #[test]
    fn anything_but_letters_is_refused() {
        use UsernameError::{BadlyEncoded, Empty, NotALetter, TooLong};
        let too_long = "é".repeat(Username::LEN_MAX + 1);
        let cases = [
            ("", Empty),
            ("John1", NotALetter(5)),
            ("John%20Doe", NotALetter(5)),
            ("John%0A", NotALetter(5)),
            ("%00", NotALetter(1)),
            ("John-Doe", NotALetter(5)),
            ("a%2Fb", NotALetter(2)),
            ("%F0%9F%8E%82", NotALetter(1)),
            ("a%E2%80%8Db", NotALetter(2)),
            ("%CC%81", NotALetter(1)),
            ("%E0%A4%BF", NotALetter(1)),
            ("%E2%85%A7", NotALetter(1)),
            ("%25", NotALetter(1)),
            ("%", BadlyEncoded),
            ("%4", BadlyEncoded),
            ("%4G", BadlyEncoded),
            ("John%", BadlyEncoded),
            ("%FF", BadlyEncoded),
            ("%C3", BadlyEncoded),
            ("%ED%A0%80", BadlyEncoded),
            (&too_long, TooLong),
        ];
        for (segment, error) in cases {
            assert_eq!(Username::parse_percent_encoded(segment), Err(error), "{segment}");
        }
    }

    #[test]
    fn debug_hides_the_name() {
        let username = Username::parse("John").expect("a name of letters");
        assert_eq!(format!("{username:?}"), "Username(..)");
    }
}
