//! Ten thousand blocks: nothing fails, nothing grows.
//!
//! One test, since it counts the descriptors of its own process, which tests beside it would change.

use host::Format;
use host::chain::Chain;
use host::plugin::spec::{Mode, PluginSpec};
use host::plugin::{Place, Plugin, Remote};
use host::supervisor::Supervisor;
use shared::message::PluginKind;
use tests::leftovers::{assert_reaped, data_kib, descriptors, private_kib};
use tests::workspace::{Folder, python, shipped};

const BLOCKS: u64 = 10_000;
const WARM: u64 = 1_000;
/// The time that a block has here: nobody is late.
const AMPLE_NS: u64 = 60_000_000_000;
/// What an allocator may ask for at a time without anything leaking.
const ALLOWED_KIB: u64 = 512;

fn load(supervisor: &Supervisor, spec: PluginSpec, kind: PluginKind, format: Format) -> (Plugin, Remote) {
    let spec = PluginSpec { python: Some(python()), mode: Some(Mode::SameBlock), ..spec };
    let place = Place { format, kind: Some(kind), burst: 1 };
    Plugin::load_as(supervisor, &kind.to_string(), spec, place).unwrap_or_else(|e| panic!("{e}"))
}

/// What a worker holds: private memory and address space in KiB, descriptors.
fn held(pid: u32) -> (u64, u64, usize) {
    (private_kib(pid), data_kib(pid), descriptors(pid))
}

#[test]
fn ten_thousand_blocks_through_each_kind_lose_nothing_and_grow_nothing() {
    let folder = Folder::new();
    let format = Format::new(2, 64, 48_000).unwrap();
    let before = descriptors(std::process::id());
    let (supervisor, events) = Supervisor::new().unwrap();
    let recording = folder.file("out.wav").display().to_string();
    let specs = [
        (PluginSpec::new(shipped("sine_wave_source.py")), PluginKind::Source),
        (PluginSpec::new(shipped("examples/simple_gain.py")).set("gain", "0.5"), PluginKind::Processor),
        (PluginSpec::new(shipped("wav_file_sink.py")).set("path", recording), PluginKind::Sink),
        (PluginSpec::new(shipped("null_sink.py")), PluginKind::Sink),
    ];
    let loaded = specs.map(|(spec, kind)| load(&supervisor, spec, kind, format));
    let (mut plugins, remotes): (Vec<Plugin>, Vec<_>) = loaded.into_iter().unzip();
    let processors = remotes.into_iter().map(|remote| Box::new(remote) as _).collect();
    let mut chain = Chain::new(format, processors).unwrap();
    let pids: Vec<u32> = plugins.iter().map(|plugin| plugin.worker().pid()).collect();

    let mut samples = vec![0.0; format.samples()];
    (0..WARM).for_each(|_| chain.process_within(&mut samples, AMPLE_NS));
    let warm: Vec<_> = pids.iter().map(|pid| held(*pid)).collect();
    let own = descriptors(std::process::id());
    (WARM..BLOCKS).for_each(|_| chain.process_within(&mut samples, AMPLE_NS));

    assert!(samples.iter().any(|sample| *sample != 0.0), "the last block is silent");
    assert_eq!(descriptors(std::process::id()), own);
    for ((plugin, pid), warm) in plugins.iter_mut().zip(&pids).zip(warm) {
        let status = plugin.status();
        assert_eq!((status.counts.good, status.counts.lost()), (BLOCKS, 0), "{status:?}");
        let (private, data, open) = held(*pid);
        assert!(private <= warm.0 + ALLOWED_KIB, "{}: from {} to {private} KiB", status.name, warm.0);
        assert!(data <= warm.1 + ALLOWED_KIB, "{}: from {} to {data} KiB of data", status.name, warm.1);
        assert_eq!(open, warm.2, "{}: descriptors", status.name);
    }

    drop(chain);
    plugins.into_iter().for_each(|plugin| plugin.shutdown().unwrap());
    drop((supervisor, events));
    pids.iter().for_each(|pid| assert_reaped(*pid));
    assert_eq!(descriptors(std::process::id()), before);
}
