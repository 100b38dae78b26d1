//! The binary that is shipped.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::cargo;

/// The binary, built with the one command that the README names.
pub static BINARY: LazyLock<PathBuf> = LazyLock::new(|| cargo::build(&["static"]));
