//! Files, configurations and devices that are not what they should be: a message that names the culprit and what
//! to do, the documented exit code, nothing left behind.

use std::path::Path;
use std::process::Command;
use tests::audio::noises;
use tests::config::{config, run};
use tests::nda::{Done, Render, Running, nda};
use tests::wav::Wav;
use tests::workspace::{Folder, shipped};

fn noise_file(folder: &Folder, frames: usize) -> Wav {
    let wav = Wav::new(noises(2, frames));
    wav.write(&folder.file("in.wav"));
    wav
}

fn render(folder: &Folder, input: &str) -> Render {
    Render::new(folder, folder.file(input)).plugin(shipped("examples/passthrough.py"))
}

/// The render was refused before it began: there is no output.
fn never_began(folder: &Folder, done: &Done, code: i32, culprits: &[&str]) {
    done.refused(code, culprits);
    assert!(!folder.file("out.wav").exists(), "an output of nothing: {done}");
}

#[test]
fn a_missing_input_is_named() {
    let folder = Folder::new();
    let done = render(&folder, "nowhere.wav").run();
    never_began(&folder, &done, 4, &["there is no audio file", "nowhere.wav", "try: check the path"]);
}

#[test]
fn an_input_that_cannot_be_read_is_named_with_the_reason() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("folder.wav")).unwrap();
    let done = render(&folder, "folder.wav").run();
    never_began(&folder, &done, 4, &["folder.wav is a folder", "try: name an audio file in it"]);
    std::os::unix::fs::symlink("nowhere", folder.file("dangling.wav")).unwrap();
    never_began(&folder, &render(&folder, "dangling.wav").run(), 4, &["dangling.wav", "try: "]);
    std::os::unix::fs::symlink("loop.wav", folder.file("loop.wav")).unwrap();
    never_began(&folder, &render(&folder, "loop.wav").run(), 4, &["loop.wav can't be opened"]);
}

#[test]
fn an_input_that_is_not_audio_is_told_for_what_it_is() {
    let folder = Folder::new();
    for (name, content, what) in [
        ("text.wav", &b"this is no audio at all"[..], "text.wav is "),
        ("empty.wav", b"", "empty.wav is "),
        ("song.wav", b"OggS and so on", "song.wav is an Ogg file"),
        ("song.mp3", b"\xff\xfb\x90\x00 and so on", "song.mp3 is an MP3"),
    ] {
        std::fs::write(folder.file(name), content).unwrap();
        never_began(&folder, &render(&folder, name).run(), 4, &[what, "try: "]);
    }
}

#[test]
fn a_wav_without_a_frame_is_refused() {
    let folder = Folder::new();
    Wav::new(vec![vec![]]).write(&folder.file("silent.wav"));
    never_began(
        &folder,
        &render(&folder, "silent.wav").run(),
        4,
        &["silent.wav has no audio in it", "try: "],
    );
}

#[test]
fn a_truncated_wav_is_rendered_as_far_as_it_goes_with_a_warning() {
    let folder = Folder::new();
    let mut wav = noise_file(&folder, 3_000);
    let whole = std::fs::read(folder.file("in.wav")).unwrap();
    // 1000 frames of two floats behind 44 bytes of header, and half a frame.
    std::fs::write(folder.file("in.wav"), &whole[..44 + 8_004]).unwrap();
    let (done, report) = render(&folder, "in.wav").reported();
    done.ended_with(0);
    let told = report["events"].to_string();
    assert!(told.contains("in.wav: truncated: header says 3000 frames, 1000 are there"), "{told}");
    done.and_said("truncated: header says 3000 frames");
    wav.channels.iter_mut().for_each(|channel| channel.truncate(1_000));
    assert_eq!(Wav::read(&folder.file("out.wav")), wav);
}

#[test]
fn a_block_below_16_or_above_8192_frames_is_a_wrong_command_line() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    for block in [0, 15, 8193] {
        let done = render(&folder, "in.wav").block(block).run();
        never_began(&folder, &done, 2, &["--block", "it must be 16 to 8192"]);
    }
}

#[test]
fn a_plugin_file_that_is_not_there_or_a_folder_is_named() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let with = |name: &str| Render::new(&folder, folder.file("in.wav")).plugin(folder.file(name)).run();
    never_began(&folder, &with("nowhere.py"), 3, &["nowhere.py does not exist", "try: check the path"]);
    std::fs::create_dir(folder.file("folder.py")).unwrap();
    never_began(&folder, &with("folder.py"), 3, &["folder.py is a folder", "name the .py file in it"]);
}

