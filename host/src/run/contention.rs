//! Whether two pipelines may want the same thing that only one of them can have.
//!
//! For the thread that runs, which opens none before what it wants has been let go. It goes by what was asked for and opens
//! nothing; of a file it asks the file system which one it is.

use crate::config::{DeviceName, DeviceSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::identity::Identity;
use crate::realtime::Affinity;
use std::path::Path;

/// Whether one can't be opened, or not as it is to be, while the other still has what is its own.
pub(super) fn contend(one: &PipelineSpec, other: &PipelineSpec) -> bool {
    share_a_device(one, other) || share_a_file(one, other) || share_a_core(one, other)
}

/// Two real devices of one direction may be the same by different names, and so may two that an audio system mixes. A
/// cable has one rate for all its ends.
fn share_a_device(one: &PipelineSpec, other: &PipelineSpec) -> bool {
    let is_real = |device: Option<&DeviceSpec>| device.is_some_and(|device| !device.name.is_virtual());
    let are_real = |a: Option<&DeviceSpec>, b: Option<&DeviceSpec>| is_real(a) && is_real(b);
    let is_shared = |cable: &str| cables(other).any(|another| another == cable);
    are_real(input(one), input(other)) || are_real(output(one), output(other)) || cables(one).any(is_shared)
}

fn input(spec: &PipelineSpec) -> Option<&DeviceSpec> {
    match &spec.source {
        SourceSpec::Device(device) => Some(device),
        _ => None,
    }
}

fn output(spec: &PipelineSpec) -> Option<&DeviceSpec> {
    match &spec.sink {
        SinkSpec::Device(device) => Some(device),
        _ => None,
    }
}

fn cables(spec: &PipelineSpec) -> impl Iterator<Item = &str> {
    input(spec).into_iter().chain(output(spec)).filter_map(|device| match &device.name {
        DeviceName::Cable(name) => Some(name.as_str()),
        _ => None,
    })
}

/// A file that one writes and the other writes or reads, by whatever names.
fn share_a_file(one: &PipelineSpec, other: &PipelineSpec) -> bool {
    let spoils = |writer: &PipelineSpec, user: &PipelineSpec| {
        let used: Vec<_> = written(user).chain(read(user)).map(Identity::of).collect();
        written(writer).map(Identity::of).any(|file| used.iter().any(|used| used.is(&file)))
    };
    spoils(one, other) || spoils(other, one)
}

fn written(spec: &PipelineSpec) -> impl Iterator<Item = &Path> {
    let sink = match &spec.sink {
        SinkSpec::File(file) => Some(file),
        _ => None,
    };
    sink.into_iter().chain(&spec.record).map(|file| file.file.as_path())
}

fn read(spec: &PipelineSpec) -> Option<&Path> {
    match &spec.source {
        SourceSpec::File(file) => Some(&file.file),
        _ => None,
    }
}

/// Only of cores that are named: of others each pipeline gets what is there, and one that is closing has got up.
fn share_a_core(one: &PipelineSpec, other: &PipelineSpec) -> bool {
    match (&one.affinity, &other.affinity) {
        (Affinity::Cores(some), Affinity::Cores(others)) => some.iter().any(|core| others.contains(core)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileSinkSpec;

    fn file_to(sink: &str) -> PipelineSpec {
        PipelineSpec::new(SourceSpec::file("in.wav"), SinkSpec::device(sink))
    }

    fn from(source: &str) -> PipelineSpec {
        PipelineSpec::new(SourceSpec::device(source), SinkSpec::file("/nowhere/out.wav"))
    }

    fn on(cores: &[usize]) -> PipelineSpec {
        PipelineSpec { affinity: Affinity::Cores(cores.to_vec()), ..file_to("virtual") }
    }

    fn recording(file: &str) -> PipelineSpec {
        PipelineSpec { record: Some(FileSinkSpec::new(file)), ..file_to("virtual") }
    }

    #[test]
    fn pipelines_contend_for_real_devices_of_one_direction_cables_written_files_and_named_cores() {
        let reading = PipelineSpec::new(SourceSpec::file("/nowhere/a.wav"), SinkSpec::device("virtual"));
        for (contend_so, one, other) in [
            (false, file_to("virtual"), file_to("virtual")),
            (true, file_to("default"), file_to("jack:default")),
            (false, file_to("default"), from("default")),
            (true, from("default"), from("radio")),
            (false, file_to("default"), file_to("virtual")),
            (true, file_to("virtual:radio"), from("virtual:radio")),
            (true, file_to("virtual:radio"), file_to("virtual:radio")),
            (false, file_to("virtual:radio"), from("virtual:cable")),
            (true, recording("/nowhere/a.wav"), recording("/nowhere/a.wav")),
            (true, recording("/nowhere/a.wav"), reading.clone()),
            (true, from("virtual"), recording("/nowhere/out.wav")),
            (false, recording("/nowhere/a.wav"), recording("/nowhere/b.wav")),
            // Two may read the same one.
            (false, reading.clone(), reading),
            (true, on(&[0, 1]), on(&[1, 2])),
            (false, on(&[0]), on(&[1])),
            (false, on(&[0]), PipelineSpec { affinity: Affinity::Auto, ..file_to("virtual") }),
        ] {
            assert_eq!(contend(&one, &other), contend_so, "{one:?} and {other:?}");
            assert_eq!(contend(&other, &one), contend_so, "{other:?} and {one:?}");
        }
    }
}
