//! Which Python runs a plugin, and in clear words why one can't.
//!
//! It looks for an interpreter but never runs one: what the interpreter is, its own first lines find out
//! ([`shared::boot`]), and their verdict is put into words here.

use crate::error::{Error, Kind, Result};
use crate::supervisor::{Because, Death, Ending};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use shared::exit::Exit;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

const CHOOSE: &str = "name a CPython 3.10 or newer that has numpy, with --python or in the configuration";

/// The interpreter for a plugin file (whose path must be absolute). The first of these that there is:
///
/// 1. `named`, by the command line or the plugin's entry in the configuration; a name without a slash is looked
///    for on the path;
/// 2. `.venv/bin/python` beside the plugin, or in the nearest folder above it that has one;
/// 3. `$VIRTUAL_ENV/bin/python`;
/// 4. `python3` on the path.
///
/// One that is there but can't be run is an error, not a reason to go on: a plugin run by another Python than
/// the one meant for it fails in ways that are harder to understand.
///
/// # Errors
/// [`Kind::Interpreter`], with what is wrong with the one that was found, or that there is none.
pub fn find(named: Option<&Path>, plugin: &Path) -> Result<PathBuf> {
    let surroundings =
        Surroundings { virtual_env: std::env::var_os("VIRTUAL_ENV"), path: std::env::var_os("PATH") };
    surroundings.find(named, plugin)
}

/// What the search takes from the environment.
struct Surroundings {
    virtual_env: Option<OsString>,
    path: Option<OsString>,
}

impl Surroundings {
    fn find(&self, named: Option<&Path>, plugin: &Path) -> Result<PathBuf> {
        if let Some(named) = named {
            return self.named(named);
        }
        if let Some(python) = beside(plugin) {
            return usable(python, "the virtual environment beside the plugin is broken: ");
        }
        if let Some(folder) = self.virtual_env.as_ref().filter(|folder| !folder.is_empty()) {
            return usable(Path::new(folder).join("bin/python"), "$VIRTUAL_ENV is set, but ");
        }
        self.on_path(OsStr::new("python3")).ok_or_else(|| {
            let what =
                "no Python: no .venv beside the plugin or above, no $VIRTUAL_ENV, no python3 on the path";
            Error::new(Kind::Interpreter, what).remedy(CHOOSE)
        })
    }

    fn named(&self, named: &Path) -> Result<PathBuf> {
        if named.components().count() == 1 && !named.as_os_str().as_encoded_bytes().contains(&b'/') {
            return self.on_path(named.as_os_str()).ok_or_else(|| {
                Error::new(Kind::Interpreter, format!("no interpreter {} on the path", named.display()))
                    .remedy(CHOOSE)
            });
        }
        usable(named.to_owned(), "")
    }

    fn on_path(&self, name: &OsStr) -> Option<PathBuf> {
        let folders = std::env::split_paths(self.path.as_ref()?);
        // An empty entry means the current folder, where nobody expects a Python.
        let mut files = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
        files.find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
    }
}

/// The nearest `.venv/bin/python` in the folders above `plugin`, even if it is a link to nothing.
fn beside(plugin: &Path) -> Option<PathBuf> {
    let folders = plugin.ancestors().skip(1);
    folders.map(|folder| folder.join(".venv/bin/python")).find(|python| python.symlink_metadata().is_ok())
}

/// The path from the root, if it is a file that may be run.
fn usable(python: PathBuf, context: &str) -> Result<PathBuf> {
    let shown = python.display();
    let refuse = |what: String| Error::new(Kind::Interpreter, format!("{context}{what}")).remedy(CHOOSE);
    let metadata = python.metadata().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => refuse(format!("there is no interpreter {shown}")),
        _ => refuse(format!("the interpreter {shown} can't be looked at")).source(e),
    })?;
    if metadata.is_dir() {
        return Err(refuse(format!("the interpreter {shown} is a folder")));
    }
    if access(&python, Access::EXEC_OK).is_err() {
        return Err(refuse(format!("the interpreter {shown} is not executable")));
    }
    std::path::absolute(&python).map_err(|e| refuse(format!("the interpreter {shown}")).source(e))
}

/// The interpreter could not even be started.
pub(crate) fn not_started(python: &Path, why: io::Error) -> Error {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    if Errno::from_io_error(&why).is_some_and(|errno| lacks.contains(&errno)) {
        return Error::new(Kind::System, "can't start a worker").source(why);
    }
    Error::new(Kind::Interpreter, format!("{} can't be run", python.display())).source(why).remedy(CHOOSE)
}

/// Whether the interpreter ended because its own first lines found it unfit.
pub(crate) fn is_verdict(death: &Death) -> bool {
    use Exit::{Boot, FreeThreaded, NoNumpy, NotCPython, TooOld};
    let Death { because: None, ending: Ending::Code(code), .. } = death else { return false };
    matches!(Exit::from_code(*code), Some(TooOld | NotCPython | FreeThreaded | NoNumpy | Boot))
}

