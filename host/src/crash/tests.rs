//! Reports written and found again, pruned, and kept from others' eyes.

use super::*;
use crate::audio_file::AudioReader;
use crate::error::Kind;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const KEY: &str = "c2VjcmV0";

fn format() -> Format {
    Format::new(2, 16, 48_000).unwrap()
}

fn block(seq: u64, input: Option<f32>, output: Option<f32>) -> LastBlock {
    let filled = |sample| vec![sample; format().samples()];
    LastBlock { seq, input: input.map(filled), output: output.map(filled), answered: output.is_some() }
}

fn report() -> CrashReport {
    CrashReport {
        plugin: "tx/encryptor".into(),
        title: Some("Encryptor 1.0".into()),
        file: "/plugins/encryptor.py".into(),
        loaded: None,
        python: "/usr/bin/python3".into(),
        python_version: Some("3.12.1".into()),
        pid: Some(4711),
        kind: "processor".into(),
        format: format(),
        mode: "same-block".into(),
        when: "2026-03-01T12:00:00.25Z".parse().unwrap(),
        ended: "was killed by SIGSEGV (a crash in native code)".into(),
        exit_code: None,
        signal: Some(11),
        because: None,
        done: "the spare took over after 3 blocks".into(),
        good_blocks: 1041,
        counts: Counts { good: 1041, late: 2, ..Counts::default() },
        incarnation: 1,
        parameters: vec![("key".into(), Some(KEY.into())), ("gain".into(), Some("0.5".into()))],
        log: vec![LogLine { source: "stderr".into(), text: "about to\x1b[2J crash".into() }],
        traceback: "Fatal Python error: Segmentation fault\n".into(),
        plugin_time: Percentiles::default(),
        round_trip: Percentiles::default(),
        stamps: vec![BlockStamps {
            seq: 7,
            handed_ns: 1_000,
            seen_ns: Some(3_000),
            woken_ns: Some(3_500),
            entered_ns: None,
            left_ns: None,
        }],
        misses: vec![("plugin's code slow".into(), 2)],
        last_blocks: vec![block(6, Some(0.25), Some(0.5)), block(7, Some(0.75), None)],
        state: Some(b"a state".to_vec()),
    }
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn samples(folder: &Path, file: &str) -> Vec<f32> {
    let mut reader = AudioReader::open(folder.join(file)).unwrap();
    let mut samples = vec![0.0; 1000];
    let frames = reader.read(&mut samples).unwrap();
    samples.truncate(frames * 2);
    samples
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_report_is_a_folder_of_its_own_with_all_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(&dir.path().join("made/for/it"), &report()).unwrap();
    assert_eq!(folder.file_name().unwrap(), "2026-03-01T120000.250Z-tx-encryptor");
    let files = [
        "in.wav",
        "log.txt",
        "out.wav",
        "parameters.json",
        "report.json",
        "report.txt",
        "state.bin",
        "traceback.txt",
    ];
    assert_eq!(names(&folder), files);
    let json: Value = serde_json::from_str(&read(&folder, "report.json")).unwrap();
    assert_eq!((&json["plugin"], &json["signal"]), (&"tx/encryptor".into(), &11.into()));
    assert_eq!(json["when"], "2026-03-01T12:00:00.25Z");
    assert_eq!(json["format"]["block_frames"], 16);
    let given: Vec<(String, Option<String>)> =
        serde_json::from_str(&read(&folder, "parameters.json")).unwrap();
    assert_eq!(given, report().parameters);
    assert_eq!(read(&folder, "state.bin"), "a state");
    assert_eq!(read(&folder, "traceback.txt"), report().traceback);
}

#[test]
fn a_block_without_an_answer_is_silence_and_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(dir.path(), &report()).unwrap();
    assert_eq!(samples(&folder, "in.wav"), [[0.25; 32], [0.75; 32]].concat());
    assert_eq!(samples(&folder, "out.wav"), [[0.5; 32], [0.0; 32]].concat());
    let json: Value = serde_json::from_str(&read(&folder, "report.json")).unwrap();
    let last = &json["last_blocks"][1];
    assert_eq!((&last["seq"], &last["input"], &last["output"]), (&7.into(), &true.into(), &false.into()));
    assert_eq!(last["answered"], false);
}

#[test]
fn a_source_has_no_audio_that_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = vec![block(1, None, Some(0.5))];
    let folder = write(dir.path(), &CrashReport { last_blocks: blocks, ..report() }).unwrap();
    assert!(!folder.join("in.wav").exists() && folder.join("out.wav").exists());
}

#[test]
fn nobody_else_may_look_into_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(&dir.path().join("reports"), &report()).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir.path().join("reports")), mode(&folder)), (0o700, 0o700));
    for file in names(&folder) {
        assert_eq!(mode(&folder.join(&file)), 0o600, "{file}");
    }
}

#[test]
fn what_can_be_shown_to_others_holds_no_key_and_no_control_characters() {
    let dir = tempfile::tempdir().unwrap();
    let traceback = "about to \x1b[2J crash\n".into();
    let folder = write(dir.path(), &CrashReport { traceback, ..report() }).unwrap();
    for file in ["report.txt", "report.json", "log.txt", "traceback.txt"] {
        let text = read(&folder, file);
        assert!(!text.contains(KEY) && !text.contains("a state") && !text.contains('\x1b'), "{file}: {text}");
    }
}