#[test]
fn a_plugin_that_is_not_a_python_file_is_a_wrong_command_line() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    folder.write("plugin.txt", "print('hello')");
    let done = Render::new(&folder, folder.file("in.wav")).plugin(folder.file("plugin.txt")).run();
    never_began(&folder, &done, 2, &["plugin.txt", "must end in .py"]);
}

#[test]
fn a_parameter_that_the_plugin_does_not_know_is_named_with_its_value() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let gain = shipped("examples/simple_gain.py");
    for (key, value) in [("volume", "0.5"), ("gain", "loud")] {
        let done = Render::new(&folder, folder.file("in.wav")).plugin(&gain).set(key, value).run();
        let culprits = [&format!("does not accept parameter `{key}`"), "simple_gain.py", value, "try: check"];
        never_began(&folder, &done, 6, &culprits);
    }
}

/// A configuration that is refused with a fault at this place.
fn faulty(text: &str, faults: &[&str]) {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let config = folder.write("nda.toml", text);
    let done = run(&config, &[]).wait();
    let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
    done.refused(3, &[&format!("nda.toml has {count}")]);
    for fault in faults {
        done.and_said(&format!("nda.toml:{fault}"));
    }
}

#[test]
fn an_unknown_key_is_told_with_line_and_column_and_the_nearest_known_one() {
    faulty(
        "[[pipeline]]\nsource = \"in.wav\"\nsinc = \"virtual\"",
        &["3:1: `sinc` is not a key of a pipeline"],
    );
    faulty(
        "blok = 64\n[[pipeline]]\nsource = \"in.wav\"\n  sink = \"virtual\"",
        &["1:1: `blok` is not a key"],
    );
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once() {
    let text = "rate = 1\n[[pipeline]]\nsource = \"nowhere.wav\"\nsink = \"out.mp3\"
plugins = [\"missing.py\", { builtin = \"reverb\" }]\n[[pipeline]]\nname = 7";
    faulty(
        text,
        &[
            "1:8: `rate` is 1",
            "3:10: there is no audio file",
            "4:8: \"out.mp3\" can't be written",
            "5:12: there is no plugin",
            "5:38: `builtin` is",
            "6:1: this pipeline has no `source`",
            "7:8: `name` ",
        ],
    );
}

#[test]
fn contradictions_in_a_configuration_are_faults() {
    let plugin = format!("file = {:?}", shipped("examples/passthrough.py"));
    let with = |options: &str| {
        format!(
            "[[pipeline]]\nsource = \"in.wav\"\nsink = \"virtual\"\n[[pipeline.plugins]]\n{plugin}\n{options}"
        )
    };
    faulty(&with("mode = \"pipelined\"\ndeadline = 0.5"), &["7:12: a pipelined plugin is never waited for"]);
    faulty(&with("fail_closed = true\nlost = \"hold\""), &["7:8: `fail_closed` makes a lost block silent"]);
    faulty("[[pipeline]]\nsource = \"in.wav\"\nsink = \"in.wav\"", &["3:8: "]);
    faulty("[[pipeline]]\nsource = \"in.wav\"\nsink = \"out.wav\"\nrecord = \"out.wav\"", &["4:10: "]);
    faulty(
        "[[pipeline]]\nsource = { file = \"in.wav\", device = \"virtual\" }\nsink = \"virtual\"",
        &["2:10: "],
    );
}

#[test]
fn a_configuration_that_is_not_there_or_not_toml_is_told_so() {
    let folder = Folder::new();
    let missing = folder.file("nowhere.toml");
    run(&missing, &[]).wait().refused(3, &["there is no configuration file", "nowhere.toml", "try: "]);
    run(folder.path(), &[]).wait().refused(3, &["is a folder, not a configuration file", "try: "]);
    faulty("[[pipeline]\nsource = 1", &["1:"]);
    let binary = folder.file("binary.toml");
    std::fs::write(&binary, b"source = \"\xff\xfe\"").unwrap();
    run(&binary, &[]).wait().refused(3, &["binary.toml:1:11: this is not UTF-8 text"]);
}

#[test]
fn a_map_that_names_a_channel_that_is_not_there_is_refused_with_those_that_are() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let sink = "sink = { device = \"virtual\", map = [1, 3] }";
    let config = config(&folder, &format!("[[pipeline]]\nsource = \"in.wav\"\nchannels = 2\n{sink}"));
    let what = "error: sink virtual: the map names channel 3, and there are 2";
    run(&config, &[]).wait().refused(3, &[what, "try: let `map` name channels 1 to 2"]);
}

#[test]
fn of_several_pipelines_the_one_that_can_not_be_opened_is_named_once_and_so_is_the_end_that_is_wrong() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let good = "[[pipeline]]\nname = \"rx\"\nsource = \"in.wav\"\nsink = \"virtual\"\n";
    for (ends, what) in [
        (
            "source = { file = \"in.wav\", map = [1, 3] }\nsink = { device = \"virtual\", map = [1, 2] }",
            ["error: tx: source /", "/in.wav: the map names channel 3, and there are 2"],
        ),
        (
            "source = \"in.wav\"\nsink = \"out.wav\"\nrecord = { file = \"rec.wav\", map = [3] }",
            ["error: tx: record /", "/rec.wav: the map names channel 3, and there are 2"],
        ),
        ("source = \"in.wav\"\nsink = \"device:Nowhere 9\"", ["error: tx: ", "Nowhere 9"]),
    ] {
        let text = format!("{good}[[pipeline]]\nname = \"tx\"\nchannels = 2\n{ends}\n");
        let done = run(&config(&folder, &text), &[]).wait();
        what.iter().chain(&["  try: "]).for_each(|words| _ = done.and_said(words));
        assert_eq!(done.stderr.matches("tx: ").count(), 1, "{done}");
    }
}

