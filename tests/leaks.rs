//! A worker keeps its size: whatever a block was like, nothing of it stays.
//!
//! Needs `cargo build -p worker` and valgrind. The test under valgrind takes about a minute.

use shared::format::Format;
use shared::message::{Answer, Ask};
use std::process::Command;
use tests::plugin_file::{PluginFile, processor};
use tests::worker_process::{WorkerProcess, command, round};

/// Blocks of every sort: good, rebound in each way, of a wrong shape, failed, raised.
const EVERY_SORT: &str = "k = self.n % 10\n\
    if k == 0: buffer.data = buffer.data * 0.5\n\
    if k == 1: buffer.data = buffer.data.astype(np.float64)\n\
    if k == 2: buffer.data = buffer.data.tolist()\n\
    if k == 3: buffer.data = buffer.data[:1]\n\
    if k == 4: buffer.data.shape = (-1,)\n\
    if k == 5: buffer.data.setflags(write=False)\n\
    if k == 6: raise ValueError(self.n)\n\
    if k == 7: sys.exit()\n\
    if k == 8: return False\n\
    return True";

const COUNT_OBJECTS: &str = "def get_parameter(self, key):\n\
    \x20   gc.unfreeze(); gc.collect()\n\
    \x20   return str(sys.getallocatedblocks())";

fn plugin_of_every_sort() -> PluginFile {
    processor(EVERY_SORT, COUNT_OBJECTS)
}

/// So many blocks, with a new format after each fiftieth.
fn run_blocks(worker: &mut WorkerProcess, blocks: usize) {
    for turn in 0..blocks / 50 {
        let format = Format::new(2, [64, 512][turn % 2], 48_000).unwrap();
        let (mut end, _) = worker.configure(format, &[("gain", "1")]).unwrap();
        worker.start().unwrap();
        for _ in 0..50 {
            let _ = round(&mut end, |samples| samples.fill(0.5));
        }
        worker.stop().unwrap();
    }
}

#[test]
fn ten_thousand_blocks_of_every_sort_and_two_hundred_formats_leave_no_object_behind() {
    let file = plugin_of_every_sort();
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let mut objects_after = |blocks| {
        run_blocks(&mut worker, blocks);
        match worker.ask(Ask::GetParameter { key: String::new() }) {
            Ok(Answer::Value(count)) => count.parse::<i64>().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    // Python's own caches fill ever more slowly, and some only when objects are counted for the second time.
    let (_, before) = (objects_after(5_000), objects_after(5_000));
    let after = objects_after(10_000);
    // Less than one object for a format, or for fifty blocks.
    assert!(after - before < 200, "{before} objects became {after}");
    assert_eq!(worker.shutdown().status.code(), Some(0));
}

#[test]
fn valgrind_finds_no_lost_byte_that_the_worker_had_a_hand_in() {
    let file = plugin_of_every_sort();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("valgrind.log");
    let mut worker = WorkerProcess::spawn_with(under_valgrind(&log));
    worker.load(&file.path).unwrap();
    run_blocks(&mut worker, 10_000);
    assert_eq!(worker.shutdown().status.code(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("LEAK SUMMARY") || log.contains("no leaks are possible"), "{log}");
    // Python loses names and constants of the modules it imports (3.12 and 3.13 do), whoever asks for the import.
    let imports = |record: &str| ["PyImport_", "marshal_loads"].iter().any(|frame| record.contains(frame));
    let is_ours = |record: &&str| record.contains("nda_worker") && !imports(record);
    let ours: Vec<&str> = records(&log).filter(is_ours).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n\n"));
}

fn under_valgrind(log: &std::path::Path) -> Command {
    let python = command();
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--num-callers=40",
        "--fullpath-after=",
    ]);
    valgrind.arg(format!("--log-file={}", log.display())).arg(python.get_program());
    // An isolated interpreter would not look at the environment for its allocator.
    valgrind.args(python.get_args().map(|argument| if argument == "-I" { "-s".as_ref() } else { argument }));
    for (name, value) in python.get_envs() {
        valgrind.env(name, value.unwrap_or_default());
    }
    // Python's own allocator would hide each object in a pool.
    valgrind.env("PYTHONMALLOC", "malloc");
    std::os::unix::process::CommandExt::process_group(&mut valgrind, 0);
    valgrind
}

/// The stacks of what was lost.
fn records(log: &str) -> impl Iterator<Item = &str> {
    log.split("definitely lost in loss record").skip(1).map(|rest| {
        // A record ends at the first line without a stack frame: only its process number.
        rest.split("== \n").next().unwrap_or(rest)
    })
}
