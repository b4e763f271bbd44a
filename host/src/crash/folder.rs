//! Writing a report: a folder that is there whole or not at all, readable by its owner alone.
//!
//! The folder is filled under a temporary name and renamed at the end, so that a full disk or a killed host leaves
//! no half report. Hosts that write at once don't meet, wherever they run: a number of a process is another's in another
//! container or on another machine, so that the temporary name has a number drawn by lot as well. What a killed host left
//! unfinished its warden clears away, or else the next one, if nobody holds the lock on it.

use super::{CrashReport, FileMark, LastBlock, kept, text};
use crate::audio_file::{Bits, WavWriter};
use crate::error::{Error, Kind, Result, plain};
use crate::report::shown;
use rustix::fs::{self, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::Serialize;
use shared::format::Format;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// The form of `report.json`. It changes when a field changes its meaning or goes, not when one is added.
pub(super) const FORMAT: u32 = 1;
/// How the name of a folder starts that is not whole, or not any more.
pub(super) const UNFINISHED: &str = ".unfinished-";
/// A folder that has been unfinished for so long belongs to a host that is gone, unless that holds its lock.
const ABANDONED: Duration = Duration::from_secs(3600);
/// How long somebody waits for a report to be written.
pub(crate) const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// Names that are tried, before it is taken that something else is wrong.
const NAMES_MAX: u32 = 1000;
/// Longest part of a plugin's name in the name of a folder.
const NAME_MAX: usize = 60;

/// `report.json`.
#[derive(Serialize)]
struct Document<'a> {
    nda_crash_report: u32,
    nda: &'static str,
    number: u64,
    loaded: Option<FileMark>,
    #[serde(flatten)]
    report: &'a CrashReport,
}

/// Writes a report into a folder of its own below `dir`, which is made if it is not there, and says which.
///
/// Afterwards the oldest reports beyond [`kept::KEPT_MAX`] are removed. Waits for the disk.
///
/// # Errors
/// Of kind [`Kind::Output`]: the disk is full, `dir` can't be written, or belongs to another user. No part of the
/// report is left behind.
pub fn write(dir: &Path, report: &CrashReport) -> Result<PathBuf> {
    let refusal = |error: io::Error| {
        let what = format!("the crash report of {} can't be written to {}", report.plugin, dir.display());
        Error::new(Kind::Output, what).source(error).remedy("free space there, or set $NDA_REPORTS")
    };
    prepare(dir).map_err(refusal)?;
    clear_abandoned(dir);
    // Counted, because a clock may go backwards: the newest must not be taken for the oldest.
    let number = kept::list(dir).last().map_or(1, |last| last.number + 1);
    let name = format!("{}-{}", report.when.strftime("%Y-%m-%dT%H%M%S.%3fZ"), sanitised(&report.plugin));
    let written = publish(dir, &name, |folder| fill(folder, report, number)).map_err(refusal)?;
    kept::prune(dir, &written);
    Ok(written)
}

/// The same on a thread of its own, for whoever can't wait for a disk that may never answer: what came of it, in
/// words to be put behind a sentence.
pub(crate) fn write_in_time(dir: &Path, report: CrashReport) -> String {
    let (done, written) = sync_channel(1);
    let to = dir.to_owned();
    let work = move || {
        let _ = done.send(write(&to, &report));
    };
    if let Err(why) = std::thread::Builder::new().name("nda-report".into()).spawn(work) {
        return format!("; no report: there is no thread to write it ({why})");
    }
    match written.recv_timeout(WRITTEN_WITHIN) {
        Ok(Ok(path)) => format!("; report: {}", shown(&path)),
        Ok(Err(why)) => format!("; no report: {why}"),
        // Not as `shown`, which asks the disk.
        Err(_) => format!("; its report is still being written to {}", dir.display()),
    }
}

/// Makes the folder of reports, or makes sure that nobody else can have put something there.
fn prepare(dir: &Path) -> io::Result<()> {
    private_folders().recursive(true).create(dir)?;
    let (owner, us) = (dir.metadata()?.uid(), rustix::process::geteuid().as_raw());
    if owner != us && owner != 0 {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "the folder belongs to another user"));
    }
    Ok(())
}

