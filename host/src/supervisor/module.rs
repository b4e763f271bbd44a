//! Where the worker module is: the extension that a plugin's interpreter loads.
//!
//! It is found from where the running executable is, so that a build tree and an installation both work with
//! nothing set.

use crate::error::{Error, Kind, Result};
use shared::boot::MODULE_FILE;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Environment variable that names the worker module.
pub const VARIABLE: &str = "NDA_WORKER_MODULE";

/// The worker module: `$NDA_WORKER_MODULE`, or beside the executable, or in `../lib/nda/`, or (for test
/// executables, which stand in a folder of their own) in the folder above.
///
/// # Errors
/// [`Kind::Worker`], naming every place that was looked at.
pub fn find() -> Result<PathBuf> {
    // Symbolic links resolved: a link to the binary in `~/bin` is not where its module is.
    let executable = std::env::current_exe().and_then(|path| path.canonicalize());
    let folder = executable.ok().and_then(|path| path.parent().map(Path::to_owned));
    find_in(std::env::var_os(VARIABLE), folder.as_deref())
}

fn find_in(named: Option<OsString>, folder: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named.filter(|name| !name.is_empty()) {
        let named = PathBuf::from(named);
        return absolute(&named).ok_or_else(|| missing(&[named], &format!("${VARIABLE} names no file")));
    }
    let places =
        ["", "../lib/nda", ".."].map(|place| folder.unwrap_or(Path::new(".")).join(place).join(MODULE_FILE));
    let found = places.iter().find_map(|place| absolute(place));
    found.ok_or_else(|| missing(&places, "the worker module is not where it should be"))
}

/// The path from the root, as the worker has to load it; `None` if there is no such file.
fn absolute(place: &Path) -> Option<PathBuf> {
    place.canonicalize().ok().filter(|path| path.is_file())
}

fn missing(places: &[PathBuf], what: &str) -> Error {
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Error::new(Kind::Worker, format!("{what}; looked for {}", places.join(", ")))
        .remedy(format!("cargo build -p worker, or set {VARIABLE} to the path of {MODULE_FILE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_module_is_found_beside_the_executable_installed_and_above_a_test() {
        for place in ["bin", "lib/nda", "."] {
            let root = tempfile::tempdir().unwrap();
            let root = root.path().canonicalize().unwrap();
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::create_dir_all(root.join(place)).unwrap();
            let file = root.join(place).join(MODULE_FILE);
            fs::write(&file, "").unwrap();
            let found = find_in(None, Some(&root.join("bin"))).unwrap();
            assert_eq!(found, file.canonicalize().unwrap(), "in {place}");
        }
    }

    #[test]
    fn a_module_that_is_named_but_missing_is_not_looked_for_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(MODULE_FILE), "").unwrap();
        let error = find_in(Some("/nowhere/x.so".into()), Some(root.path())).unwrap_err();
        assert_eq!(error.kind(), Kind::Worker);
        assert!(error.to_string().contains("/nowhere/x.so"), "{error}");
    }

    #[test]
    fn a_module_that_is_nowhere_lists_where_it_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let said = find_in(None, Some(root.path())).unwrap_err().to_string();
        assert_eq!(said.matches(MODULE_FILE).count(), 4, "three places and the remedy: {said}");
    }
}
