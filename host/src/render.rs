//! Rendering: the same chain offline, as fast as it goes, from a file into a file.

use crate::audio_file::Bits;
use crate::config::ElementSpec;
use crate::error::Result;
use crate::report::RenderReport;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// What to render.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderSpec {
    /// WAV or FLAC.
    pub input: PathBuf,
    /// WAV.
    pub output: PathBuf,
    /// What happens to the audio, in order.
    pub elements: Vec<ElementSpec>,
    /// Frames per block.
    pub block_frames: u32,
    /// Sample format of the output.
    pub bits: Bits,
}

/// Renders. `progress` is told frames done and frames in all, if known, many times a second; `stop` ends it early.
///
/// # Errors
/// What could not be read, started or written. The output then holds what had been processed.
pub fn render(
    spec: &RenderSpec,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64, Option<u64>),
    event: &mut dyn FnMut(&str),
) -> Result<RenderReport> {
    let _ = (spec, stop, progress, event);
    unimplemented!()
}
