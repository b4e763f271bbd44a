//! Whether two names are of one file: links, dots and all.
//!
//! For whoever writes files, and must not write over what somebody reads or what has been written already. It asks the
//! file system and opens nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, there or still to be made, however it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its name as the system knows it.
    path: PathBuf,
    /// Its device and inode, if it is there.
    inode: Option<(u64, u64)>,
}

impl Identity {
    pub(crate) fn of(path: &Path) -> Self {
        let inode = path.metadata().ok().map(|found| (found.dev(), found.ino()));
        let still_to_be_made = || Some(folder(path).canonicalize().ok()?.join(path.file_name()?));
        let path = path.canonicalize().ok().or_else(still_to_be_made).unwrap_or_else(|| path.to_owned());
        Self { path, inode }
    }

    /// Whether it is the same file, or takes its name.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.path == other.path || self.inode.is_some() && self.inode == other.inode
    }
}

/// The folder that a file lies in.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_every_name_that_it_has_and_by_the_one_that_it_will_have() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| root.path().join(name);
        std::fs::create_dir(file("folder")).unwrap();
        std::fs::write(file("a"), "").unwrap();
        std::fs::write(file("b"), "").unwrap();
        std::fs::hard_link(file("a"), file("hard")).unwrap();
        std::os::unix::fs::symlink("a", file("soft")).unwrap();
        std::os::unix::fs::symlink(".", file("here")).unwrap();
        let are_one = |a: &str, b: &str| Identity::of(&file(a)).is(&Identity::of(&file(b)));
        for name in ["a", "hard", "soft", "here/a", "folder/../a"] {
            assert!(are_one("a", name) && !are_one("b", name), "{name}");
        }
        assert!(are_one("new", "folder/../here/new") && !are_one("new", "folder/new"));
        assert!(!are_one("new", "a") && !are_one("no/folder", "new"));
    }

    #[test]
    fn a_file_stays_what_it_was_under_another_name_and_so_does_its_name() {
        let root = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| root.path().join(name));
        std::fs::write(&before, "").unwrap();
        let known = Identity::of(&before);
        std::fs::rename(&before, &after).unwrap();
        assert!(Identity::of(&after).is(&known) && Identity::of(&before).is(&known));
    }
}
