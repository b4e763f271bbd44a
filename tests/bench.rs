//! `nda bench` in short: what it says it measures is measured, and nothing is left behind. Times are not judged.
//!
//! Needs `cargo build -p benches` beside the program and the worker.

use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use tests::leftovers::{assert_no_worker_of, workers_of};
use tests::nda::{Done, Running, command};
use tests::plugins::processor;
use tests::until::until;
use tests::workspace::{Folder, python};

/// Runs it with so few blocks that it takes seconds.
fn bench<'a>(words: impl IntoIterator<Item = &'a str>) -> Done {
    let mut bench = command(["bench", "--blocks", "20", "--json", "-", "--python"]);
    bench.arg(python()).args(words);
    Running::start(bench).wait()
}

fn series(run: &Value) -> &[Value] {
    run["series"].as_array().expect("series")
}

fn text<'a>(series: &'a Value, key: &str) -> &'a str {
    series["variant"][key].as_str().expect("a word")
}

fn ns(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("{key} in {figures}"))
}

/// The figures of one series: as many blocks as were asked for, in an order that figures of times have.
#[track_caller]
fn assert_figures(series: &Value) {
    let times = &series["times"];
    assert_eq!(times["count"], 20, "{series}");
    let rising = ["min_ns", "p50_ns", "p99_ns", "p999_ns", "max_ns"].map(|key| ns(times, key));
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{series}");
    assert!((rising[0]..=rising[4]).contains(&ns(times, "mean_ns")), "{series}");
    let counts = times["histogram"].as_array().expect("a histogram");
    assert_eq!(counts.iter().map(|bucket| bucket[1].as_u64().unwrap_or(0)).sum::<u64>(), 20);
    assert_eq!(series["turns_p50_ns"].as_array().map(Vec::len), Some(10), "{series}");
}

/// Names that shared memory has been given and not been rid of.
fn names() -> BTreeSet<String> {
    let folder = Path::new("/dev/shm").read_dir().into_iter().flatten().flatten();
    let names = folder.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("shmem_")).collect()
}

#[test]
fn plugins_and_what_they_are_compared_with_are_measured_in_one_run_and_leave_nothing_behind() {
    let before = names();
    let run = bench(["--only", "2x64"]).ended_with(0).json();
    let what: BTreeSet<_> = series(&run).iter().map(|series| text(series, "what")).collect();
    let expected = ["eventfd", "floor", "in-process", "isolated", "pipe", "raw-sync", "unix-socket"];
    assert!(what.into_iter().eq(expected), "{run}");
    for plugin in ["sine_wave_source", "null_sink", "passthrough", "simple_gain"] {
        for what in ["isolated", "in-process"] {
            for pace in ["back-to-back", "paced"] {
                let is_it = |series: &&Value| {
                    [text(series, "plugin"), text(series, "what"), text(series, "pace")]
                        == [plugin, what, pace]
                };
                assert!(series(&run).iter().any(|series| is_it(&series)), "{plugin} {what} {pace} in {run}");
            }
        }
    }
    let floor = series(&run).iter().find(|series| text(series, "what") == "floor").expect("a floor");
    for series in series(&run) {
        assert_figures(series);
        let ratio = ns(&series["times"], "p50_ns") / ns(&floor["times"], "p50_ns");
        assert!(ratio.is_finite() && ratio > 0.0, "{series}");
    }
    assert_eq!(names(), before);
}

#[test]
fn of_an_isolated_block_it_is_known_where_the_time_went_and_of_its_worker_what_it_has_in_memory() {
    let only = ["--only", "isolated", "--only", "passthrough", "--only", "2x512", "--only", "parked"];
    let run = bench(only.into_iter().chain(["--quick", "--only", "one-core", "--only", "back-to-back"]));
    let run = run.ended_with(0).json();
    let same_block = |n: u64| {
        let is_it = |v: &Value| v["mode"] == "same-block" && v["chain"] == n;
        series(&run).iter().find(|series| is_it(&series["variant"])).expect("a chain")
    };
    let one = same_block(1);
    let parts = one["parts"].as_array().expect("parts");
    let names: Vec<_> = parts.iter().map(|part| part["ends_with"].as_str().expect("a name")).collect();
    assert_eq!(names, ["written", "woken", "Python entered", "Python left", "noticed", "copied"]);
    // The parts of each block add up to its time; their medians come near that.
    let sum: f64 = parts.iter().map(|part| ns(part, "p50_ns")).sum();
    assert!(sum > 0.0 && sum <= ns(&one["times"], "max_ns") * 2.0, "{one}");
    assert!(one["memory"]["resident_bytes"].as_u64() > one["memory"]["proportional_bytes"].as_u64(), "{one}");
    for chain in [2, 4, 8, 16] {
        let series = same_block(chain);
        assert_figures(series);
        // Added up over all plugins, and the time at each.
        assert_eq!(series["parts"].as_array().map(Vec::len), Some(names.len()), "{series}");
        assert_eq!(series["by_plugin_p50_ns"].as_array().map(|at| at.len() as u64), Some(chain), "{series}");
    }
}

#[test]
fn calls_and_arithmetic_in_python_have_turns_with_the_others() {
    for what in ["no-op", "plain-numpy"] {
        let run = bench(["--quick", "--only", what]).ended_with(0).json();
        assert_eq!(series(&run).len(), 1, "{run}");
        assert_figures(&series(&run)[0]);
    }
}

