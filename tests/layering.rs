//! Who may depend on whom, and what the built files need to run.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use tests::audio::noises;
use tests::nda::{Done, Render, Running, command};
use tests::wav::Wav;
use tests::workspace::{Folder, built, install, root, shipped};

const MODULE: &str = shared::boot::MODULE_FILE;

/// What this machine is to the compiler.
fn platform(cargo: &OsStr) -> String {
    let told = Command::new(cargo).arg("-vV").output().expect("cargo runs").stdout;
    let told = String::from_utf8(told).expect("text");
    told.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

/// The packages that each package needs to be built and run, not to be tested.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    // Of this platform, whose packages are there.
    let words = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"];
    command.args(words).arg(platform(&cargo)).current_dir(root());
    let done = Running::start(command).wait();
    done.ended_with(0);
    let metadata = done.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeMap<_, _> = packages.iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let is_needed =
        |dep: &&Value| dep["dep_kinds"].as_array().expect("kinds").iter().any(|kind| kind["kind"] != "dev");
    let needs = |node: &Value| {
        let deps = node["deps"].as_array().expect("deps").iter().filter(is_needed);
        deps.map(|dep| names[&text(&dep["pkg"])].clone()).collect()
    };
    nodes.iter().map(|node| (names[&text(&node["id"])].clone(), needs(node))).collect()
}

/// All that a package needs, over however many others.
fn closure(dependencies: &BTreeMap<String, BTreeSet<String>>, package: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(next) = open.pop() {
        for dependency in dependencies.get(&next).unwrap_or_else(|| panic!("no package {next}")) {
            if found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}

const OURS: [&str; 6] = ["shared", "host", "worker", "worker-core", "tests", "benches"];

fn ours(all: &BTreeSet<String>) -> Vec<&str> {
    OURS.into_iter().filter(|name| all.contains(*name)).collect()
}

#[test]
fn arrows_between_the_packages_point_one_way() {
    let dependencies = dependencies();
    assert_eq!(ours(&closure(&dependencies, "shared")), [""; 0]);
    assert_eq!(ours(&closure(&dependencies, "host")), ["shared"]);
    assert_eq!(ours(&closure(&dependencies, "worker-core")), ["shared"]);
    assert_eq!(ours(&closure(&dependencies, "worker")), ["shared", "worker-core"]);
}

#[test]
fn python_is_known_to_the_worker_alone_and_devices_to_the_host_alone() {
    let dependencies = dependencies();
    for package in ["shared", "worker-core", "host"] {
        let needs = closure(&dependencies, package);
        assert!(!needs.contains("pyo3") && !needs.contains("numpy"), "{package} needs Python");
    }
    assert!(closure(&dependencies, "worker").contains("pyo3"));
    for package in ["shared", "worker-core", "worker"] {
        assert!(!closure(&dependencies, package).contains("cpal"), "{package} needs audio devices");
    }
}

fn libraries_of(file: &Path) -> String {
    let mut command = Command::new("ldd");
    command.arg(file);
    let done = Running::start(command).wait();
    done.ended_with(0);
    assert!(done.stdout.contains("libc.so"), "{done}");
    done.stdout
}

#[test]
fn neither_the_worker_module_nor_the_program_is_linked_to_a_python() {
    for file in [MODULE, "nda"] {
        let libraries = libraries_of(&built(file));
        assert!(!libraries.contains("python"), "{file}: {libraries}");
    }
}

#[test]
fn the_program_works_where_there_is_no_python() {
    let folder = Folder::new();
    let wav = Wav::new(noises(2, 1_000));
    wav.write(&folder.file("in.wav"));
    let bare = |words: &[&str]| {
        let mut command = command(words);
        command.env_clear().env("PATH", "/nonexistent").current_dir(folder.path());
        Running::start(command).wait()
    };
    bare(&["--help"]).ended_with(0);
    bare(&["devices"]).ended_with(0);
    bare(&["render", "in.wav", "out.wav"]).ended_with(0);
    assert_eq!(Wav::read(&folder.file("out.wav")), wav);
    let plugin = tests::plugins::processor(&folder, "made", "return True");
    let done = bare(&["render", "in.wav", "out2.wav", "--plugin", plugin.to_str().unwrap()]);
    done.refused(7, &["no Python", "no python3 on the path", "try: "]);
}

/// A render by a program in another place, in an environment that knows nothing.
fn render_by(program: &Path, folder: &Folder) -> Done {
    let gain = shipped("examples/simple_gain.py");
    let render = Render::new(folder, folder.file("in.wav")).plugin(gain).set("gain", "0.5").command();
    let mut command = Command::new(program);
    command.args(render.get_args()).env_clear().env("PATH", "/usr/bin:/bin").current_dir(folder.path());
    Running::start(command).wait()
}

#[test]
fn program_and_module_work_together_wherever_they_are_copied() {
    for (program, module) in
        [("here/nda", format!("here/{MODULE}")), ("usr/bin/nda", format!("usr/lib/nda/{MODULE}"))]
    {
        let folder = Folder::new();
        let wav = Wav::new(noises(2, 1_000));
        wav.write(&folder.file("in.wav"));
        install(&built("nda"), &folder.file(program));
        install(&built(MODULE), &folder.file(&module));
        let link = folder.file("linked");
        std::os::unix::fs::symlink(folder.file(program), &link).unwrap();
        for program in [folder.file(program), link] {
            render_by(&program, &folder).ended_with(0);
            assert_eq!(Wav::read(&folder.file("out.wav")), wav.map(|s| s * 0.5));
        }
    }
}

#[test]
fn a_program_without_its_module_says_where_it_looked() {
    let folder = Folder::new();
    Wav::new(noises(2, 1_000)).write(&folder.file("in.wav"));
    install(&built("nda"), &folder.file("alone/nda"));
    let done = render_by(&folder.file("alone/nda"), &folder);
    done.refused(10, &["worker module", MODULE, "try: "]);
    assert!(!folder.file("out.wav").exists());
}

#[test]
fn a_module_that_is_none_is_told_as_such() {
    let folder = Folder::new();
    Wav::new(noises(2, 1_000)).write(&folder.file("in.wav"));
    install(&built("nda"), &folder.file("nda"));
    folder.write(MODULE, "no library");
    let done = render_by(&folder.file("nda"), &folder);
    done.refused(7, &["could not load the worker module", MODULE, "try: "]);
}
