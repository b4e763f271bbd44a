//! From cpal's callbacks, typed by the device's samples, to this module's, which aren't.
//!
//! For opening a device: cpal is generic over the sample type, which is known only when the device is.

use super::asking::CONTROL_LIMIT;
use super::event::{StreamEvent, Teller};
use super::format::Chosen;
use super::samples::{Capture, Playback, Player, Recorder};
use super::system::CpalResult;
use cpal::traits::DeviceTrait;
use cpal::{ErrorKind, FromSample, SampleFormat, SizedSample};
use std::time::Duration;

/// Calls a function that is generic over the device's samples.
macro_rules! for_samples {
    ($format:expr, $build:ident($($argument:expr),*)) => {
        match $format {
            SampleFormat::I8 => $build::<i8, _, _>($($argument),*),
            SampleFormat::I16 => $build::<i16, _, _>($($argument),*),
            SampleFormat::I24 => $build::<cpal::I24, _, _>($($argument),*),
            SampleFormat::I32 => $build::<i32, _, _>($($argument),*),
            SampleFormat::I64 => $build::<i64, _, _>($($argument),*),
            SampleFormat::U8 => $build::<u8, _, _>($($argument),*),
            SampleFormat::U16 => $build::<u16, _, _>($($argument),*),
            SampleFormat::U24 => $build::<cpal::U24, _, _>($($argument),*),
            SampleFormat::U32 => $build::<u32, _, _>($($argument),*),
            SampleFormat::U64 => $build::<u64, _, _>($($argument),*),
            SampleFormat::F32 => $build::<f32, _, _>($($argument),*),
            SampleFormat::F64 => $build::<f64, _, _>($($argument),*),
            _ => Err(cpal::Error::new(ErrorKind::UnsupportedConfig)),
        }
    };
}

pub(super) fn build_output<C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    player: Player<C>,
    teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    C: FnMut(&mut Playback<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    for_samples!(chosen.samples, output_of(device, chosen, player, teller))
}

fn output_of<T, C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    mut player: Player<C>,
    mut teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    T: SizedSample + FromSample<f32>,
    C: FnMut(&mut Playback<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    device.build_output_stream(
        chosen.config(),
        move |samples: &mut [T], info: &cpal::OutputCallbackInfo| {
            let time = info.timestamp();
            player.play(samples, on_clock(time.callback), time.playback.duration_since(time.callback));
        },
        move |error| teller.tell(error.into()),
        Some(CONTROL_LIMIT),
    )
}

pub(super) fn build_input<C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    recorder: Recorder<C>,
    teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    C: FnMut(&Capture<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    for_samples!(chosen.samples, input_of(device, chosen, recorder, teller))
}

fn input_of<T, C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    mut recorder: Recorder<C>,
    mut teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    T: SizedSample,
    f32: FromSample<T>,
    C: FnMut(&Capture<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    device.build_input_stream(
        chosen.config(),
        move |samples: &[T], info: &cpal::InputCallbackInfo| {
            let time = info.timestamp();
            recorder.record(samples, on_clock(time.callback), time.callback.duration_since(time.capture));
        },
        move |error| teller.tell(error.into()),
        Some(CONTROL_LIMIT),
    )
}

fn on_clock(instant: cpal::StreamInstant) -> Duration {
    instant.duration_since(cpal::StreamInstant::ZERO)
}
