//! The source of a pipeline whose input and output are two devices: what the input device's callback has queued.
//!
//! For the chain, which runs in the output device's callback. It neither maps channels nor looks for drift.

use crate::block::Block;
use crate::processor::{Processor, Turn};
use crate::reblock::FrameReader;

/// What an input device has brought, for a chain that runs in the output device's callback.
pub(super) struct CaptureSource {
    pub(super) frames: FrameReader,
    /// Frames that are to be in the queue when the first block is taken.
    pub(super) ahead: Option<usize>,
}

impl Processor for CaptureSource {
    fn name(&self) -> &str {
        "input device"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        if let Some(ahead) = self.ahead.take() {
            // What the input brought before the output began would be heard late for ever.
            self.frames.skip(self.frames.level().saturating_sub(ahead));
        }
        self.frames.read(block.samples_mut());
    }
}
