//! Being told to end: in order, with every file whole and nobody left behind.

use host::audio_file::Bits;
use host::crash;
use host::error::Kind;
use host::plugin::spec::PluginSpec;
use host::render::RenderSpec;
use host::supervisor::Supervisor;
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tests::audio::noises;
use tests::config::{config, run};
use tests::gate::Gate;
use tests::leftovers::{assert_all_end, assert_reaped, workers_of};
use tests::nda::{Done, Render, Running, command, hearing_hangups};
use tests::plugins::{processor, processor_with, tells, wait_told};
use tests::until::{DEADLINE, process_ends, readable, until};
use tests::wav::Wav;
use tests::workspace::{Folder, python};

/// Without a clock it takes minutes to play, through blocks of 16 seconds to render.
fn long_file(folder: &Folder) -> (PathBuf, Wav) {
    let path = folder.file("in.wav");
    let wav = Wav::new(noises(1, 3_000_000));
    wav.write(&path);
    (path, wav)
}

/// A configuration that plays the file through a plugin of this body into `out.wav`.
fn playing(folder: &Folder, plugin: &PathBuf) -> PathBuf {
    config(
        folder,
        &format!(
            "[[pipeline]]\nblock = 1024\nsource = \"in.wav\"\nplugins = [{plugin:?}]\nsink = \"out.wav\""
        ),
    )
}

fn ends_a_run_in_order(signal: Signal) {
    ends_in_order(|command| (Running::start(command), ()), |running, ()| running.signal(signal));
}

/// A run that is started and ended like this.
fn ends_in_order<T>(start: impl FnOnce(Command) -> (Running, T), end: impl FnOnce(&Running, T)) {
    let folder = Folder::new();
    let (_, wav) = long_file(&folder);
    let plugin = processor(&folder, "teller", &format!("{}return True", tells("playing", 10)));
    let json = folder.file("report.json");
    let config = playing(&folder, &plugin);
    let words = ["run", config.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let (running, held) = start(command(words));
    let worker = wait_told(&folder, "playing");
    end(&running, held);
    let done = running.wait();
    done.ended_with(0);
    assert!(process_ends(worker, std::time::Duration::ZERO), "the worker is alive");
    assert!(done.stdout.contains("teller"), "no report: {done}");

    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["ended_by"], "signal");
    let heard = Wav::read(&folder.file("out.wav"));
    let reported = report["pipelines"][0]["frames"].as_u64().unwrap();
    // The device goes on for a moment after the last look at its frames.
    assert!(heard.frames() as u64 >= reported.max(10 * 1024), "{} of {reported}", heard.frames());
    assert!(heard.frames().is_multiple_of(1024));
    assert!(heard.frames() < wav.frames());
}

#[test]
fn sigint_ends_a_run_in_order() {
    ends_a_run_in_order(Signal::INT);
}

#[test]
fn sigterm_ends_a_run_in_order() {
    ends_a_run_in_order(Signal::TERM);
}

#[test]
fn a_run_whose_terminal_is_closed_ends_in_order_wherever_its_words_go() {
    let start = |command| Running::start_at_terminal(&command, "< /dev/null");
    ends_in_order(start, |_, terminal| drop(terminal));
}

/// Answers what the screen asks its terminal until it is drawn, with its cursor hidden.
fn wait_drawn(terminal: &mut File) {
    const WHERE_IS_THE_CURSOR: &str = "\x1b[6n";
    let deadline = Instant::now() + DEADLINE;
    let (mut shown, mut piece, mut answered) = (String::new(), [0; 4096], 0);
    while !(shown.contains("\x1b[?25l") && shown.contains("teller")) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(readable(terminal, left), "never drawn: {shown:?}");
        let length = terminal.read(&mut piece).unwrap();
        shown += &String::from_utf8_lossy(&piece[..length]);
        let asked = shown.matches(WHERE_IS_THE_CURSOR).count();
        for _ in answered..asked {
            terminal.write_all(b"\x1b[1;1R").unwrap();
        }
        answered = asked;
    }
}

#[test]
fn a_run_whose_live_screen_is_closed_ends_in_order() {
    let folder = Folder::new();
    long_file(&folder);
    let plugin = processor(&folder, "teller", "return True");
    let (config, json) = (playing(&folder, &plugin), folder.file("report.json"));
    let mut command = command(["run", config.to_str().unwrap(), "--json", json.to_str().unwrap()]);
    command.env("TERM", "xterm");
    let (running, mut terminal) = Running::start_at_terminal(&command, "> /dev/tty 2>&1");
    wait_drawn(&mut terminal);
    drop(terminal);
    running.wait().ended_with(0);
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["ended_by"], "signal");
}

