//! The files that a run has written: a pipeline that is started again does not write over them.
//!
//! For the thread that runs. What lay there before the run is replaced, as `nda run` has always done. It opens nothing.

use crate::config::{FileSinkSpec, PipelineSpec, SinkSpec};
use crate::identity::Identity;
use crate::report::shown;
use std::path::{Path, PathBuf};

/// Files that pipelines of this run have written, or are writing.
#[derive(Debug, Default)]
pub(super) struct Recordings(Vec<Identity>);

impl Recordings {
    /// A pipeline like this has been opened.
    pub(super) fn add(&mut self, spec: &PipelineSpec) {
        for written in files(&mut spec.clone()).map(|file| Identity::of(&file.file)) {
            if !self.0.contains(&written) {
                self.0.push(written);
            }
        }
    }

    /// The pipeline with other names for files that are there already, and a line for each of them.
    pub(super) fn spare(&self, spec: &PipelineSpec) -> (PipelineSpec, Vec<String>) {
        let mut spec = spec.clone();
        let mut lines = Vec::new();
        for file in files(&mut spec).filter(|file| self.is_kept(&file.file)) {
            let free = next_free(&file.file);
            let (kept, name) = (shown(&file.file), shown(&free));
            lines.push(format!("{kept} is kept as this run has written it: what comes now goes to {name}"));
            file.file = free;
        }
        (spec, lines)
    }

    fn is_kept(&self, path: &Path) -> bool {
        let wanted = Identity::of(path);
        path.exists() && self.0.iter().any(|written| written.is(&wanted))
    }
}

/// The files that a pipeline writes.
fn files(spec: &mut PipelineSpec) -> impl Iterator<Item = &mut FileSinkSpec> {
    let sink = match &mut spec.sink {
        SinkSpec::File(file) => Some(file),
        _ => None,
    };
    sink.into_iter().chain(&mut spec.record)
}

/// `a-2.wav` for `a.wav`, or the first one after it that is not there.
fn next_free(path: &Path) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_owned();
    let (stem, extension) = (part(path.file_stem()), path.extension());
    let numbered = |number: u64| {
        let mut name = stem.clone();
        name.push(format!("-{number}"));
        if let Some(extension) = extension {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    };
    // A link that leads nowhere is not free: what is written would come to lie elsewhere.
    (2..).map(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourceSpec;

    #[test]
    fn what_this_run_has_written_is_kept_and_what_was_there_before_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let spec = PipelineSpec::new(SourceSpec::plugin("sine.py"), SinkSpec::file(file("a.b.wav")));
        let spec = PipelineSpec { record: Some(FileSinkSpec::new(file("copy"))), ..spec };
        let names = |spec: &PipelineSpec| -> Vec<_> {
            files(&mut spec.clone()).map(|file| file.file.file_name().unwrap().to_owned()).collect()
        };
        for name in ["a.b.wav", "a.b-2.wav", "copy"] {
            std::fs::write(file(name), "").unwrap();
        }
        let mut recordings = Recordings::default();
        assert_eq!(recordings.spare(&spec), (spec.clone(), vec![]));
        recordings.add(&spec);
        let (spared, lines) = recordings.spare(&spec);
        assert_eq!(names(&spared), ["a.b-3.wav", "copy-2"]);
        assert!(lines[0].contains("a.b.wav is kept") && lines[0].ends_with("a.b-3.wav"), "{lines:?}");
        // Somebody has taken it away meanwhile, and the other is named in another way.
        std::fs::remove_file(file("a.b.wav")).unwrap();
        let elsewhere = file("../").join(folder.path().file_name().unwrap()).join("copy");
        let spec = PipelineSpec { record: Some(FileSinkSpec::new(elsewhere)), ..spec };
        assert_eq!(names(&recordings.spare(&spec).0), ["a.b.wav", "copy-2"]);
        // It has got the name that another pipeline has for its file.
        std::fs::rename(file("copy"), file("other.wav")).unwrap();
        let other = PipelineSpec { sink: SinkSpec::file(file("other.wav")), ..spec };
        assert_eq!(names(&recordings.spare(&other).0), ["other-2.wav", "copy"]);
    }
}
