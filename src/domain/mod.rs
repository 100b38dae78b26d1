//! What the service knows about people: their names, their dates of birth and
//! when to congratulate them. No I/O, no clock, no async.

mod birthday;
mod date_of_birth;
mod username;

pub use birthday::LeapDayBirthday;
pub use date_of_birth::{DateOfBirth, DateOfBirthError};
pub use username::{Username, UsernameError};
