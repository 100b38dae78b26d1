//! How long tests wait.
//!
//! A test waits for a state or for an answer, and asserts what it saw and in which order.
//! It asserts no upper bound on a time: on a slow or busy machine that would fail although
//! the product works. A lower bound is fine, since a slow machine only makes waits longer.
//! Upper bounds of the product's own deadlines are shown on a stopped clock, beside the
//! code that keeps them.

use std::time::Duration;

/// Longest wait for anything that a working product does. The slowest of it takes 10 s by
/// its own timers and a second or two of processor time, so that a machine ten times
/// slower stays within.
pub const PATIENCE: Duration = Duration::from_secs(120);