fn interrupts_a_render(signal: Signal) {
    let folder = Folder::new();
    let (path, wav) = long_file(&folder);
    let plugin = processor(&folder, "teller", &format!("{}return True", tells("rendering", 1_000)));
    let render = Render::new(&folder, path).plugin(plugin).block(16);
    let running = Running::start(hearing_hangups(&render.command()));
    wait_told(&folder, "rendering");
    running.signal(signal);
    running.wait().ended_with(130);
    let heard = Wav::read(&folder.file("out.wav"));
    assert!(heard.frames() < wav.frames() && heard.frames().is_multiple_of(16), "{}", heard.frames());
    assert_eq!(heard.channels[0][..], wav.channels[0][..heard.frames()]);
}

#[test]
fn sigint_interrupts_a_render_and_leaves_a_valid_file() {
    interrupts_a_render(Signal::INT);
}

#[test]
fn sigterm_interrupts_a_render_and_leaves_a_valid_file() {
    interrupts_a_render(Signal::TERM);
}

#[test]
fn sighup_interrupts_a_render_and_leaves_a_valid_file() {
    interrupts_a_render(Signal::HUP);
}

#[test]
fn a_render_without_plugins_tells_its_progress_and_can_be_interrupted() {
    let folder = Folder::new();
    let (input, wav) = long_file(&folder);
    let output = folder.file("out.wav");
    let (elements, bits, reports) = (Vec::new(), Bits::F32, None);
    let spec = RenderSpec { input, output, elements, block_frames: 16, bits, reports };
    let stop = AtomicBool::new(false);
    let mut told = Vec::new();
    let mut progress = |done, _| {
        told.push(done);
        stop.store(told.len() == 3, Ordering::Relaxed);
    };
    let report = host::render::render(&spec, &stop, &mut progress, &mut |_| {}).unwrap();
    assert!(report.interrupted && report.written);
    assert!(told.len() == 3 && told.is_sorted_by(|a, b| a < b), "{told:?}");
    let heard = Wav::read(&spec.output);
    assert_eq!(heard.frames() as u64, report.frames);
    assert!(heard.frames() < wav.frames(), "{} frames", heard.frames());
    assert_eq!(heard.channels[0][..], wav.channels[0][..heard.frames()]);
}

#[test]
fn sigint_interrupts_a_render_whose_plugin_hangs() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let (path, wav) = long_file(&folder);
    let hang = format!("{}    open({:?}).read()\nreturn True", tells("hanging", 100), gate.path());
    let render = Render::new(&folder, path).plugin(processor(&folder, "hangs", &hang)).block(512);
    let running = Running::start(render.command());
    wait_told(&folder, "hanging");
    running.signal(Signal::INT);
    running.wait().ended_with(130);
    let heard = Wav::read(&folder.file("out.wav"));
    assert!(heard.frames() <= 99 * 512, "{}", heard.frames());
    assert_eq!(heard.channels[0][..], wav.channels[0][..heard.frames()]);
}

#[test]
fn a_run_ends_although_a_plugin_hangs_in_a_block_or_in_stop() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    long_file(&folder);
    let hang = format!("open({:?}).read()", gate.path());
    let in_block = format!("{}    {hang}\nreturn True", tells("block", 5));
    let in_stop = format!("def stop(self):\n    {hang}");
    let in_block = processor(&folder, "in_block", &in_block);
    let teller = format!("{}return True", tells("stop", 5));
    let in_stop = processor_with(&folder, "in_stop", &teller, &in_stop);
    for (plugin, word) in [(in_block, "block"), (in_stop, "stop")] {
        let running = run(&playing(&folder, &plugin), &[]);
        wait_told(&folder, word);
        running.signal(Signal::INT);
        let done = running.wait();
        // It had to be killed: that is a failure of the plugin, and told.
        done.ended_with(9);
        let report = done.json();
        let told = report["unwilling"].to_string();
        assert!(told.contains("was ended by the host: still stopping") && told.contains(word), "{told}");
        let [kept] = &crash::list(&folder.file("reports"))[..] else { panic!("one report: {told}") };
        assert!(told.contains("; report: ") && kept.ended.contains("still stopping"), "{kept:?}");
        let stacks = std::fs::read_to_string(kept.path.join("traceback.txt")).unwrap();
        assert!(stacks.contains(word), "{stacks}");
        std::fs::remove_dir_all(&kept.path).unwrap();
        assert_eq!(report["damaged"], serde_json::json!([]));
        assert!(Wav::read(&folder.file("out.wav")).frames() >= 5 * 1024);
    }
}

/// A plugin that says that it is being imported and then waits at the gate.
fn importing_for_ever(folder: &Folder, gate: &Gate) -> PathBuf {
    let here = folder.file("importing").display().to_string();
    tests::plugins::module(
        folder,
        "imports",
        &format!("open({here:?}, 'w').close()\nopen({:?}).read()", gate.path()),
    )
}

/// Waits until it is being imported, and ends the program with SIGTERM.
fn terminated_while_importing(folder: &Folder, running: Running) -> Done {
    until("the import", || folder.file("importing").exists());
    let workers = workers_of(running.pid());
    assert!(!workers.is_empty());
    running.signal(Signal::TERM);
    let (_, done) = running.wait_alone();
    workers.into_iter().for_each(assert_reaped);
    assert_eq!(crash::list(&folder.file("reports")), [], "nobody has died who was not asked to");
    done
}

