//! The status page of a run: how it is doing, in a piece of shared memory that other programs of its user's may look at
//! without asking, also when the run hangs or is stopped.
//!
//! For `nda run`, which writes one, for `nda top`, which looks at it, and for monitors in any language. Only the run
//! writes it and the run never reads it, so nothing can be said to it here; no plugin knows of it, and no audio goes
//! through it.
//!
//! A page is the segment `/nda-NAME-PID.status` (a file in `/dev/shm`, which may be mapped) of [`SIZE`] bytes: [`MAGIC`];
//! at [`SEQUENCE`] a count that is odd while the page is being written; at [`WRITTEN`] when it was written last, in
//! nanoseconds of `CLOCK_MONOTONIC`; and from [`TEXT`] on the status in JSON, as `nda ctl status --json` has it, up to
//! the first zero byte: none at all if it is too long. Both numbers have 64 bits in the machine's own order. Who reads
//! the same even count before and after has read a whole status.
//!
//! Its run holds an exclusive `flock` on it: whoever gets one has a page whose run is over, and who looks takes no other away.
//! The helper of a run that was killed goes by the name alone.
//! Containers that share this memory may number their processes alike: NAME has `-2` behind it, or `-3` and so on, where
//! another run that lives has the name.
//!
//! It is written with system calls, not through a mapping: where the memory is full, or a program of the same user's has
//! cut the page short, a call fails, while a store would end the run.

use super::place::{Found, named, plain};
use crate::clock::now_ns;
use crate::error::{Error, Kind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::process::getuid;
use shared_memory::{ShmemConf, ShmemError};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a page. Memory is taken for those that are used.
pub const SIZE: usize = 1 << 20;
/// What a page begins with: it changes when the layout does.
pub const MAGIC: [u8; 8] = *b"nda-st-1";
/// Where the count is.
pub const SEQUENCE: u64 = 8;
/// Where the time is.
pub const WRITTEN: u64 = 16;
/// Where the status is.
pub const TEXT: u64 = 24;

/// Where segments are.
const FOLDER: &str = "/dev/shm";
const BEFORE: &str = "nda-";
const BEHIND: &str = ".status";
/// How often a page that is being written is looked at again, and how long after.
const LOOKS: u32 = 200;
const AGAIN: Duration = Duration::from_millis(1);
/// How often a name is tried: whoever is just looking at it, or is taking away what lies there, is done by then.
const TRIES: u32 = 20;
/// Runs of one name and one number.
const ALIKE: u32 = 99;

/// The page of this process. Taken away when it is dropped.
#[derive(Debug)]
pub struct Page {
    file: File,
    path: PathBuf,
    sequence: u64,
}

impl Page {
    /// Makes the page of a run of this configuration. Those that killed runs have left are taken away.
    ///
    /// # Errors
    /// Of kind `System`: there is no shared memory.
    pub fn open(config: &Path) -> Result<Self> {
        let _ = find();
        let name = plain(&config.file_stem().unwrap_or_default().to_string_lossy());
        let made = made(&name).and_then(|(file, path)| {
            let mut page = Self { file, path, sequence: 0 };
            page.write(b"")?;
            page.file.write_all_at(&MAGIC, 0)?;
            Ok(page)
        });
        let what = || format!("a status page {FOLDER}/{} can't be made", id(&name, 1));
        made.map_err(|why| Error::new(Kind::System, what()).source(why))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts this status, in JSON, in the place of the one before. Not on the audio thread.
    ///
    /// # Errors
    /// Of the operating system: no memory. The page is half written then.
    pub fn write(&mut self, status: &[u8]) -> io::Result<()> {
        let room = SIZE as u64 - TEXT;
        let text = Some(status).filter(|text| (text.len() as u64) < room).unwrap_or_default();
        self.count()?;
        self.file.write_all_at(&now_ns().to_ne_bytes(), WRITTEN)?;
        self.file.write_all_at(text, TEXT)?;
        self.file.write_all_at(&[0], TEXT + text.len() as u64)?;
        self.count()
    }

    /// The kernel locks the file for each call, which keeps them in order for whoever has it mapped.
    fn count(&mut self) -> io::Result<()> {
        self.sequence += 1;
        self.file.write_all_at(&self.sequence.to_ne_bytes(), SEQUENCE)
    }
}

/// The name of the page of this process, which may be one of several that are called alike.
fn id(name: &str, number: u32) -> String {
    let number = if number == 1 { String::new() } else { format!("-{number}") };
    format!("{BEFORE}{name}{number}-{}{BEHIND}", std::process::id())
}

/// Makes a page under the first name that no other run has.
fn made(name: &str) -> io::Result<(File, PathBuf)> {
    for number in 1..=ALIKE {
        let id = id(name, number);
        let path = Path::new(FOLDER).join(&id);
        if let Some(file) = claimed(&id, &path)? {
            return Ok((file, path));
        }
    }
    Err(io::Error::other(format!("{ALIKE} others have that name")))
}

/// Makes the page of this name; `None` if it is another's.
fn claimed(id: &str, path: &Path) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        clear_if_dead(path);
        let page = created(id, path)?;
        if page.is_some() {
            return Ok(page);
        }
        std::thread::sleep(AGAIN);
    }
    Ok(None)
}