#[test]
fn the_text_tells_a_death_on_one_screen() {
    let dir = tempfile::tempdir().unwrap();
    let many = (0..500).map(|n| LogLine { source: "stdout".into(), text: format!("line {n}") }).collect();
    let blocks = (0..100).map(|seq| block(seq, Some(0.0), None)).collect();
    let traceback = "  File \"x.py\", line 1\n".repeat(300);
    let folder = write(dir.path(), &CrashReport { log: many, last_blocks: blocks, traceback, ..report() });
    let text = read(&folder.unwrap(), "report.txt");
    assert!(text.lines().count() <= 60, "{text}");
    let short = read(&write(dir.path(), &report()).unwrap(), "report.txt");
    for words in [
        "tx/encryptor was killed by SIGSEGV (a crash in native code)\n",
        "/plugins/encryptor.py",
        "Encryptor 1.0, processor, same-block, 2 ch x 16 frames at 48000 Hz",
        "2026-03-01 12:00:00.250 UTC",
        "signal 11",
        "the spare took over after 3 blocks",
        "2 plugin's code slow",
        "key, gain (values in parameters.json)",
        "         6 answered ",
        "         7 no answer          2.0       2.5         -",
        "stderr  about to[2J crash",
        "Fatal Python error: Segmentation fault",
        "nda replay",
    ] {
        assert!(short.contains(words), "{words} is not in:\n{short}");
    }
}

#[test]
fn the_newest_twenty_are_kept_and_what_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("mine", "{}"), ("0", "no json")] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("report.json"), text).unwrap();
    }
    let paths: Vec<_> = (0..25).map(|_| write(dir.path(), &report()).unwrap()).collect();
    let kept: Vec<_> = list(dir.path()).into_iter().map(|report| report.path).collect();
    assert_eq!(kept, paths[5..]);
    assert_eq!(names(dir.path()).len(), 22, "{:?}", names(dir.path()));
}

#[test]
fn a_clock_that_went_backwards_does_not_cost_the_newest_report() {
    let dir = tempfile::tempdir().unwrap();
    (0..20).for_each(|_| drop(write(dir.path(), &report()).unwrap()));
    let earlier = CrashReport { when: "2001-01-01T00:00:00Z".parse().unwrap(), ..report() };
    let first = write(dir.path(), &earlier).unwrap();
    let second = write(dir.path(), &earlier).unwrap();
    let kept: Vec<_> = list(dir.path()).into_iter().map(|report| report.path).collect();
    assert_eq!((kept.len(), &kept[18..]), (20, &[first, second][..]));
}

#[test]
fn hosts_that_write_at_once_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let write_four = || (0..4).map(|_| write(dir.path(), &report()).unwrap()).collect::<Vec<_>>();
    let mut paths = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(write_four)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    paths.sort();
    paths.dedup();
    assert_eq!((paths.len(), list(dir.path()).len()), (16, 16));
}

#[test]
fn a_folder_that_can_not_be_made_is_an_error_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = write(&file.join("reports"), &report()).unwrap_err();
    assert_eq!(error.kind(), Kind::Output);
    assert!(
        error.to_string().contains("tx/encryptor") && error.to_string().contains("NDA_REPORTS"),
        "{error}"
    );
}

#[test]
fn a_report_is_found_by_its_folder_its_file_and_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(dir.path(), &report()).unwrap();
    let name = Path::new(folder.file_name().unwrap());
    for named in [&folder, &folder.join("report.json"), name] {
        let found = open(named, dir.path()).unwrap();
        assert_eq!((found.plugin.as_str(), found.number), ("tx/encryptor", 1));
        assert_eq!(found.path, folder.canonicalize().unwrap());
    }
}

#[test]
fn what_is_no_report_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, json: &str| {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("report.json"), json).unwrap();
    };
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    made("other", "{\"format\": 1}");
    made("newer", "{\"nda_crash_report\": 2}");
    made("damaged", "{\"nda_crash_report\": 1}");
    for (name, why) in [
        ("nowhere", "there is no report nowhere"),
        ("empty", "it has no report.json"),
        ("other", "its report.json is not one of nda's"),
        ("newer", "it has form 2, this nda reads form 1"),
        ("damaged", "its report.json is damaged or of another version"),
    ] {
        let error = open(Path::new(name), dir.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains(why), "{name}: {error}");
    }
    assert_eq!(list(dir.path()), []);
}

#[test]
fn a_plugin_that_was_edited_since_is_noticed_and_a_copy_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("echo.py");
    std::fs::write(&file, "a = 1").unwrap();
    let folder = write(dir.path(), &CrashReport { file: file.clone(), ..report() }).unwrap();
    std::fs::write(&file, "a = 1").unwrap();
    assert!(!open(&folder, dir.path()).unwrap().is_file_changed());
    std::fs::write(&file, "a = 2").unwrap();
    assert!(open(&folder, dir.path()).unwrap().is_file_changed());
    std::fs::remove_file(&file).unwrap();
    assert!(!open(&folder, dir.path()).unwrap().is_file_changed());
}

#[test]
fn reports_go_where_the_user_says_else_to_the_state_folder_else_to_a_temporary_one() {
    let place = |set: &[(&str, &str)]| {
        dir_by(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    };
    let (named, state, home) = (("NDA_REPORTS", "/n"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h"));
    assert_eq!(place(&[named, state, home]), Path::new("/n"));
    assert_eq!(place(&[state, home]), Path::new("/s/nda/reports"));
    assert_eq!(place(&[("XDG_STATE_HOME", "relative"), home]), Path::new("/h/.local/state/nda/reports"));
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(place(&[("TMPDIR", "/t")]), Path::new(&format!("/t/nda-{user}/reports")));
}
