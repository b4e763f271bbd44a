//! The files that a configuration names: is what is read there, can what is written be written.
//!
//! For [`check`](super::check), which hands in every use with its place. It asks the file system for what exists
//! and opens nothing: whether a file holds audio or a working plugin is found out by its reader.

use super::reader::{Reader, Span};
use crate::identity::{Identity, folder};
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
    let known =
        |role| uses.iter().filter(move |file| file.role == role).map(|file| (Identity::of(&file.path), file));
    let inputs: Vec<_> = known(Role::Audio).collect();
    let mut outputs: Vec<(Identity, &FileUse)> = Vec::new();
    for (identity, file) in known(Role::Output) {
        let name = file.path.display();
        let same = |others: &[(Identity, &FileUse)]| {
            others.iter().find(|(other, _)| other.is(&identity)).map(|(_, file)| reader.line(&file.at))
        };
        let (read, written) = (same(&inputs), same(&outputs));
        if let Some(line) = read {
            reader.fault(&file.at, format!("{name} is read in line {line}; write to another file"));
        }
        if let Some(line) = written {
            let right = "write to another file";
            reader.fault(&file.at, format!("{name} is written in line {line} already; {right}"));
        }
        outputs.push((identity, file));
    }
}