/// Why the interpreter ended before it became a worker.
pub(crate) fn refusal(python: &Path, module: &Path, death: &Death) -> Error {
    let shown = python.display();
    // Warnings may stand before it: the verdict is the last line.
    let said = death.stderr.lines().next_back().unwrap_or_default().trim();
    let choose = |what: String| Error::new(Kind::Interpreter, what).remedy(CHOOSE);
    let detailed = |what: String| choose(what).detail(death.stderr.as_str());
    match (&death.because, death.ending) {
        (Some(Because::Late(late)), _) => {
            detailed(format!("{shown} did not become a worker: {late}; is it a Python, does its start hang?"))
        }
        (Some(_), _) => detailed(format!("{shown} did not become a worker: it {death}")),
        (None, Ending::Code(code)) => match Exit::from_code(code) {
            Some(Exit::TooOld) => {
                choose(format!("{shown} is Python {said}, which is too old: 3.10 is needed"))
            }
            Some(Exit::NotCPython) => choose(format!("{shown} is {said}, not CPython")),
            Some(Exit::FreeThreaded) => choose(format!(
                "{shown} is a free-threaded Python {said}, which can't load the worker module"
            )),
            Some(Exit::NoNumpy) => no_numpy(python, &death.stderr),
            Some(Exit::Boot) => {
                let what = format!("{shown} could not load the worker module {}", module.display());
                let remedy =
                    "build host and worker from the same source on this machine, or name another Python";
                Error::new(Kind::Interpreter, what).detail(death.stderr.as_str()).remedy(remedy)
            }
            _ if death.stderr.contains("Unknown option: -I") => {
                choose(format!("{shown} knows no option -I: a Python older than 3.4; 3.10 is needed"))
            }
            _ => detailed(format!("{shown} is no Python that works: it ended with exit code {code} at once")),
        },
        (None, _) => detailed(format!("{shown} is no Python that works: it {death}")),
    }
}

fn no_numpy(python: &Path, stderr: &str) -> Error {
    let remedy = format!("{} -m pip install numpy", quoted(python));
    let shown = python.display();
    if stderr.contains("No module named 'numpy'") {
        return Error::new(Kind::Interpreter, format!("{shown} has no numpy")).remedy(remedy);
    }
    Error::new(Kind::Interpreter, format!("{shown} can't import its numpy")).detail(stderr).remedy(remedy)
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A folder tree with a plugin in `music/gain/`.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(tree.path("music/gain")).unwrap();
            tree
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn file(&self, path: &str, mode: u32) -> PathBuf {
            let file = self.path(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        }

        fn python(&self, path: &str) -> PathBuf {
            self.file(path, 0o755)
        }

        fn find(&self, named: Option<&Path>, virtual_env: &str, path: &str) -> Result<PathBuf> {
            let set = |folder: &str| (!folder.is_empty()).then(|| self.path(folder).into_os_string());
            let surroundings = Surroundings { virtual_env: set(virtual_env), path: set(path) };
            surroundings.find(named, &self.path("music/gain/gain.py"))
        }
    }

    #[test]
    fn the_search_goes_from_the_one_named_over_venvs_to_the_path() {
        let tree = Tree::new();
        let on_path = tree.python("bin/python3");
        assert_eq!(tree.find(None, "", "bin").unwrap(), on_path);
        let active = tree.python("active/bin/python");
        assert_eq!(tree.find(None, "active", "bin").unwrap(), active);
        let above = tree.python(".venv/bin/python");
        assert_eq!(tree.find(None, "active", "bin").unwrap(), above);
        let beside = tree.python("music/gain/.venv/bin/python");
        assert_eq!(tree.find(None, "active", "bin").unwrap(), beside);
        let named = tree.python("named/python");
        assert_eq!(tree.find(Some(&named), "active", "bin").unwrap(), named);
    }

    #[test]
    fn a_bare_name_is_looked_for_on_the_path() {
        let tree = Tree::new();
        let python = tree.python("bin/python3.12");
        assert_eq!(tree.find(Some(Path::new("python3.12")), "", "bin").unwrap(), python);
        let said = tree.find(Some(Path::new("python3.99")), "", "bin").unwrap_err().to_string();
        assert!(said.contains("no interpreter python3.99 on the path"), "{said}");
    }

    #[test]
    fn what_is_named_and_can_not_be_run_is_refused_with_the_reason() {
        let tree = Tree::new();
        tree.file("data", 0o644);
        for (path, words) in
            [("music", "is a folder"), ("data", "is not executable"), ("none", "there is no interpreter")]
        {
            let error = tree.find(Some(&tree.path(path)), "", "").unwrap_err();
            assert_eq!(error.kind(), Kind::Interpreter);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_broken_venv_is_told_and_not_passed_over() {
        let tree = Tree::new();
        tree.python("bin/python3");
        let stale = tree.find(None, "deleted", "bin").unwrap_err().to_string();
        assert!(stale.starts_with("$VIRTUAL_ENV is set, but there is no interpreter"), "{stale}");
        fs::create_dir_all(tree.path("music/.venv/bin")).unwrap();
        symlink("/nowhere/python", tree.path("music/.venv/bin/python")).unwrap();
        let broken = tree.find(None, "", "bin").unwrap_err().to_string();
        assert!(broken.starts_with("the virtual environment beside the plugin is broken"), "{broken}");
    }

    #[test]
    fn without_any_python_the_error_says_where_it_looked() {
        let error = Tree::new().find(None, "", "bin").unwrap_err();
        assert_eq!(error.kind(), Kind::Interpreter);
        assert!(error.to_string().starts_with("no Python: no .venv beside the plugin"), "{error}");
    }

    #[test]
    fn a_path_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted(Path::new("/opt/py-3.12/bin/python")), "/opt/py-3.12/bin/python");
        assert_eq!(quoted(Path::new("/my folder/it's")), r"'/my folder/it'\''s'");
    }
}
