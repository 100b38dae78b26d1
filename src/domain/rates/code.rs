use std::borrow::Borrow;
use std::fmt;

/// The code of a port or the slug of a region. Case-sensitive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(Box<str>);

/// Why a text is not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("is empty: name a port's code or a region's slug")]
    Empty,
    /// More than [`Code::LEN_MAX`] characters.
    #[error("is longer than {} characters, which no code is", Code::LEN_MAX)]
    TooLong,
    /// The character at this place, counted from 1, is in no code.
    #[error("has a character that no code has, at place {0}: use A-Z, a-z, 0-9, '_', '-' and '.'")]
    NotAllowed(usize),
}

impl Code {
    /// Characters of a code. UN/LOCODE has five, and a slug is a few words.
    pub const LEN_MAX: usize = 64;

    /// Parses a code as it is: nothing is trimmed or folded.
    pub fn parse(text: &str) -> Result<Code, CodeError> {
        let is_allowed = |it: char| it.is_ascii_alphanumeric() || "_-.".contains(it);
        if text.is_empty() {
            return Err(CodeError::Empty);
        }
        if text.chars().nth(Code::LEN_MAX).is_some() {
            return Err(CodeError::TooLong);
        }
        match text.chars().position(|it| !is_allowed(it)) {
            Some(at) => Err(CodeError::NotAllowed(at + 1)),
            None => Ok(Code(text.into())),
        }
    }

    /// Trusts a code that a store gave back.
    pub(crate) fn from_stored(text: &str) -> Code {
        Code(text.into())
    }

    /// The code as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// A code is found in a map by its text.
impl Borrow<str> for Code {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_1_to_64_of_its_characters() {
        let longest = "x".repeat(64);
        for text in ["CNGGZ", "china_main", "a", "-", "0.1", &longest] {
            assert_eq!(Code::parse(text).unwrap().as_str(), text);
        }
        let too_long = "x".repeat(65);
        let wide = "é".repeat(65);
        for (text, error) in [
            ("", CodeError::Empty),
            (&*too_long, CodeError::TooLong),
            (&wide, CodeError::TooLong),
            (" CNGGZ", CodeError::NotAllowed(1)),
            ("CNGGZ\n", CodeError::NotAllowed(6)),
            ("a'b", CodeError::NotAllowed(2)),
            ("a%", CodeError::NotAllowed(2)),
            ("\0", CodeError::NotAllowed(1)),
            ("Kéa", CodeError::NotAllowed(2)),
        ] {
            assert_eq!(Code::parse(text), Err(error), "{text:?}");
        }
    }
}
