//! What lies between a pipeline and its devices: cables, other rates and channels, clocks that drift.

use host::config::{PipelineSpec, SinkSpec, SourceSpec};
use host::pipeline::Pipeline;
use host::supervisor::Supervisor;
use std::path::Path;
use tests::audio::noises;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

fn open(spec: &PipelineSpec, supervisor: &Supervisor) -> Pipeline {
    Pipeline::open(spec, supervisor, "", &mut |note| panic!("{note}")).unwrap()
}

/// Where `part` begins in `whole`.
fn place_of(part: &[f32], whole: &[f32]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

fn write_noise(path: &Path, frames: usize) -> Wav {
    let wav = Wav::new(noises(2, frames));
    wav.write(path);
    wav
}

#[test]
fn what_one_pipeline_plays_into_a_cable_another_one_hears_bit_by_bit() {
    let folder = Folder::new();
    let sent = write_noise(&folder.file("in.wav"), 48_000);
    let (supervisor, _events) = Supervisor::new().unwrap();
    let radio = "virtual:a test's radio";
    let transmit = PipelineSpec::new(SourceSpec::file(folder.file("in.wav")), SinkSpec::device(radio));
    let receive = PipelineSpec::new(SourceSpec::device(radio), SinkSpec::file(folder.file("out.wav")));
    let (mut transmitter, mut receiver) = (open(&transmit, &supervisor), open(&receive, &supervisor));
    assert_eq!(receiver.status().latency.device_frames, 256, "a cable is one buffer long");
    receiver.play().unwrap();
    transmitter.play().unwrap();
    until("the transmission has ended", || transmitter.has_ended());
    let heard_then = receiver.status().frames;
    until("its last frames are heard", || receiver.status().frames > heard_then + 2048);
    transmitter.close();
    receiver.close();
    let heard = Wav::read(&folder.file("out.wav"));
    let place = place_of(&sent.channels[0], &heard.channels[0]).expect("not all was heard, or not as it was");
    assert_eq!(heard.channels[1][place..place + sent.frames()], sent.channels[1]);
    assert!(heard.channels[0][..place].iter().all(|sample| *sample == 0.0));
}
