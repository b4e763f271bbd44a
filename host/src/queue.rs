//! Queues between two threads, one of which may be the audio thread, and long rows of samples: their memory is there from
//! the start.
//!
//! For whoever makes one, before anybody plays. A page that is touched for the first time costs the one who does a fault,
//! which may wait for whoever changes the address space; and no queue is small enough for that to be over soon.

use rtrb::{Consumer, Producer, RingBuffer};

/// An empty queue for so many, each of whose places has held this `filling` once.
pub(crate) fn queue<T: Copy>(capacity: usize, filling: T) -> (Producer<T>, Consumer<T>) {
    let (mut writer, mut reader) = RingBuffer::new(capacity);
    while writer.push(filling).is_ok() {}
    while reader.pop().is_ok() {}
    (writer, reader)
}

/// So many samples of silence.
pub(crate) fn silence(samples: usize) -> Vec<f32> {
    // The system's zeroed pages would be there only when they are touched.
    let mut silence = vec![1.0; samples];
    std::hint::black_box(&mut silence).fill(0.0);
    silence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_empty_and_takes_as_many_as_it_was_made_for() {
        let (mut writer, mut reader) = queue(3, 7);
        assert!(reader.pop().is_err());
        (0..3).for_each(|n| writer.push(n).unwrap());
        assert!(writer.push(3).is_err());
        assert_eq!([reader.pop(), reader.pop(), reader.pop()], [Ok(0), Ok(1), Ok(2)]);
    }
}