#[test]
fn a_device_that_does_not_exist_is_named() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    for end in [
        "source = \"in.wav\"\nsink = \"device:Nowhere 9\"",
        "source = \"device:Nowhere 9\"\nsink = \"virtual\"",
    ] {
        let config = config(&folder, &format!("[[pipeline]]\n{end}"));
        run(&config, &[]).wait().refused(8, &["Nowhere 9", "try: "]);
    }
}

#[test]
fn the_default_device_is_refused_where_there_is_no_sound_card_and_the_fallback_plays() {
    let folder = Folder::new();
    let wav = noise_file(&folder, 5_000);
    let devices = nda(["devices"]);
    devices.ended_with(0);
    if !devices.stdout.contains("no sound card found") {
        assert!(devices.stdout.contains("default"), "a card, but no default: {devices}");
        return;
    }
    let plain = config(&folder, "[[pipeline]]\nsource = \"in.wav\"\nsink = \"default\"");
    run(&plain, &[]).wait().refused(8, &["try: "]);
    let text = "[[pipeline]]\nsource = \"in.wav\"\nrecord = \"out.wav\"
                sink = { device = \"default\", fallback = \"virtual\" }";
    let log = folder.file("nda.log");
    let done = run(&config(&folder, text), &["--log", log.to_str().unwrap()]).wait();
    done.ended_with(0);
    let told = done.json()["events"].to_string();
    assert!(told.contains("the virtual device plays until it is there"), "{told}");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("warning the virtual device plays until it is there: no sound card"), "{log}");
    assert_eq!(Wav::read(&folder.file("out.wav")), wav);
    let text = "[[pipeline]]\nsource = { device = \"default\", fallback = \"virtual\" }\nsink = \"virtual\"";
    let done = run(&config(&folder, text), &["--for", "0.1"]).wait();
    done.ended_with(0);
    let told = done.json()["events"].to_string();
    assert!(told.contains("the input is silent until it is there"), "{told}");
}

#[test]
fn an_output_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let into = |name: &str| render(&folder, "in.wav").into_file(folder.file(name)).run();
    into("nowhere/out.wav").refused(5, &["there is no folder to write", "nowhere/out.wav", "try: "]);
    std::fs::create_dir(folder.file("out.wav")).unwrap();
    into("out.wav").refused(5, &["out.wav is a folder", "try: name a file in it"]);
    into("in.wav/out.wav").refused(5, &["in.wav/out.wav"]);
}

/// A shell that lets no file grow beyond so many kibibytes and then becomes this command.
fn with_file_limit(kib: u32, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    // Ignored, the signal of a file that is too large becomes an error; the limit counts 512-byte blocks.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
    shell.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    shell.env_remove("VIRTUAL_ENV");
    shell
}

