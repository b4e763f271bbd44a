//! The plugins that are measured: the shipped ones, some made for a question, and the user's.
//!
//! The files are in this executable, so that it needs no source tree; they are written into a folder of their own.

use crate::Outcome;
use host::plugin::spec::PluginSpec;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Every shipped kind: source, sink, processors.
pub const KINDS: [&str; 4] = ["sine_wave_source", "null_sink", "passthrough", "simple_gain"];
/// Multiplies in place by a plain number: what pedalboard's gain is compared with.
pub const IN_PLACE_GAIN: &str = "in_place_gain";
/// Make 120 containers a block, beside no and a million objects that live on.
pub const COLLECTOR: [&str; 2] = ["containers", "containers_among_a_million"];
/// Has a thread that computes in pure Python without end.
pub const SPINNING_THREAD: &str = "spinning_thread";

/// The name under which a file is written, and what is in it.
const FILES: [(&str, &str); 7] = [
    ("sine_wave_source", include_str!("../../plugins_py/sine_wave_source.py")),
    ("null_sink", include_str!("../../plugins_py/null_sink.py")),
    ("passthrough", include_str!("../../plugins_py/examples/passthrough.py")),
    ("simple_gain", include_str!("../../plugins_py/examples/simple_gain.py")),
    ("in_place_gain", include_str!("../plugins/in_place_gain.py")),
    ("containers", include_str!("../plugins/containers.py")),
    ("spinning_thread", include_str!("../plugins/spinning_thread.py")),
];
const IN_PYTHON: &str = include_str!("in_python.py");

/// The plugin that the user names.
#[derive(Debug, Clone)]
pub struct Own {
    /// Its file.
    pub file: PathBuf,
    /// Its parameters.
    pub set: Vec<(String, String)>,
}

/// The files, and what is set.
#[derive(Debug)]
pub struct Plugins {
    folder: TempDir,
    python: Option<PathBuf>,
    own: Option<Own>,
}

impl Own {
    /// What its series are called: its file without the ending.
    #[must_use]
    pub fn name(&self) -> String {
        self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Plugins {
    /// Writes the files. `python` is the interpreter, if one is wanted.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn write(python: Option<PathBuf>, own: Option<Own>) -> Outcome<Self> {
        let folder = TempDir::with_prefix("nda-bench-")?;
        for (name, text) in FILES {
            std::fs::write(folder.path().join(format!("{name}.py")), text)?;
        }
        std::fs::write(folder.path().join("in_python_rows.py"), IN_PYTHON)?;
        Ok(Self { folder, python, own })
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The plugin of this name, with every default.
    #[must_use]
    pub fn spec(&self, name: &str) -> PluginSpec {
        let mut spec = match &self.own {
            Some(own) if own.name() == name => {
                PluginSpec { set: own.set.clone(), ..PluginSpec::new(&own.file) }
            }
            _ => self.shipped(name),
        };
        spec.python.clone_from(&self.python);
        spec
    }

    fn shipped(&self, name: &str) -> PluginSpec {
        let file = |name: &str| PluginSpec::new(self.folder.path().join(format!("{name}.py")));
        match name {
            "containers_among_a_million" => file("containers").set("objects", "1000000"),
            _ => file(name),
        }
    }

    /// The script that measures in Python.
    #[must_use]
    pub fn in_python(&self) -> PathBuf {
        self.folder.path().join("in_python_rows.py")
    }

    /// The interpreter that plugins are run by.
    ///
    /// # Errors
    /// If there is none.
    pub fn python(&self) -> Outcome<PathBuf> {
        let beside = match &self.own {
            Some(own) => std::path::absolute(&own.file)?,
            None => self.folder.path().join("passthrough.py"),
        };
        Ok(host::plugin::interpreter::find(self.python.as_deref(), &beside)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_in_python_is_asked_of_the_interpreter_that_the_users_plugin_has() {
        let theirs = TempDir::new().unwrap();
        let python = theirs.path().join(".venv/bin/python");
        std::fs::create_dir_all(python.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/bin/sh", &python).unwrap();
        let own = Own { file: theirs.path().join("echo.py"), set: Vec::new() };
        assert_eq!(Plugins::write(None, Some(own)).unwrap().python().unwrap(), python);
    }

    /// Starts the plugin, lets no block come, then some, then none: what the process computed in each time, in ms.
    const SPUN: &str = r#"
import sys, time, types

base = types.ModuleType("base_plugin")
base.AudioProcessorPlugin = type("Plugin", (), {"start": lambda self: True})
base.AudioBuffer = base.PluginInfo = base.PluginType = object
sys.modules["base_plugin"] = base
sys.path.insert(0, sys.argv[1])
import spinning_thread

plugin = spinning_thread.create_plugin()
plugin.start()

def computed_ms(blocks):
    before = time.process_time()
    for _ in range(100):
        blocks and plugin.process_audio(None)
        time.sleep(0.003)
    return round((time.process_time() - before) * 1000)

before, meanwhile, after = [computed_ms(blocks) for blocks in (False, True, False)]
end = time.monotonic() + 10
while 2 * after >= meanwhile and time.monotonic() < end:
    after = computed_ms(False)
print(before, meanwhile, after)
"#;

    #[test]
    fn the_thread_that_spins_does_so_while_blocks_come_and_leaves_the_processor_to_others_else() {
        let plugins = Plugins::write(None, None).unwrap();
        let mut python = std::process::Command::new(plugins.python().unwrap());
        let told = python.args(["-c", SPUN]).arg(plugins.folder()).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let times: Vec<u32> = told.split_whitespace().flat_map(str::parse).collect();
        let [before, meanwhile, after] = times[..] else { panic!("{told}") };
        assert!(meanwhile > 2 * before.max(after), "{told}");
    }
}
