//! Interpreters that can't run a plugin: told why, and what to do, before anything starts.

use std::path::Path;
use std::process::Command;
use tests::audio::noise;
use tests::nda::{Done, Render};
use tests::wav::Wav;
use tests::workspace::{Folder, python, shipped};

fn folder_with_noise() -> Folder {
    let folder = Folder::new();
    Wav::new(vec![noise(500, 1)]).write(&folder.file("in.wav"));
    folder
}

fn render(folder: &Folder, python: &Path) -> Done {
    Render::new(folder, folder.file("in.wav")).plugin_of(shipped("examples/passthrough.py"), python).run()
}

fn refused(folder: &Folder, python: &Path, culprits: &[&str]) {
    let done = render(folder, python);
    done.refused(7, culprits).and_said("try: ");
    assert!(!folder.file("out.wav").exists(), "an output of nothing: {done}");
}

#[test]
fn an_interpreter_that_is_not_there_is_named() {
    let folder = folder_with_noise();
    refused(&folder, &folder.file("no/python3"), &["there is no interpreter", "no/python3"]);
    refused(&folder, Path::new("python-of-nowhere"), &["no interpreter python-of-nowhere on the path"]);
    refused(&folder, folder.path(), &["is a folder"]);
}

#[test]
fn an_interpreter_that_is_not_executable_is_named() {
    let folder = folder_with_noise();
    let file = folder.write("python3", "not a program");
    refused(&folder, &file, &["python3 is not executable"]);
}

#[test]
fn a_file_that_the_system_cannot_run_is_told_so() {
    let folder = folder_with_noise();
    // Executable, but neither a program nor a script.
    let file = folder.script("python3", "");
    std::fs::write(&file, b"\x00\x01\x02").unwrap();
    refused(&folder, &file, &["python3"]);
}

#[test]
fn interpreters_that_are_too_old_or_of_another_kind_are_told_for_what_they_are() {
    let folder = folder_with_noise();
    for (code, said, culprit) in [
        (73, "3.9.2", "is Python 3.9.2, which is too old: 3.10 is needed"),
        (74, "pypy 3.10.14", "is pypy 3.10.14, not CPython"),
        (75, "3.13.1", "is a free-threaded Python 3.13.1, which can't load the worker module"),
        (70, "undefined symbol: PyNothing", "could not load the worker module"),
    ] {
        let stub = folder.script("python3", &format!("echo 'a warning' >&2; echo '{said}' >&2; exit {code}"));
        refused(
            &folder,
            &stub,
            &[culprit, "name a CPython 3.10 or newer"].map(|c| if code == 70 { said } else { c }),
        );
    }
}

#[test]
fn an_interpreter_without_numpy_is_told_how_to_install_it() {
    let folder = folder_with_noise();
    let stub = folder.script("python3", "echo \"No module named 'numpy'\" >&2; exit 76");
    refused(&folder, &stub, &["python3 has no numpy", "try: ", "python3 -m pip install numpy"]);
    let broken = folder.script("python3", "echo 'numpy: libblas.so: cannot open' >&2; exit 76");
    refused(&folder, &broken, &["python3 can't import its numpy", "libblas.so: cannot open"]);
}

#[test]
fn a_real_environment_without_numpy_is_refused() {
    let folder = folder_with_noise();
    let venv = folder.file("bare venv");
    let made = Command::new(python()).args(["-m", "venv", "--without-pip"]).arg(&venv).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let python = venv.join("bin/python");
    refused(
        &folder,
        &python,
        &["bare venv/bin/python has no numpy", "bare venv/bin/python' -m pip install numpy"],
    );
}

#[test]
fn programs_that_are_no_python_are_refused() {
    let folder = folder_with_noise();
    refused(&folder, Path::new("/bin/true"), &["/bin/true is no Python that works", "exit code 0"]);
    refused(&folder, Path::new("/bin/false"), &["/bin/false is no Python that works", "exit code 1"]);
    let killed = folder.script("python3", "kill -SEGV $$");
    refused(&folder, &killed, &["python3 is no Python that works", "SIGSEGV"]);
}

#[test]
fn the_environment_beside_a_plugin_is_used_without_being_named() {
    let folder = folder_with_noise();
    std::fs::create_dir_all(folder.file(".venv/bin")).unwrap();
    let stub = folder.script(".venv/bin/python", "echo 3.8.1 >&2; exit 73");
    let plugin = tests::plugins::processor(&folder, "made", "return True");
    let arguments =
        ["render".into(), folder.file("in.wav"), folder.file("out.wav"), "--plugin".into(), plugin];
    let done = tests::nda::nda(arguments);
    done.refused(7, &[&format!("{} is Python 3.8.1", stub.display())]);
}

#[test]
fn a_plugin_that_is_named_with_a_space_and_a_link_works() {
    let folder = folder_with_noise();
    std::fs::create_dir(folder.file("my plugins")).unwrap();
    let plugin = tests::plugins::processor(&folder, "made", "return True");
    let link = folder.file("my plugins/linked.py");
    std::os::unix::fs::symlink(plugin, &link).unwrap();
    let heard = Render::new(&folder, folder.file("in.wav")).plugin(&link).heard();
    assert_eq!(heard, Wav::read(&folder.file("in.wav")));
}