#[test]
fn sigterm_ends_a_run_whose_plugin_is_still_being_imported() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    long_file(&folder);
    let plugin = importing_for_ever(&folder, &gate);
    let done = terminated_while_importing(&folder, run(&playing(&folder, &plugin), &[]));
    done.ended_with(0).and_said("interrupted before it began");
    assert!(!done.stderr.contains("error"), "{done}");
    let report = done.json();
    assert_eq!((&report["ended_by"], &report["seconds"]), (&"signal".into(), &0.0.into()), "{done}");
    assert_eq!(report["pipelines"], serde_json::json!([]));
}

#[test]
fn sigterm_while_one_pipeline_starts_closes_those_before_it_and_opens_none_behind() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    long_file(&folder);
    let idle = processor(&folder, "idle", "return True");
    let importing = importing_for_ever(&folder, &gate);
    let pipelines = [(&idle, "before"), (&importing, "at"), (&idle, "behind")].map(|(plugin, name)| {
        format!("[[pipeline]]\nsource = \"in.wav\"\nplugins = [{plugin:?}]\nsink = \"{name}.wav\"\n")
    });
    let done = terminated_while_importing(&folder, run(&config(&folder, &pipelines.concat()), &[]));
    done.ended_with(0).and_said("interrupted before it began");
    assert_eq!(Wav::read(&folder.file("before.wav")).frames(), 0);
    assert!(!folder.file("at.wav").exists() && !folder.file("behind.wav").exists());
}

#[test]
fn sigterm_ends_a_render_whose_plugin_is_still_being_imported() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let (path, _) = long_file(&folder);
    let idle = processor(&folder, "idle", "return True");
    let render = Render::new(&folder, path).plugin(importing_for_ever(&folder, &gate)).plugin(idle);
    let done = terminated_while_importing(&folder, Running::start(render.command()));
    done.ended_with(130);
    let out = folder.file("out.wav");
    assert!(!out.exists() && !done.stderr.contains("error"), "{done}");
    assert_eq!(done.stdout, format!("interrupted before it began; {} was not written\n", out.display()));
}

#[test]
fn a_supervisor_that_was_told_to_leave_starts_nothing_more() {
    let folder = Folder::new();
    let spec =
        PluginSpec { python: Some(python()), ..PluginSpec::new(processor(&folder, "p", "return True")) };
    let (supervisor, _events) = Supervisor::new().unwrap();
    let worker = supervisor.spawn("one", &spec).unwrap();
    supervisor.leave();
    supervisor.leave();
    assert_eq!(supervisor.spawn("two", &spec).unwrap_err().kind(), Kind::System);
    worker.get_parameter("blocks").expect_err("it is gone, or on its way");
    let pid = worker.pid();
    drop(supervisor);
    assert_reaped(pid);
}

#[test]
fn a_second_sigint_does_not_wait_for_a_plugin_that_hangs_while_importing() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    long_file(&folder);
    let plugin = importing_for_ever(&folder, &gate);
    let running = run(&playing(&folder, &plugin), &[]);
    until("the import", || folder.file("importing").exists());
    let workers = workers_of(running.pid());
    assert_eq!(workers.len(), 1);
    until("an end", || {
        running.signal(Signal::INT);
        process_ends(running.pid(), std::time::Duration::from_millis(50))
    });
    let (_, done) = running.wait_alone();
    done.ended_with(130);
    assert_all_end(&workers);
}

#[test]
fn the_time_given_ends_a_run() {
    let folder = Folder::new();
    long_file(&folder);
    let plugin = processor(&folder, "idle", "return True");
    let done = run(&playing(&folder, &plugin), &["--for", "0.3"]).wait();
    done.ended_with(0);
    let report = done.json();
    assert_eq!(report["ended_by"], "time");
    assert!(report["seconds"].as_f64().unwrap() >= 0.3);
    assert!(Wav::read(&folder.file("out.wav")).frames() > 0);
}

#[test]
fn killed_outright_nda_takes_its_workers_with_it() {
    let folder = Folder::new();
    long_file(&folder);
    let plugin = processor(&folder, "teller", &format!("{}return True", tells("playing", 10)));
    let text = format!(
        "[[pipeline]]\nsource = \"in.wav\"\nplugins = [{plugin:?}, {plugin:?}]\nsink = \"out.wav\"
         [[pipeline]]\nsource = \"in.wav\"\nplugins = [{plugin:?}]\nsink = \"virtual\""
    );
    let running = run(&config(&folder, &text), &[]);
    wait_told(&folder, "playing");
    let workers = workers_of(running.pid());
    // One for each plugin, and perhaps a spare already.
    assert!(workers.len() >= 3, "{workers:?}");
    running.signal(Signal::KILL);
    let (_, done) = running.wait_alone();
    assert_eq!(done.code, None);
    assert_all_end(&workers);
    // Brought up to date at least once for each second of audio.
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!(heard.channels.len(), 1);
}
