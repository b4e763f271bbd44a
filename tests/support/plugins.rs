//! Small Python plugins, written into a test's folder.

use crate::workspace::Folder;
use std::path::PathBuf;

/// A processor in `NAME.py` with this body of `process_audio(self, buffer)`. `self.n` counts its blocks from 1
/// and can be asked for as the parameter `blocks`; so none are silent before the first.
pub fn processor(folder: &Folder, name: &str, process: &str) -> PathBuf {
    processor_with(folder, name, process, "")
}

/// The same with more methods.
pub fn processor_with(folder: &Folder, name: &str, process: &str, methods: &str) -> PathBuf {
    let text = format!(
        "{HEAD}
class Made(AudioProcessorPlugin):
    n = 0
    silent_warm_up = False

    def get_info(self):
        return PluginInfo(\"{name}\", \"1\", \"test\", \"test\", PluginType.PROCESSOR)

    def get_parameter(self, key):
        return str(self.n) if key == \"blocks\" else \"\"

    def process_audio(self, buffer):
        self.n += 1
{}
{}
{TAIL}",
        indented(process, 8),
        indented(methods, 4)
    );
    folder.write(&format!("{name}.py"), &text)
}

/// A processor in `delay.py` that delays by 100 frames, and says so.
pub fn delay(folder: &Folder) -> PathBuf {
    let process = "
line = getattr(self, 'line', np.zeros((buffer.get_channel_count(), 100), np.float32))
whole = np.concatenate([line, buffer.data], axis=1)
self.line = whole[:, -100:].copy()
buffer.data[:] = whole[:, :-100]
return True";
    let says_so = "def get_processing_latency(self):\n    return 100 / self.get_sample_rate()";
    processor_with(folder, "delay", process, says_so)
}

/// A source in `NAME.py` with this body of `read_audio(self, buffer)`.
pub fn source(folder: &Folder, name: &str, read: &str) -> PathBuf {
    end(folder, name, ("Source", "AUDIO_SOURCE", "read_audio"), read)
}

/// A sink in `NAME.py` with this body of `write_audio(self, buffer)`.
pub fn sink(folder: &Folder, name: &str, write: &str) -> PathBuf {
    end(folder, name, ("Sink", "AUDIO_SINK", "write_audio"), write)
}

fn end(folder: &Folder, name: &str, (class, kind, method): (&str, &str, &str), body: &str) -> PathBuf {
    let text = format!(
        "{HEAD}
class Made(Audio{class}Plugin):
    n = 0

    def get_info(self):
        return PluginInfo(\"{name}\", \"1\", \"test\", \"test\", PluginType.{kind})

    def {method}(self, buffer):
        self.n += 1
{}
{TAIL}",
        indented(body, 8)
    );
    folder.write(&format!("{name}.py"), &text)
}

/// A module in `NAME.py` that starts with this text and is a good processor otherwise.
pub fn module(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = processor(folder, name, "return True");
    let good = std::fs::read_to_string(&path).expect("just written");
    folder.write(&format!("{name}.py"), &format!("{good}\n{text}\n"))
}

/// A method with which a plugin gets at the memory that it shares with the host.
pub const MEMORY: &str = "
def memory(self, name, rights):
    import ctypes
    for line in open('/proc/self/maps').read().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and name in words[5] and words[1].startswith(rights):
            start, end = (int(word, 16) for word in words[0].split('-'))
            return np.frombuffer((ctypes.c_ubyte * (end - start)).from_address(start), dtype=np.uint32)
";

const HEAD: &str = "import os, sys\nimport numpy as np\nfrom base_plugin import *\n";
const TAIL: &str = "\ndef create_plugin():\n    return Made()\n";

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

/// What a processor does to put its process number into the file `NAME`
/// beside it when it has come to this block; the file appears whole, also where several do so.
#[must_use]
pub fn tells(name: &str, block: usize) -> String {
    format!(
        "if self.n == {block}:
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), \"{name}\")
    part = here + str(os.getpid())
    with open(part, \"w\") as file:
        file.write(str(os.getpid()))
    os.rename(part, here)
"
    )
}

/// Waits for a plugin to come to the block of [`tells`]: its process number.
///
/// # Panics
/// If it does not.
pub fn wait_told(folder: &Folder, name: &str) -> u32 {
    let file = folder.file(name);
    crate::until::until("a plugin to come to its block", || file.exists());
    let text = std::fs::read_to_string(file).expect("what the plugin wrote");
    text.parse().expect("a process number")
}
