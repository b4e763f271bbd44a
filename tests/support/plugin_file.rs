//! Plugins for one worker: a file in a folder of its own, gone with the test.

use crate::workspace::Folder;
use std::path::PathBuf;

/// A plugin file, gone when dropped.
pub struct PluginFile {
    _folder: Folder,
    /// Where it is.
    pub path: PathBuf,
}

/// A plugin file of this text, in a folder of its own.
///
/// # Panics
/// If it can't be written.
#[must_use]
pub fn plugin(text: &str) -> PluginFile {
    let folder = Folder::new();
    let path = folder.write("made_for_a_test.py", text);
    PluginFile { _folder: folder, path }
}

/// A processor with this body of `process_audio`, which finds the number of the block in `self.n`, and these
/// further methods.
#[must_use]
pub fn processor(process: &str, more: &str) -> PluginFile {
    let indented =
        |text: &str, by: &str| text.lines().map(|line| format!("{by}{line}\n")).collect::<String>();
    plugin(&format!(
        "import sys, os, threading, gc\nimport numpy as np\nimport base_plugin\nfrom base_plugin import *\n\n\
         class Made(AudioProcessorPlugin):\n    n = 0\n\
         \n    def get_info(self):\n        return PluginInfo('made', '1', 'test', 'a test', PluginType.PROCESSOR)\n\
         \n    def process_audio(self, buffer):\n        self.n += 1\n{}\n{}\n\
         def create_plugin():\n    return Made()\n",
        indented(process, "        "),
        indented(more, "    "),
    ))
}
