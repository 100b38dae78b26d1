//! Keeps dates of birth and greets people.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may"))]

pub mod domain;