fn private_folders() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Has a folder filled under a temporary name, then gives it its own, or if that is taken, one like it.
pub(super) fn publish(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let unfinished = unfinished(dir)?;
    // Without locks on that file system its age has to do.
    let _held = hold(&unfinished);
    let published = fill(&unfinished).and_then(|()| rename_to_free(&unfinished, dir, name));
    if published.is_err() {
        // The error that counts is the first; what stays is cleared away later.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    published
}

/// A new folder that nobody else has.
fn unfinished(dir: &Path) -> io::Result<PathBuf> {
    loop {
        let path = unfinished_name(dir);
        match private_folders().create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
}

/// Locks a folder until this is dropped; `None` if another one has.
fn hold(folder: &Path) -> io::Result<Option<File>> {
    // Nothing but a folder is opened: whatever else has its name might be waited for.
    let only = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(fs::open(folder, only, Mode::empty())?);
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// A name for what is not whole; each call gives another one.
pub(super) fn unfinished_name(dir: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = unfinished_of_this_process(dir).into_os_string();
    name.push(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    name.into()
}

/// What the names begin with of all that this process has not finished in a folder of reports, and of nobody else's.
#[must_use]
pub fn unfinished_of_this_process(dir: &Path) -> PathBuf {
    static LOT: OnceLock<u64> = OnceLock::new();
    // Its keys are the system's random numbers.
    let lot = LOT.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    dir.join(format!("{UNFINISHED}{}-{lot:016x}-", std::process::id()))
}

fn rename_to_free(from: &Path, dir: &Path, name: &str) -> io::Result<PathBuf> {
    let mut refused = io::Error::from(ErrorKind::AlreadyExists);
    for n in 1..=NAMES_MAX {
        let to = if n == 1 { dir.join(name) } else { dir.join(format!("{name}-{n}")) };
        // A folder never replaces one that holds something, and a report does.
        match std::fs::rename(from, &to) {
            Ok(()) => return Ok(to),
            Err(error) if is_taken(error.kind()) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn is_taken(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory)
}

/// Removes what hosts that are gone have left unfinished.
fn clear_abandoned(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let age = entry.metadata().and_then(|found| found.modified()).map(|made| made.elapsed());
        let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED));
        if is_unfinished && is_old && !matches!(hold(&entry.path()), Ok(None)) {
            // Whoever can't remove it will not be able to write a report either.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn fill(folder: &Path, report: &CrashReport, number: u64) -> io::Result<()> {
    let loaded = report.loaded.clone().or_else(|| FileMark::of(&report.file).ok());
    let nda = env!("CARGO_PKG_VERSION");
    let document = Document { nda_crash_report: FORMAT, nda, number, loaded, report };
    put_json(&folder.join("report.json"), &document)?;
    let given = report.parameters.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    put_json(&folder.join("parameters.json"), &given.collect::<Vec<_>>())?;
    put(&folder.join("report.txt"), text::report(report).as_bytes())?;
    put(&folder.join("log.txt"), text::log(&report.log).as_bytes())?;
    put(&folder.join("traceback.txt"), plain(&report.traceback).as_bytes())?;
    if let Some(state) = &report.state {
        put(&folder.join("state.bin"), state)?;
    }
    put_wav(&folder.join("in.wav"), report.format, &report.last_blocks, |block| block.input.as_deref())?;
    put_wav(&folder.join("out.wav"), report.format, &report.last_blocks, |block| block.output.as_deref())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

fn put_json(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    put(path, &text)
}

/// The blocks one after the other, silence for one that is missing; no file if all are.
fn put_wav(
    path: &Path,
    format: Format,
    blocks: &[LastBlock],
    samples: impl Fn(&LastBlock) -> Option<&[f32]>,
) -> io::Result<()> {
    if blocks.iter().all(|block| samples(block).is_none()) {
        return Ok(());
    }
    // Made here, so that the writer finds it with its mode.
    drop(create(path)?);
    let channels = u32::try_from(format.channels()).map_err(io::Error::other)?;
    let mut file = WavWriter::create(path, channels, format.rate(), Bits::F32).map_err(io::Error::other)?;
    for block in blocks {
        file.write(&interleaved(samples(block).unwrap_or_default(), format)).map_err(io::Error::other)?;
    }
    file.finalize().map(drop).map_err(io::Error::other)
}

/// Frame after frame, with silence for what is missing.
fn interleaved(planar: &[f32], format: Format) -> Vec<f32> {
    let frames = format.block_frames();
    let at = |channel: usize, frame| planar.get(channel * frames + frame).copied().unwrap_or(0.0);
    (0..frames).flat_map(|frame| (0..format.channels()).map(move |channel| at(channel, frame))).collect()
}

/// A plugin's name as a part of a folder's.
fn sanitised(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(fits).take(NAME_MAX).collect();
    if name.is_empty() { "plugin".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_fit_for_a_folder_whatever_it_was() {
        assert_eq!(sanitised("tx/echo 2"), "tx-echo-2");
        assert_eq!(sanitised("../../etc\0\n\u{1b}é"), "..-..-etc----");
        assert_eq!(sanitised(""), "plugin");
        assert_eq!(sanitised(&"x".repeat(500)).len(), NAME_MAX);
    }

    #[test]
    fn what_could_not_be_filled_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let full = publish(dir.path(), "a", |folder| {
            put(&folder.join("half"), b"...")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_is_taken_by_anything_gets_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let make = || publish(dir.path(), "a", |folder| put(&folder.join("file"), b"")).unwrap();
        assert_eq!(make(), dir.path().join("a"));
        std::fs::write(dir.path().join("a-2"), "").unwrap();
        assert_eq!(make(), dir.path().join("a-3"));
    }

    #[test]
    fn what_is_unfinished_bears_the_name_by_which_a_warden_knows_it() {
        let dir = Path::new("/reports");
        let (name, beginning) = (unfinished_name(dir), unfinished_of_this_process(dir).into_os_string());
        let of_our_number = format!("/reports/.unfinished-{}-", std::process::id());
        assert!(beginning.to_string_lossy().strip_prefix(&of_our_number).is_some_and(|lot| lot.len() == 17));
        assert_eq!(beginning, *unfinished_of_this_process(dir), "the same each time");
        assert!(name.to_string_lossy().starts_with(&*beginning.to_string_lossy()) && name != *beginning);
    }

    #[test]
    fn what_is_unfinished_is_cleared_away_once_its_host_must_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join(".unfinished-1-0"), dir.path().join(".unfinished-2-0"));
        for folder in [&old, &new] {
            std::fs::create_dir(folder).unwrap();
        }
        let past = std::time::SystemTime::now() - 2 * ABANDONED;
        File::open(&old).unwrap().set_modified(past).unwrap();
        clear_abandoned(dir.path());
        assert!(!old.exists() && new.exists());
    }

    #[test]
    fn what_somebody_still_writes_is_not_cleared_away_however_long_that_takes() {
        let dir = tempfile::tempdir().unwrap();
        let past = std::time::SystemTime::now() - 2 * ABANDONED;
        let written = publish(dir.path(), "slow", |folder| {
            put(&folder.join("file"), b"")?;
            File::open(folder)?.set_modified(past)?;
            clear_abandoned(dir.path());
            put(&folder.join("another"), b"")
        });
        assert_eq!(std::fs::read_dir(written.unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn samples_channel_after_channel_become_frames() {
        let format = Format::new(2, 16, 48_000).unwrap();
        let planar: Vec<f32> = (0..32u8).map(f32::from).collect();
        assert_eq!(interleaved(&planar, format)[..4], [0.0, 16.0, 1.0, 17.0]);
        assert_eq!(interleaved(&[], format), [0.0; 32]);
    }
}
