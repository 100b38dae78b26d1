//! What the service knows about people: their names, their dates of birth and
//! when to congratulate them; and, in `rates`, about freight rates between ports. No I/O,
//! no clock, no async.

mod birthday;
pub(crate) mod calendar;
mod date_of_birth;
pub(crate) mod rates;
mod username;

pub(crate) use birthday::LeapDayBirthday;
pub use date_of_birth::DateOfBirth;
pub(crate) use date_of_birth::DateOfBirthError;
pub use username::Username;
pub(crate) use username::UsernameError;
