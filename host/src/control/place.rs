//! Where the sockets of runs are: a folder of the user's own, one socket a run, named after its configuration and
//! process.
//!
//! For whoever opens one or looks for one; status pages have their names from here too. A socket whose run was killed is
//! recognised by its refusing to be spoken to, and taken away. Nothing is said over a socket here.

use crate::error::{Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, statat};
use rustix::process::getuid;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".sock";
/// Characters of a configuration's name that are in its socket's: a path of a socket is short.
const NAME_MAX: usize = 32;
/// Bytes of the longest path that a socket can have on Linux, and one less: while it is made its name is longer.
const PATH_MAX: usize = 106;

/// Where a run's socket is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the user's folder, under this name and the process's number.
    Named(String),
    /// Exactly there.
    At(PathBuf),
}

impl Place {
    /// The usual place for a run of this configuration.
    #[must_use]
    pub fn of(config: &Path) -> Self {
        Self::Named(config.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// The socket's path. The user's folder is made if it is not there, and cleared of what killed runs have left.
    ///
    /// # Errors
    /// Of kind `System`: there is no folder for it, or the path is too long for a socket.
    pub(super) fn settle(&self) -> Result<PathBuf> {
        let path = match self {
            Self::At(path) => path.clone(),
            Self::Named(name) => {
                let folder = own_folder();
                made(&folder)?;
                // What others have left is nobody's concern but for tidiness.
                let _ = runs_in(&folder);
                folder.join(format!("{}-{}{SUFFIX}", plain(name), std::process::id()))
            }
        };
        if path.as_os_str().len() > PATH_MAX {
            let what = format!("{} is too long for a socket, by the system's rules", path.display());
            return Err(Error::new(Kind::System, what)
                .remedy(format!("name another with --socket, of {PATH_MAX} bytes at most")));
        }
        Ok(path)
    }
}

/// Letters, digits and a few signs, and not many.
pub(super) fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = name.trim_start_matches('.').chars().take(NAME_MAX);
    let plain: String = plain.map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain.is_empty() { "nda".to_owned() } else { plain }
}

/// A run that can be spoken to, or looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of its configuration, without `.toml`.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its socket, or its status page.
    pub path: PathBuf,
}

/// The runs of this user whose sockets are in the usual place.
#[must_use]
pub fn find() -> Vec<Found> {
    let folder = own_folder();
    if check(&folder).is_ok() { runs_in(&folder) } else { Vec::new() }
}

/// The runs whose sockets are in a folder of the user's. Those that were killed are forgotten.
fn runs_in(folder: &Path) -> Vec<Found> {
    let mut found = named(folder, "", SUFFIX);
    found.retain(|run| !run.name.starts_with('.') && !clear_if_dead(&run.path));
    found
}

/// The files in a folder that are named after a run: this, its configuration's name, its process, that. In order.
pub(super) fn named(folder: &Path, before: &str, behind: &str) -> Vec<Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let runs = entries.filter_map(|entry| {
        let file = entry.file_name();
        let (name, pid) = file.to_str()?.strip_prefix(before)?.strip_suffix(behind)?.rsplit_once('-')?;
        Some(Found { name: name.to_owned(), pid: pid.parse().ok()?, path: entry.path() })
    });
    let mut runs: Vec<_> = runs.collect();
    runs.sort_by(|a, b| (&a.name, a.pid).cmp(&(&b.name, b.pid)));
    runs
}

/// Whether nobody listens at this socket; it is taken away then.
pub(super) fn clear_if_dead(socket: &Path) -> bool {
    let is_socket = fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket());
    // A run puts its socket here when it listens already.
    let refused = || UnixStream::connect(socket).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    is_socket && refused() && fs::remove_file(socket).is_ok()
}

/// The folder in which a user's sockets are.
fn own_folder() -> PathBuf {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Where it is not set, as in a job of cron's or as another user, it is there all the same.
    let runtime = named.filter(|folder| folder.is_dir()).unwrap_or_else(usual);
    if runtime.is_dir() {
        return runtime.join("nda");
    }
    std::env::temp_dir().join(format!("nda-{}", getuid().as_raw()))
}

/// Where a user's folder for sockets and the like is with systemd.
fn usual() -> PathBuf {
    PathBuf::from(format!("/run/user/{}", getuid().as_raw()))
}

/// Makes the folder, if it is not there.
fn made(folder: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            let what = format!("the folder {} for a socket can't be made", folder.display());
            Err(Error::new(Kind::System, what).source(error))
        }
        _ => check(folder),
    }
}

/// A folder in which somebody else can put things, or that is somebody else's, is no place to meet.
fn check(folder: &Path) -> Result<()> {
    let refused = |why: &str| {
        let what = format!("the folder {} is no place for a socket: {why}", folder.display());
        Err(Error::new(Kind::System, what).remedy("remove it, or name a socket with --socket"))
    };
    let Ok(found) = statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW) else { return refused("it is not there") };
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return refused("it is none");
    }
    if found.st_uid != getuid().as_raw() {
        return refused("it belongs to somebody else");
    }
    if Mode::from_raw_mode(found.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return refused("others may open it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_name_becomes_one_that_any_shell_takes() {
        let names = ["live", ".hidden", "../../etc", "", "zwei Wörter", &"x".repeat(200)];
        let plain: Vec<_> = names.map(plain).into();
        assert_eq!(plain[..5], ["live", "hidden", "_.._etc", "nda", "zwei_W_rter"].map(String::from));
        assert_eq!(plain[5].len(), NAME_MAX);
    }

    #[test]
    fn a_folder_that_others_can_reach_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (open, link, file) =
            (folder.path().join("open"), folder.path().join("link"), folder.path().join("file"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(folder.path(), &link).unwrap();
        fs::write(&file, "").unwrap();
        for (path, why) in [(&open, "others may open it"), (&link, "it is none"), (&file, "it is none")] {
            let error = made(path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(made(&open).is_ok() && made(&folder.path().join("new")).is_ok());
        let mode = folder.path().join("new").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn the_socket_of_a_killed_run_is_forgotten_and_what_else_lies_there_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _alive = UnixListener::bind(path("a-b-12.sock")).unwrap();
        drop(UnixListener::bind(path("dead-13.sock")).unwrap());
        drop(UnixListener::bind(path(".part-14.sock")).unwrap());
        fs::write(path("file-15.sock"), "mine").unwrap();
        let found = runs_in(folder.path());
        let alive = Found { name: "a-b".into(), pid: 12, path: path("a-b-12.sock") };
        assert!(
            found.contains(&alive) && !found.iter().any(|run| run.pid == 13 || run.pid == 14),
            "{found:?}"
        );
        assert!(!path("dead-13.sock").exists() && path("file-15.sock").exists());
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_told_before_the_system_does() {
        let error = Place::At(PathBuf::from("x".repeat(107))).settle().unwrap_err();
        assert!(error.to_string().contains("too long for a socket"), "{error}");
    }
}
