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

/// Why a text is not a username. It quotes nothing of the text.
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
    #[error("the username is empty")]
    Empty,
}

impl Username {
    /// Unicode characters in NFC. Longer than any name in use; 256 bytes in UTF-8 at most, so that
    /// rows and requests stay small.
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
    pub(crate) fn probe() -> Username {
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
    use proptest::prelude::*;

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

    /// A name by the letter of its rules, character by character.
    fn is_name(name: &str) -> bool {
        let name: Vec<char> = name.nfc().collect();
        let is = |groups: &[GeneralCategoryGroup], character: &char| {
            groups.contains(&character.general_category_group())
        };
        let (letters, marks) = (GeneralCategoryGroup::Letter, GeneralCategoryGroup::Mark);
        (1..=64).contains(&name.len())
            && is(&[letters], &name[0])
            && name.iter().all(|character| is(&[letters, marks], character))
    }

    /// Percent-decoded by hand; `None` where that cannot be done.
    fn decode(segment: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = segment.as_bytes();
        while let [first, others @ ..] = rest {
            rest = others;
            bytes.push(match (first, others) {
                (b'%', [high, low, others @ ..]) => {
                    rest = others;
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?
                }
                (b'%', _) => return None,
                (byte, _) => *byte,
            });
        }
        String::from_utf8(bytes).ok()
    }

    fn encode(name: &str) -> String {
        name.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    /// Letters, marks and what looks like them, of many lengths.
    fn near_names() -> impl Strategy<Value = String> {
        let characters = prop_oneof![
            8 => proptest::char::any(),
            8 => proptest::sample::select("aZéßİǅ李नेक़ก้ªΩΩÅk\u{301}\u{327}\u{345}".chars().collect::<Vec<_>>()),
            1 => proptest::sample::select("1_- %\u{0}\u{200d}Ⅷ².🎂".chars().collect::<Vec<_>>()),
        ];
        let letters = proptest::sample::select("aéन李\u{301}\u{93f}한".chars().collect::<Vec<_>>());
        let text = |characters: BoxedStrategy<char>, length| {
            proptest::collection::vec(characters, length)
                .prop_map(|text| text.into_iter().collect())
        };
        prop_oneof![text(characters.boxed(), 0..8), text(letters.boxed(), 0..70)]
    }

    /// Percent-encoded text, well or badly.
    fn near_segments() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            "%[0-9a-fA-F]{2}",
            "%[cdeCDE][0-9a-f]%[89abAB][0-9a-f]",
            "[a-zA-Z%é]",
            "%.?"
        ];
        proptest::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_username_is_exactly_what_the_rules_allow(name in prop_oneof![near_names(), any::<String>()]) {
            let parsed = Username::parse(&name);
            prop_assert_eq!(parsed.is_ok(), is_name(&name), "{:?}", parsed);
            if let Ok(username) = parsed {
                prop_assert!(is_nfc(username.as_str()));
                prop_assert_eq!(Username::parse(username.as_str()), Ok(username.clone()));
                let decomposed: String = name.nfd().collect();
                prop_assert_eq!(Username::parse(&decomposed), Ok(username));
            }
        }

        #[test]
        fn encoding_a_name_changes_nothing(name in near_names()) {
            prop_assert_eq!(Username::parse_percent_encoded(&encode(&name)), Username::parse(&name));
        }

        #[test]
        fn a_segment_is_decoded_once_and_wholly(segment in prop_oneof![near_segments(), any::<String>()]) {
            let expected = match decode(&segment) {
                Some(name) => Username::parse(&name),
                None => Err(UsernameError::BadlyEncoded),
            };
            prop_assert_eq!(Username::parse_percent_encoded(&segment), expected);
        }
    }
}
