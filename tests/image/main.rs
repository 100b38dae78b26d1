//! The way from the binary to a machine that serves: units, role and image.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod units;