/// Makes the segment and locks it; nothing looks through a mapping here. `None`: something is there, or what was made has
/// been taken for a dead run's by whoever looks for runs, and away, before it was locked.
fn created(id: &str, path: &Path) -> io::Result<Option<File>> {
    match ShmemConf::new().os_id(format!("/{id}")).size(SIZE).create() {
        // It is the page's to take away.
        Ok(mut segment) => segment.set_owner(false),
        Err(ShmemError::MappingIdExists) => return Ok(None),
        Err(why) => return Err(io::Error::other(why)),
    };
    let Ok(page) = OpenOptions::new().write(true).open(path) else { return Ok(None) };
    let is_locked = flock(&page, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok((is_locked && lies_at(&page, path)).then_some(page))
}

/// Whether it is this page that has the name.
fn lies_at(page: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let named = fs::symlink_metadata(path).map(identity);
    named.is_ok_and(|named| page.metadata().map(identity).is_ok_and(|own| own == named))
}

/// Whether the run of a page is over: nobody holds it any more.
fn is_over(page: &File) -> bool {
    flock(page, FlockOperation::NonBlockingLockShared).is_ok()
}

impl Drop for Page {
    fn drop(&mut self) {
        // It is locked: only by hand can another one have been put in its place.
        if lies_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What stands in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The status, in JSON; nothing if it is too long for a page, or the run has not played yet.
    pub status: String,
    /// How long ago it was written.
    pub age: Duration,
}

/// The runs of this user that have a page. What killed runs have left is taken away.
#[must_use]
pub fn find() -> Vec<Found> {
    let mut found = named(Path::new(FOLDER), BEFORE, BEHIND);
    found.retain(|run| is_own(&run.path) && !clear_if_dead(&run.path));
    found
}

fn is_own(page: &Path) -> bool {
    fs::symlink_metadata(page).is_ok_and(|found| found.is_file() && found.uid() == getuid().as_raw())
}

/// Takes a page away whose run is over, and whether it was. Who does it holds the lock: what has the name is this page until
/// the name is gone, and no other that somebody has put there meanwhile.
fn clear_if_dead(path: &Path) -> bool {
    is_own(path)
        && File::open(path).is_ok_and(|page| {
            flock(&page, FlockOperation::NonBlockingLockExclusive).is_ok()
                && lies_at(&page, path)
                && fs::remove_file(path).is_ok()
        })
}

/// Looks at a page; `None` if the run has ended.
///
/// # Errors
/// Of kind `Control`: it is no page, or never whole, or may not be looked at.
pub fn look(page: &Path) -> Result<Option<Look>> {
    let refused = |why: &str| Error::new(Kind::Control, format!("{} {why}", page.display()));
    let file = match File::open(page) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("can't be looked at").source(error)),
    };
    if is_over(&file) {
        return Ok(None);
    }
    if word(&file, 0).map(u64::to_ne_bytes).ok() != Some(MAGIC) {
        return Err(refused("is no status page, or one of another version"));
    }
    for _ in 0..LOOKS {
        match look_once(&file).map_err(|e| refused("can't be read").source(e))? {
            Some(look) => return Ok(Some(look)),
            None => std::thread::sleep(AGAIN),
        }
    }
    Err(refused("is half written: the run stopped just then").remedy("look again"))
}

/// What stands there, if it did so all the time.
fn look_once(file: &File) -> io::Result<Option<Look>> {
    let sequence = word(file, SEQUENCE)?;
    let written_ns = word(file, WRITTEN)?;
    let mut text = vec![0; SIZE - usize::try_from(TEXT).unwrap_or_default()];
    let read = file.read_at(&mut text, TEXT)?;
    text.truncate(text[..read].iter().position(|byte| *byte == 0).unwrap_or(read));
    if !sequence.is_multiple_of(2) || word(file, SEQUENCE)? != sequence {
        return Ok(None);
    }
    let age = Duration::from_nanos(now_ns().saturating_sub(written_ns));
    Ok(Some(Look { status: String::from_utf8_lossy(&text).into_owned(), age }))
}

