//! The reports that are there: listed, found, and no more of them than should be.
//!
//! For `nda replay` and for the writer. It reads what other versions and other hosts have written; a folder that
//! does not say that it is a crash report is not touched.

use super::folder::{FORMAT, UNFINISHED, unfinished_name};
use super::{FileMark, Timestamp};
use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Reports that are kept.
pub const KEPT_MAX: usize = 20;
/// Longest `report.json` that is read.
const JSON_MAX: u64 = 16 << 20;

/// A report on disk, as far as is needed to choose and to replay it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its folder.
    #[serde(skip_deserializing)]
    pub path: PathBuf,
    /// Counted up within the folder of reports.
    pub number: u64,
    /// The plugin's name in the configuration.
    pub plugin: String,
    /// The plugin's file.
    pub file: PathBuf,
    /// The file as it was.
    pub loaded: Option<FileMark>,
    /// The interpreter.
    pub python: PathBuf,
    /// When it died.
    pub when: Timestamp,
    /// How it ended, in words without a subject.
    pub ended: String,
    /// What was done about it, in words.
    pub done: String,
    /// Which process of the plugin it was.
    pub incarnation: u32,
}

impl Kept {
    /// Whether the plugin's file is another than the one that died; false if nobody can say.
    #[must_use]
    pub fn is_file_changed(&self) -> bool {
        let now = FileMark::of(&self.file).ok();
        now.zip(self.loaded.as_ref()).is_some_and(|(now, then)| now != *then)
    }
}

/// What makes a JSON file a crash report.
#[derive(Deserialize)]
struct Marker {
    nda_crash_report: u32,
}

/// The reports in a folder, oldest first; none if there is no such folder.
#[must_use]
pub fn list(dir: &Path) -> Vec<Kept> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // The type of the entry itself: a link leads to what is not ours.
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let whole = folders.filter(|entry| !entry.file_name().to_string_lossy().starts_with(UNFINISHED));
    let mut found: Vec<Kept> = whole.filter_map(|entry| read(&entry.path()).ok()).collect();
    found.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    found
}

/// The report that a user names: its folder, its `report.json`, or the name of one in `dir`.
///
/// # Errors
/// Of kind [`Kind::Input`]: there is none, or it is something else.
pub fn open(named: &Path, dir: &Path) -> Result<Kept> {
    let remedy = "nda replay, without more words, lists the reports";
    let is_name = named.components().count() == 1 && !named.exists();
    let path = if is_name { dir.join(named) } else { named.to_owned() };
    let folder = match path.parent() {
        Some(folder) if path.file_name().is_some_and(|name| name == "report.json") => folder.to_owned(),
        _ => path,
    };
    if !folder.exists() {
        return Err(Error::new(Kind::Input, format!("there is no report {}", named.display())).remedy(remedy));
    }
    let whole = folder.canonicalize().unwrap_or(folder);
    read(&whole).map_err(|why| {
        Error::new(Kind::Input, format!("{} is no crash report: {why}", named.display())).remedy(remedy)
    })
}

/// Reads what is needed of a report; why it is none.
fn read(folder: &Path) -> std::result::Result<Kept, String> {
    let file = folder.join("report.json");
    match file.metadata() {
        Ok(found) if found.is_file() && found.len() <= JSON_MAX => {}
        Ok(_) => return Err("its report.json is not one of nda's".into()),
        Err(_) => return Err("it has no report.json".into()),
    }
    let text = std::fs::read(&file).map_err(|error| format!("its report.json can't be read: {error}"))?;
    let marker: Marker =
        serde_json::from_slice(&text).map_err(|_| "its report.json is not one of nda's".to_owned())?;
    if marker.nda_crash_report != FORMAT {
        return Err(format!("it has form {}, this nda reads form {FORMAT}", marker.nda_crash_report));
    }
    let kept: Kept = serde_json::from_slice(&text)
        .map_err(|error| format!("its report.json is damaged or of another version: {error}"))?;
    Ok(Kept { path: folder.to_owned(), ..kept })
}

/// Removes the oldest reports beyond [`KEPT_MAX`], but never the one just written. What can't be removed stays for
/// the next time: a report that was written is worth more than one too many.
pub(super) fn prune(dir: &Path, written: &Path) {
    let all = list(dir);
    let surplus = all.len().saturating_sub(KEPT_MAX);
    for report in all.iter().filter(|report| report.path != written).take(surplus) {
        // Renamed first, so that no half report is ever seen; another host may have been faster.
        let gone = unfinished_name(dir);
        if std::fs::rename(&report.path, &gone).is_ok() {
            let _ = std::fs::remove_dir_all(&gone);
        }
    }
}
