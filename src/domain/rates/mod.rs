//! Averages of freight rates: the mean price of each day between two places, each a port or a
//! region of ports.

mod code;
mod mean;
mod places;
mod query;

pub use code::Code;
pub use mean::{DailyTotal, Mean};
pub use places::{Place, Places};
pub use query::{DailyTotals, Days, RatesQuery};