#[test]
fn the_users_plugin_is_measured_with_its_parameters() {
    let folder = Folder::new();
    let body = "return True";
    let plugin = processor(&folder, "mine", body);
    let file = plugin.to_str().expect("UTF-8");
    let run = bench([file, "--quick", "--only", "2x128", "--only", "back-to-back"]).ended_with(0).json();
    let mine = series(&run).iter().filter(|series| text(series, "plugin") == "mine");
    assert_eq!(mine.map(|series| text(series, "what")).collect::<Vec<_>>(), ["isolated", "in-process"]);
    bench([file, "--set", "no=such", "--quick"]).ended_with(6).and_said("mine");
}

#[test]
fn several_pipelines_at_once_have_the_blocks_of_all() {
    let run = bench(["--only", "pipelines-3", "--only", "back-to-back", "--only", "passthrough"])
        .ended_with(0)
        .json();
    assert_eq!(series(&run).len(), 1, "{run}");
    assert_eq!(series(&run)[0]["times"]["count"], 60);
}

#[test]
fn a_run_is_told_shown_as_a_page_and_held_against_one_of_before() {
    let folder = Folder::new();
    let names = ["run.json", "run.html", "rubbish.json", "better.json"];
    let [json, html, rubbish, better] = names.map(|name| folder.file(name));
    let (json, html) = (json.to_str().expect("UTF-8"), html.to_str().expect("UTF-8"));
    let python = python();
    let nda = |words: &[&str]| {
        let mut nda = command(["bench", "--quick", "--blocks", "20", "--only", "paced", "--python"]);
        nda.arg(&python).args(words);
        Running::start(nda).wait()
    };
    let told = nda(&["--json", json, "--html", html]);
    told.ended_with(0);
    assert!(told.stdout.contains("floor") && told.stdout.contains("passthrough"), "{told}");
    let page = std::fs::read_to_string(html).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg"), "{page}");
    // So few blocks say nothing: only that two runs were compared is asked for.
    let compared = nda(&["--check", json]);
    assert!([Some(0), Some(9)].contains(&compared.code) && compared.stdout.contains("before"), "{compared}");
    // As if bare processes had taken a thousand times as long: beside that every isolated plugin was quick, by more
    // than the turns of a busy machine differ. Nothing else is compared.
    let mut before: Value =
        serde_json::from_str(&std::fs::read_to_string(json).expect("a run")).expect("JSON");
    let of_before = before["series"].as_array_mut().expect("series");
    of_before.retain(|series| ["floor", "isolated"].contains(&text(series, "what")));
    for series in of_before {
        let factor = if series["variant"]["what"] == "floor" { 1000 } else { 1 };
        let p50_ns = series["times"]["p50_ns"].as_u64().expect("a time") * factor;
        series["times"]["p50_ns"] = p50_ns.into();
        for turn in series["turns_p50_ns"].as_array_mut().expect("turns") {
            *turn = p50_ns.into();
        }
    }
    std::fs::write(&better, before.to_string()).expect("a file");
    let worse = nda(&["--check", better.to_str().expect("UTF-8")]);
    assert!(worse.ended_with(9).stdout.contains("REGRESSED: "), "{worse}");
    std::fs::write(&rubbish, "{}").expect("a file");
    nda(&["--check", rubbish.to_str().expect("UTF-8")]).refused(4, &["rubbish.json"]);
    nda(&["--html", "/nowhere/x.html"]).refused(5, &["/nowhere/x.html"]);
}

#[test]
fn a_check_that_could_judge_nothing_is_not_passed_and_says_why() {
    let folder = Folder::new();
    let json = folder.file("floor.json");
    let json = json.to_str().expect("UTF-8");
    let floor = |words: [&str; 2]| {
        let mut nda = command(["bench", "--quick", "--blocks", "20", "--only", "floor", "--only", "2x512"]);
        nda.arg("--python").arg(python()).args(words);
        Running::start(nda).wait()
    };
    floor(["--json", json]).ended_with(0);
    // What bare processes take is no figure of this project's: it is never judged.
    let checked = floor(["--check", json]);
    checked.ended_with(9);
    assert!(checked.stdout.contains("NOTHING JUDGED: the "), "{checked}");
}

#[test]
fn what_is_wrong_is_said() {
    bench(["--only", "nothing"]).ended_with(3).and_said("nothing to measure").and_said("passthrough");
    bench(["--set", "x=1"]).ended_with(2).and_said("PLUGIN");
    bench(["missing.py", "--quick"]).ended_with(3).and_said("missing.py");
}

#[test]
fn killed_outright_it_leaves_no_file_and_no_worker() {
    let folder = Folder::new();
    let mut bench = command(["bench", "--quick", "--python"]);
    bench.arg(python()).env("TMPDIR", folder.path());
    let running = Running::start(bench);
    let files = || std::fs::read_dir(folder.path()).expect("a folder").count();
    until("it measures", || files() > 0 && !workers_of(running.pid()).is_empty());
    running.signal(Signal::KILL);
    let (pid, _) = running.wait_alone();
    until("the warden to take its files away", || files() == 0);
    assert_no_worker_of(pid);
}
