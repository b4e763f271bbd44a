//! The end of a chain that runs on its source's clock: its blocks go into a queue, for an output by another clock.
//!
//! For opening a pipeline. The other end of the queue is a [`CaptureQueue`](super::CaptureQueue), in the output's
//! callback: what is corrected there is what was processed, and the chain has had every frame as it came.

use super::fifo::FrameWriter;
use crate::block::Block;
use crate::processor::{Processor, Turn};

/// The last of a chain, which it leaves as it is.
#[derive(Debug)]
pub struct Handover {
    queue: FrameWriter,
    /// A block, interleaved.
    frames: Vec<f32>,
    /// When the source called for the last block, and frames that it has called for in that go.
    called_ns: u64,
    in_one_go: usize,
    /// Blocks that the source calls for in one go, as the queue was planned.
    burst: u32,
}

impl Handover {
    /// For blocks of so many samples, and a source that calls for so many blocks in one go.
    #[must_use]
    pub fn new(queue: FrameWriter, samples: usize, burst: u32) -> Self {
        Self { queue, frames: vec![0.0; samples], called_ns: 0, in_one_go: 0, burst }
    }
}

impl Processor for Handover {
    fn name(&self) -> &str {
        "queue to the output device"
    }

    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        let channels = block.channels();
        for (c, channel) in block.iter().enumerate() {
            let frames = self.frames.iter_mut().skip(c).step_by(channels);
            frames.zip(channel).for_each(|(to, sample)| *to = *sample);
        }
        // As old as if the chain took no time: how long it takes is no drift.
        self.queue.write(&self.frames, turn.called_ns);
        let goes_on = turn.called_ns == self.called_ns;
        self.in_one_go = if goes_on { self.in_one_go } else { 0 } + block.frames();
        self.called_ns = turn.called_ns;
        self.queue.brought(self.in_one_go);
    }

    /// No more than were planned for: the queue's other end, which would have to hold more, is another stream's.
    fn burst_max(&self) -> u32 {
        self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::super::fifo::frame_fifo;
    use super::*;

    #[test]
    fn blocks_go_on_frame_by_frame_with_the_time_they_were_called_for_and_how_many_came_in_one_go() {
        let (writer, mut reader) = frame_fifo(2, 64, 0);
        let mut handover = Handover::new(writer, 8, 2);
        for (number, called_ns) in [(0.0, 7), (1.0, 7), (2.0, 9), (3.0, 9), (4.0, 11)] {
            let mut samples = [1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0].map(|sample| sample * number);
            let kept = samples;
            let turn = Turn { called_ns, ..Turn::new(100, 1000) };
            handover.process(&mut Block::new(&mut samples, 4), &turn);
            assert_eq!(samples, kept);
        }
        assert_eq!(reader.level_and_time(), Some((20, 11)));
        assert_eq!(reader.burst(), 8);
        reader.skip(12);
        let mut frames = [0.0; 8];
        assert_eq!(reader.read(&mut frames), 4);
        assert_eq!(frames, [3.0, -3.0, 6.0, -6.0, 9.0, -9.0, 12.0, -12.0]);
    }
}
