//! The one unsafe expression of this crate: the buffer that cpal's callbacks get.
//!
//! For the virtual device. cpal hands its callbacks a [`Data`], whatever the sample format, and gives custom
//! hosts only an unsafe way to make one.

use cpal::{Data, SampleFormat};

/// Lends the samples to `callback` as cpal's untyped buffer.
///
/// # Real-time
/// Yes.
pub(super) fn lend(samples: &mut [f32], callback: impl FnOnce(&mut Data)) {
    let (start, length) = (samples.as_mut_ptr().cast(), samples.len());
    #[expect(unsafe_code, reason = "cpal offers custom hosts no other way to make what callbacks get")]
    // SAFETY: the requirements are those under "Safety" of `Data::from_parts` in cpal 0.18.2: a pointer to the
    // first sample, the number of samples, their format. All three are those of `samples`, a slice of f32 and so
    // valid and aligned; it is borrowed for this whole function, and `callback` gets no more than a loan of the
    // buffer, so none outlives the slice or meets another reference to it.
    let mut data = unsafe { Data::from_parts(start, length, SampleFormat::F32) };
    callback(&mut data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_the_loan_is_in_the_slice() {
        let mut samples = [0.0, 1.0, 2.0];
        lend(&mut samples, |data| {
            assert_eq!((data.len(), data.sample_format()), (3, SampleFormat::F32));
            assert!(data.as_slice::<i32>().is_none());
            let loan = data.as_slice_mut::<f32>().unwrap();
            assert_eq!(loan, [0.0, 1.0, 2.0]);
            loan[1] = 0.5;
        });
        assert_eq!(samples, [0.0, 0.5, 2.0]);
    }

    #[test]
    fn an_empty_slice_is_an_empty_loan() {
        lend(&mut [], |data| assert_eq!(data.as_slice::<f32>(), Some(&[][..])));
    }
}