/// The file holds the first frames of `wav`, whole.
fn assert_beginning(path: &Path, wav: &Wav) {
    let written = Wav::read(path);
    assert!(written.frames() > 0 && written.frames() < wav.frames(), "{} frames", written.frames());
    for (written, whole) in written.channels.iter().zip(&wav.channels) {
        assert_eq!(written[..], whole[..written.len()]);
    }
}

#[test]
fn a_render_onto_a_full_disk_leaves_what_fitted() {
    let folder = Folder::new();
    let wav = noise_file(&folder, 400_000);
    let command = render(&folder, "in.wav").command();
    let done = Running::start(with_file_limit(1_024, &command)).wait();
    done.refused(5, &["out.wav could not be written to its end", "kept", "which can be played", "try: "]);
    assert_beginning(&folder.file("out.wav"), &wav);
}

/// Whether this user can have mounts of his own.
fn can_mount() -> bool {
    let probe = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).output();
    probe.is_ok_and(|probe| probe.status.success())
}

/// A shell that mounts a disk of 512 KiB on a folder for this command alone, and copies what it left there.
fn with_small_disk(disk: &Path, command: &Command) -> Command {
    let mut shell = Command::new("unshare");
    let script = "mount -t tmpfs -o size=512k small \"$0\" || exit 99
                  \"$@\"; code=$?; cp \"$0/out.wav\" \"$0.wav\"; exit $code";
    shell.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(disk);
    shell.arg(command.get_program()).args(command.get_args()).env_remove("VIRTUAL_ENV");
    shell
}

#[test]
fn a_render_onto_a_disk_that_is_full_says_so() {
    if !can_mount() {
        // The test with a limit on the file's size looks at the same, without the word for it.
        assert!(!rustix::process::geteuid().is_root(), "root should be able to mount");
        return;
    }
    let folder = Folder::new();
    let wav = noise_file(&folder, 400_000);
    let disk = folder.file("disk");
    std::fs::create_dir(&disk).unwrap();
    let command = render(&folder, "in.wav").into_file(disk.join("out.wav")).command();
    let done = Running::start(with_small_disk(&disk, &command)).wait();
    done.refused(5, &["out.wav", "the disk is full", "kept", "try: free space there"]);
    assert_beginning(&folder.file("disk.wav"), &wav);
}

#[test]
fn a_run_onto_a_full_disk_plays_on_and_tells_that_the_file_has_a_gap() {
    let folder = Folder::new();
    let wav = noise_file(&folder, 60_000);
    let text = "[[pipeline]]\nsource = \"in.wav\"\nsink = \"virtual\"\nrecord = \"out.wav\"";
    let config = config(&folder, text);
    let command = tests::nda::command(["run", config.to_str().unwrap(), "--json", "-"]);
    let done = Running::start(with_file_limit(128, &command)).wait();
    done.ended_with(9);
    let report = done.json();
    assert!(report["pipelines"][0]["frames"].as_u64().unwrap() >= 60_000, "{report}");
    let damaged = report["damaged"].to_string();
    assert!(damaged.contains("out.wav could not be written to its end"), "{damaged}");
    assert_beginning(&folder.file("out.wav"), &wav);
}

#[test]
fn a_wrong_command_line_is_told_with_where_to_read_on() {
    for words in [&["sing"][..], &["render", "a.wav"], &["run"], &["run", "a.toml", "--for", "soon"]] {
        let done = nda(words);
        done.ended_with(2).and_said("nda: error: ").and_said("try '--help'");
    }
    nda(["render", "a", "b", "--set", "x=1"]).refused(2, &["--set stands before any --plugin"]);
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_starts() {
    let folder = Folder::new();
    noise_file(&folder, 100);
    let done = render(&folder, "in.wav").option("--json", folder.file("nowhere/report.json")).run();
    never_began(&folder, &done, 5, &["report.json can't be written", "try: "]);
}

#[test]
fn an_input_that_breaks_off_in_the_middle_leaves_what_came_before() {
    let folder = Folder::new();
    let song = std::fs::read(tests::workspace::song()).unwrap();
    let mut broken = song.clone();
    broken.truncate(song.len() / 2);
    std::fs::write(folder.file("broken.flac"), broken).unwrap();
    let done = render(&folder, "broken.flac").run();
    let whole = Render::new(&folder, tests::workspace::song()).into_file(folder.file("whole.wav")).heard();
    done.refused(4, &["broken.flac is damaged at frame", "the file ends too early", "try: "]);
    assert_beginning(&folder.file("out.wav"), &whole);
}