fn word(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until::until;

    fn page(name: &str) -> Page {
        Page::open(Path::new(name)).unwrap()
    }

    fn text(page: &Page) -> String {
        look(page.path()).unwrap().unwrap().status
    }

    #[test]
    fn what_was_written_last_is_seen_and_when() {
        let mut page = page("seen.toml");
        assert_eq!(text(&page), "");
        page.write(br#"{"a": "long one"}"#).unwrap();
        page.write(b"{}").unwrap();
        assert_eq!(text(&page), "{}");
        page.file.write_all_at(&1_u64.to_ne_bytes(), WRITTEN).unwrap();
        let age = look(page.path()).unwrap().unwrap().age;
        assert!(age.as_nanos() < u128::from(now_ns()) && age > Duration::from_millis(1), "{age:?}");
    }

    #[test]
    fn a_page_is_found_by_its_run_only_its_user_may_open_it_and_it_goes_with_it() {
        use std::os::unix::fs::PermissionsExt;
        let page = page("found.toml");
        let path = page.path().to_owned();
        let is_it = |run: &Found| run.name == "found" && run.pid == std::process::id() && run.path == path;
        assert!(find().iter().any(is_it));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(page);
        assert!(!find().iter().any(is_it) && look(&path).unwrap().is_none());
    }

    #[test]
    fn the_page_of_a_killed_run_is_taken_away() {
        // Under the number of a process that lives: it is another one's now.
        let path = Path::new(FOLDER).join(format!("nda-killed-{}.status", std::process::id()));
        fs::write(&path, "").unwrap();
        assert!(look(&path).unwrap().is_none());
        // Another test may be taking it away just now.
        until("it is taken away", || find().iter().all(|run| run.path != path) && !path.exists());
    }

    /// As where containers share the memory and each has a process of this number.
    #[test]
    fn a_living_run_of_the_same_name_and_number_keeps_its_page_and_the_other_gets_one_of_its_own() {
        let mut all = [page("alike.toml"), page("alike.toml"), page("alike.toml")];
        for (page, text) in all.iter_mut().zip(["one", "two", "three"]) {
            page.write(text.as_bytes()).unwrap();
        }
        assert_eq!([text(&all[0]), text(&all[1]), text(&all[2])], ["one", "two", "three"]);
        let names = || {
            let is_alike = |run: &Found| run.pid == std::process::id() && run.name.starts_with("alike");
            let alike = find().into_iter().filter(is_alike);
            alike.map(|run| run.name).collect::<Vec<_>>()
        };
        assert_eq!(names(), ["alike", "alike-2", "alike-3"]);
        let [first, second, third] = all;
        drop(second);
        assert_eq!(names(), ["alike", "alike-3"], "it takes its own away and no other");
        let again = page("alike.toml");
        assert_eq!(names(), ["alike", "alike-2", "alike-3"]);
        drop((first, third, again));
        assert_eq!(names(), [""; 0]);
    }

    #[test]
    fn what_a_killed_run_of_the_same_name_and_number_has_left_is_replaced() {
        let path = Path::new(FOLDER).join(id("left", 1));
        fs::write(&path, "its last words").unwrap();
        let page = page("left.toml");
        assert_eq!((page.path(), text(&page)), (path.as_path(), String::new()));
    }

    #[test]
    fn a_page_that_somebody_has_put_in_the_place_of_another_stays() {
        let (first, folder) = (page("replaced.toml"), Path::new(FOLDER));
        fs::remove_file(first.path()).unwrap();
        let second = page("replaced.toml");
        assert_eq!(second.path(), folder.join(id("replaced", 1)));
        drop(first);
        assert!(second.path().exists());
    }

    #[test]
    fn a_page_that_is_half_written_is_told_and_one_that_is_none() {
        let mut page = page("half.toml");
        page.count().unwrap();
        assert!(look(page.path()).unwrap_err().to_string().contains("is half written"));
        page.file.write_all_at(b"what-els", 0).unwrap();
        assert!(look(page.path()).unwrap_err().to_string().contains("is no status page"));
    }

    #[test]
    fn a_status_that_is_too_long_leaves_the_page_empty_and_one_that_just_fits_is_whole() {
        let mut page = page("long.toml");
        let room = SIZE - usize::try_from(TEXT).unwrap();
        page.write(&vec![b'x'; room - 1]).unwrap();
        assert_eq!(text(&page).len(), room - 1);
        page.write(&vec![b'x'; room]).unwrap();
        assert_eq!(text(&page), "");
    }

    #[test]
    fn a_page_that_was_cut_short_is_written_again_without_harm() {
        let mut page = page("cut.toml");
        OpenOptions::new().write(true).open(page.path()).unwrap().set_len(0).unwrap();
        page.write(b"{}").unwrap();
        assert!(look(page.path()).is_err(), "its beginning is gone");
    }
}
