//! What the service knows about people: their names, their dates of birth and
//! when to congratulate them; and, in `rates`, about freight rates between ports. No I/O,
//! no clock, no async.

mod birthday;
pub(crate) mod calendar;
mod date_of_birth;
pub mod rates;
mod username;

pub use birthday::LeapDayBirthday;
pub use date_of_birth::{DateOfBirth, DateOfBirthError};
pub use username::{Username, UsernameError};
