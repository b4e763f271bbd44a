//! The files that a configuration names: is what is read there, can what is written be written.
//!
//! For [`check`](super::check), which hands in every use with its place. It asks the file system for what exists
//! and opens nothing: whether a file holds audio or a working plugin is found out by its reader.

use super::reader::{Reader, Span};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Audio to read.
    Audio,
    /// A Python plugin.
    Plugin,
    /// A Python interpreter.
    Interpreter,
    /// A file to write.
    Output,
}

impl Role {
    fn what(self) -> &'static str {
        match self {
            Role::Audio => "audio file",
            Role::Plugin => "plugin",
            Role::Interpreter => "Python interpreter",
            Role::Output => "file",
        }
    }
}

/// One file that the configuration names, and where it does.
#[derive(Debug, Clone)]
pub(super) struct FileUse {
    pub(super) path: PathBuf,
    pub(super) at: Span,
    pub(super) role: Role,
}

/// Notes the faults of all files.
pub(super) fn check(reader: &mut Reader<'_>, uses: &[FileUse]) {
    for file in uses {
        let fault = match file.role {
            Role::Output => output_fault(&file.path),
            role => input_fault(&file.path, role),
        };
        if let Some(fault) = fault {
            reader.fault(&file.at, fault);
        }
    }
    check_overlaps(reader, uses);
}

fn input_fault(path: &Path, role: Role) -> Option<String> {
    let (what, name) = (role.what(), path.display());
    match path.metadata() {
        Ok(found) if found.is_dir() => Some(format!("{name} is a folder; name the {what} in it")),
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let right = "paths start at the configuration's folder";
            Some(format!("there is no {what} {name}; {right}"))
        }
        Err(error) => {
            Some(format!("the {what} {name} can't be looked at ({error}); check its path and rights"))
        }
    }
}

fn output_fault(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some(format!("{} is a folder; name a file in it", path.display()));
    }
    let folder = folder(path);
    if folder.is_dir() {
        return None;
    }
    let name = folder.display();
    Some(if folder.exists() {
        format!("{name} is not a folder; name one that is")
    } else {
        format!("there is no folder {name} to write to; make it with `mkdir -p {name}`")
    })
}

/// Notes each output that is also an input or another output, under whatever name.
fn check_overlaps(reader: &mut Reader<'_>, uses: &[FileUse]) {
    let mut inputs = HashMap::new();
    for file in uses.iter().filter(|file| file.role == Role::Audio) {
        inputs.entry(identity(&file.path)).or_insert(file);
    }
    let mut outputs: HashMap<Identity, &FileUse> = HashMap::new();
    for file in uses.iter().filter(|file| file.role == Role::Output) {
        let (identity, name) = (identity(&file.path), file.path.display());
        if let Some(input) = inputs.get(&identity) {
            let line = reader.line(&input.at);
            reader.fault(&file.at, format!("{name} is read in line {line}; write to another file"));
        }
        match outputs.entry(identity) {
            Entry::Vacant(free) => _ = free.insert(file),
            Entry::Occupied(other) => {
                let line = reader.line(&other.get().at);
                let right = "write to another file";
                reader.fault(&file.at, format!("{name} is written in line {line} already; {right}"));
            }
        }
    }
}

/// What is the same for every way to name a file, links and dots included.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    /// A file that exists: its device and inode.
    Inode(u64, u64),
    /// One that doesn't: its name in the folder as the system knows it.
    Path(PathBuf),
}

fn identity(path: &Path) -> Identity {
    if let Ok(found) = path.metadata() {
        return Identity::Inode(found.dev(), found.ino());
    }
    Identity::Path(match (folder(path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
