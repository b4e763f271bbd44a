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
    /// The most blocks that the source may call for in one go, as there is room for in the queue.
    burst_max: u32,
}

impl Handover {
    /// For blocks of so many samples, and a source that calls for so many blocks in one go at most.
    #[must_use]
    pub fn new(queue: FrameWriter, samples: usize, burst_max: u32) -> Self {
        Self { queue, frames: vec![0.0; samples], called_ns: 0, in_one_go: 0, burst_max }
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

    fn burst_max(&self) -> u32 {
        self.burst_max
    }

    /// The queue's other end, which is another stream's, has to hold more: it is told.
    fn replan(&mut self, burst: u32) {
        self.queue.will_bring(burst as usize * self.frames.len() / self.queue.channels());
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

    #[test]
    fn the_other_end_knows_of_a_longer_go_before_it_comes() {
        let (writer, reader) = frame_fifo(2, 64, 0);
        let mut handover = Handover::new(writer, 8, 5);
        assert_eq!(handover.burst_max(), 5);
        handover.replan(3);
        assert_eq!(reader.burst(), 12);
    }
}
