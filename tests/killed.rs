//! Workers killed from outside: a run goes on and tells, a render ends with what it had.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::audio::noises;
use tests::config::{config, run};
use tests::leftovers::assert_reaped;
use tests::nda::{Render, Running};
use tests::plugins::{processor, tells, wait_told};
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, Signal::KILL).expect("it is ours");
}

/// Waits until the host has noticed and taken leave of it.
fn wait_reaped(pid: u32) {
    until("the host to notice", || !std::fs::exists(format!("/proc/{pid}")).expect("/proc"));
    assert_reaped(pid);
}

fn count(plugin: &Value, key: &str) -> u64 {
    plugin["counts"][key].as_u64().unwrap_or_else(|| panic!("{key} in {plugin}"))
}

#[test]
fn a_killed_worker_neither_ends_the_run_nor_touches_another_pipeline() {
    let folder = Folder::new();
    Wav::new(noises(1, 48_000)).write(&folder.file("in.wav"));
    // It tells that it goes on when it is told that the other is dead.
    let goes_on = "
flag = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'killed')
self.after = getattr(self, 'after', 0) + os.path.exists(flag)
if self.after == 20:
    open(flag + '.and_on', 'w').close()
return True";
    let healthy = processor(&folder, "healthy", goes_on);
    let victim = processor(&folder, "victim", &format!("{}return True", tells("playing", 5)));
    let pipeline = |plugin| {
        format!(
            "[[pipeline]]\nblock = 1024\nsource = {{ file = \"in.wav\", loop = true }}\nsink = \"virtual\"
             plugins = [{{ file = {plugin:?}, deadline = 0.95, restart = false }}]\n"
        )
    };
    let running = run(&config(&folder, &(pipeline(&victim) + &pipeline(&healthy))), &[]);
    let pid = wait_told(&folder, "playing");
    kill(pid);
    wait_reaped(pid);
    folder.write("killed", "");
    until("the other pipeline to go on", || folder.file("killed.and_on").exists());
    running.signal(Signal::INT);
    let done = running.wait();

    done.ended_with(9);
    let report = done.json();
    assert_eq!(report["ended_by"], "signal");
    let told = report["events"].to_string();
    assert!(told.contains("victim") && told.contains("SIGKILL"), "{told}");
    let plugin = |pipeline: usize| &report["pipelines"][pipeline]["plugins"][0];
    assert!(count(plugin(0), "gone") > 0, "{report}");
    let healthy = plugin(1);
    assert_eq!(healthy["dead"], Value::Null);
    assert_eq!(count(healthy, "failed") + count(healthy, "gone") + count(healthy, "torn"), 0, "{healthy}");
    assert!(count(healthy, "good") >= 20, "{healthy}");
}

#[test]
fn a_killed_worker_ends_a_render_with_what_it_had() {
    let folder = Folder::new();
    let wav = Wav::new(noises(1, 3_000_000));
    wav.write(&folder.file("in.wav"));
    let victim = processor(&folder, "victim", &format!("{}return True", tells("rendering", 1_000)));
    let render = Render::new(&folder, folder.file("in.wav")).plugin(victim).block(16);
    let running = Running::start(render.command());
    kill(wait_told(&folder, "rendering"));
    running.wait().refused(10, &["victim", "SIGKILL", "try: the output holds what had been processed"]);
    let heard = Wav::read(&folder.file("out.wav"));
    assert!(heard.frames() < wav.frames() && heard.frames().is_multiple_of(16), "{}", heard.frames());
    assert_eq!(heard.channels[0][..], wav.channels[0][..heard.frames()]);
}
