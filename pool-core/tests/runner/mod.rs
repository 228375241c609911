//! Runs scenario files: settings and operations in, ordered events out.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "test support")]

mod expect;
mod file;
mod get;
mod numbers;
mod op;
mod run;
mod text;
mod whole;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use self::file::Scenario;
pub(crate) use self::run::play;

/// The scenario files of a folder, in the order of their names.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|name| name == "toml")).collect();
    files.sort();
    files
}
