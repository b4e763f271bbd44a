//! What a configuration may say, and what is said about one that may not.

use super::*;
use crate::audio_file::Bits;
use crate::edge::Quality;
use crate::plugin::spec::{Gc, Guard, Lost, Mode, PluginSpec, Spin, Standby};
use crate::realtime::{Affinity, Power};
use std::path::PathBuf;
use std::time::Duration;

fn good(text: &str) -> Config {
    parse(text, Path::new("/base")).unwrap()
}

/// The faults as `line:column: message`.
fn faults(text: &str) -> Vec<String> {
    parse(text, Path::new("/base")).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The only pipeline of a configuration with these lines under `[[pipeline]]`.
fn pipeline(lines: &str) -> PipelineSpec {
    good(&format!("[[pipeline]]\n{lines}")).pipelines.remove(0)
}

/// The only fault of a configuration with this as its third line, the first two being right.
fn fault(line: &str) -> String {
    let mut all = faults(&format!("[[pipeline]]\nsource = \"in.wav\"\n{line}"));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// The only fault of a configuration with this source.
fn source_fault(source: &str) -> String {
    let mut all = faults(&format!("[[pipeline]]\nsource = {source}"));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn element(entry: &str) -> ElementSpec {
    pipeline(&format!("source = \"in.wav\"\nplugins = [{entry}]")).elements.remove(0)
}

/// What is asked of a plugin in the chain with these settings.
fn plugin(settings: &str) -> PluginSpec {
    match element(&format!("{{ file = \"a.py\", {settings} }}")) {
        ElementSpec::Plugin { spec, .. } => spec,
        other => panic!("{other:?} is no plugin"),
    }
}

/// The only fault of a plugin in the chain with these settings.
fn plugin_fault(settings: &str) -> String {
    fault(&format!("plugins = [{{ file = \"a.py\", {settings} }}]"))
}

mod what_may_be_said {
    use super::*;

    #[test]
    fn four_lines_are_enough() {
        let found =
            good("[[pipeline]]\nsource = \"song.flac\"\nplugins = [\"echo.py\"]\nsink = \"virtual\"\n");
        let expected = PipelineSpec::new(SourceSpec::file("/base/song.flac"), SinkSpec::device("virtual"))
            .then(ElementSpec::plugin("/base/echo.py"));
        assert_eq!(found, Config { pipelines: vec![expected], ..Config::default() });
    }

    #[test]
    fn where_a_pipeline_runs_and_whether_processors_sleep_can_be_said() {
        let affinity = |value: &str| pipeline(&format!("source = \"in.wav\"\naffinity = {value}")).affinity;
        assert_eq!(pipeline("source = \"in.wav\"").affinity, Affinity::Auto);
        assert_eq!((affinity("\"auto\""), affinity("\"off\"")), (Affinity::Auto, Affinity::Off));
        assert_eq!(affinity("[3, 1, 3]"), Affinity::Cores(vec![3, 1]));
        let power = |line: &str| good(&format!("{line}[[pipeline]]\nsource = \"in.wav\"")).pipelines[0].power;
        assert_eq!((power(""), power("power = \"balanced\"\n")), (Power::Performance, Power::Balanced));
    }

    #[test]
    fn a_missing_sink_is_the_default_device_and_missing_plugins_are_none() {
        let found = pipeline("source = \"in.wav\"");
        assert_eq!(found.sink, SinkSpec::device("default"));
        assert_eq!(
            (found.name.as_str(), found.block_frames, found.rate, found.channels),
            ("main", 256, None, None)
        );
        assert!(found.elements.is_empty() && found.record.is_none());
    }

    #[test]
    fn a_pipeline_overrides_what_stands_at_the_top() {
        let text = "rate = 44100\nblock = 64\nchannels = 1\n\
            [[pipeline]]\nsource = \"a.wav\"\n[[pipeline]]\nsource = \"b.wav\"\nrate = 96000\nblock = 8192\nchannels = 64\n";
        let [first, second] = &good(text).pipelines[..] else { panic!("two pipelines") };
        assert_eq!((first.rate, first.block_frames, first.channels), (Some(44_100), 64, Some(1)));
        assert_eq!((second.rate, second.block_frames, second.channels), (Some(96_000), 8192, Some(64)));
    }

    #[test]
    fn pipelines_without_a_name_are_numbered_and_names_never_meet() {
        let text = "[[pipeline]]\nname = \"pipeline 2\"\nsource = \"a.wav\"\n[[pipeline]]\nsource = \"b.wav\"\n\
            [[pipeline]]\nsource = \"c.wav\"\n";
        let pipelines = good(text).pipelines;
        let names = pipelines.iter().map(|p| (p.name.as_str(), p.is_named.0)).collect::<Vec<_>>();
        assert_eq!(names, [("pipeline 2", true), ("pipeline 2-2", false), ("pipeline 3", false)]);
    }

    #[test]
    fn a_short_source_is_a_plugin_a_device_or_a_file() {
        let source = |text: &str| pipeline(&format!("source = \"{text}\"")).source;
        assert_eq!(source("sine.py"), SourceSpec::plugin("/base/sine.py"));
        assert_eq!(source("virtual"), SourceSpec::Device(DeviceSpec::new("virtual")));
        assert_eq!(source("default"), SourceSpec::Device(DeviceSpec::new("default")));
        let named = DeviceName::Named("hw:0,0".into());
        assert_eq!(
            source("device:hw:0,0"),
            SourceSpec::Device(DeviceSpec { name: named, ..DeviceSpec::new("default") })
        );
        let cable = DeviceSpec { name: DeviceName::Cable("radio".into()), ..DeviceSpec::new("virtual") };
        assert_eq!(source("virtual:radio"), SourceSpec::Device(cable));
        assert_eq!(source("jack:default"), SourceSpec::device("jack:default"));
        assert_eq!(source("./jack:default"), SourceSpec::file("/base/./jack:default"));
        assert_eq!(source("take 1"), SourceSpec::file("/base/take 1"));
        assert_eq!(source("/abs/x.wav"), SourceSpec::file("/abs/x.wav"));
    }

    #[test]
    fn a_pipeline_runs_on_the_clock_of_its_sink_unless_that_of_its_source_is_asked_for() {
        let clock = |text: &str| pipeline(&format!("source = \"virtual:radio\"\n{text}")).clock;
        assert_eq!(clock(""), Clock::Sink);
        assert_eq!(clock("clock = \"sink\""), Clock::Sink);
        assert_eq!(clock("clock = \"source\""), Clock::Source);
    }

    #[test]
    fn a_virtual_device_may_be_a_cable_and_have_a_clock_that_is_off() {
        let sink = |text: &str| pipeline(&format!("source = \"in.wav\"\nsink = {text}")).sink;
        let radio = DeviceSpec { ppm: -200, ..DeviceSpec::new("virtual:radio") };
        assert_eq!(radio.name.to_string(), "virtual:radio");
        assert_eq!(sink("\"virtual:radio\""), SinkSpec::device("virtual:radio"));
        assert_eq!(sink("{ device = \"virtual:radio\", ppm = -200 }"), SinkSpec::Device(radio));
    }

    #[test]
    fn a_device_may_have_a_rate_and_channels_of_its_own_and_rates_are_converted_as_well_as_wanted() {
        let found =
            pipeline("source = { device = \"default\", rate = 44100, map = [2, 0] }\nresampling = \"best\"");
        let device = DeviceSpec { rate: Some(44_100), map: Some(vec![2, 0]), ..DeviceSpec::new("default") };
        assert_eq!(found.source, SourceSpec::Device(device));
        assert_eq!(found.resampling, Some(Quality::Best));
        let inherited = good("resampling = \"fast\"\n[[pipeline]]\nsource = \"in.wav\"\n");
        assert_eq!(inherited.pipelines[0].resampling, Some(Quality::Fast));
        assert_eq!(pipeline("source = \"in.wav\"").resampling, None);
    }

    #[test]
    fn whatever_stands_at_an_end_may_have_its_channels_mapped() {
        let map = Some(vec![2, 0]);
        let found = pipeline(
            "source = { file = \"a.wav\", map = [2, 0] }\nsink = { file = \"o.wav\", map = [2, 0] }\n\
             record = { file = \"r.wav\", map = [2, 0] }",
        );
        let source = FileSourceSpec { map: map.clone(), ..FileSourceSpec::new("/base/a.wav") };
        let file = |name: &str| FileSinkSpec { map: map.clone(), ..FileSinkSpec::new(name) };
        assert_eq!(found.source, SourceSpec::File(source));
        assert_eq!(found.sink, SinkSpec::File(file("/base/o.wav")));
        assert_eq!(found.record, Some(file("/base/r.wav")));
        let found = pipeline(
            "source = { plugin = \"a.py\", map = [2, 0] }\nsink = { plugin = \"b.py\", map = [2, 0] }",
        );
        let mapped = |end: (&str, PluginSpec)| (end.0.to_owned(), end.1, map.clone());
        let plugin = |file| PluginSpec { lost: Lost::Mute, ..PluginSpec::new(file) };
        let SourceSpec::Plugin { name, spec, map: source_map } = found.source else { panic!() };
        assert_eq!((name, spec, source_map), mapped(("a", plugin("/base/a.py"))));
        let SinkSpec::Plugin { name, spec, map: sink_map } = found.sink else { panic!() };
        assert_eq!((name, spec, sink_map), mapped(("b", plugin("/base/b.py"))));
    }

    #[test]
    fn long_sources_say_more() {
        let source = |text: &str| pipeline(&format!("source = {text}")).source;
        let file = FileSourceSpec { repeat: true, ..FileSourceSpec::new("/base/a.wav") };
        assert_eq!(source("{ file = \"a.wav\", loop = true }"), SourceSpec::File(file));
        let device =
            DeviceSpec { buffer_frames: Some(128), fallback_virtual: true, ..DeviceSpec::new("default") };
        let text = "{ device = \"default\", buffer = 128, fallback = \"virtual\" }";
        assert_eq!(source(text), SourceSpec::Device(device));
        let text = "{ plugin = \"sine.py\", name = \"tone\", set = { frequency = \"440\" }, mode = \"pipelined\", \
            lost = \"hold\", guard = \"off\", python = \"env/bin/python\" }";
        let spec = PluginSpec {
            python: Some("/base/env/bin/python".into()),
            mode: Some(Mode::Pipelined),
            lost: Lost::Hold,
            guard: Guard::Off,
            ..PluginSpec::new("/base/sine.py").set("frequency", "440")
        };
        assert_eq!(source(text), SourceSpec::Plugin { name: "tone".into(), spec, map: None });
    }

    #[test]
    fn sinks_are_devices_files_or_plugins() {
        let sink = |text: &str| pipeline(&format!("source = \"in.wav\"\nsink = {text}")).sink;
        assert_eq!(sink("\"device:Scarlett 2i2\""), SinkSpec::device("Scarlett 2i2"));
        assert_eq!(sink("\"Out.WAV\""), SinkSpec::file("/base/Out.WAV"));
        assert_eq!(sink("\"null_sink.py\""), SinkSpec::plugin("/base/null_sink.py"));
        assert_eq!(sink("{ plugin = \"null_sink.py\" }"), SinkSpec::plugin("/base/null_sink.py"));
        for (text, bits) in
            [("16", Bits::I16), ("24", Bits::I24), ("\"32f\"", Bits::F32), ("\"16\"", Bits::I16)]
        {
            let expected = SinkSpec::File(FileSinkSpec { bits, ..FileSinkSpec::new("/base/o.wav") });
            assert_eq!(sink(&format!("{{ file = \"o.wav\", bits = {text} }}")), expected);
        }
    }

    #[test]
    fn a_recording_is_a_file_with_or_without_bits() {
        let record = |text: &str| pipeline(&format!("source = \"in.wav\"\nrecord = {text}")).record;
        assert_eq!(record("\"out.wav\""), Some(FileSinkSpec::new("/base/out.wav")));
        let expected = FileSinkSpec { bits: Bits::I24, ..FileSinkSpec::new("/base/out.wav") };
        assert_eq!(record("{ file = \"out.wav\", bits = 24 }"), Some(expected));
    }

    #[test]
    fn plugins_may_be_strings_inline_tables_or_tables() {
        let text = "source = \"in.wav\"\n[[pipeline.plugins]]\nfile = \"a.py\"\n[[pipeline.plugins]]\nbuiltin = \"meter\"\n";
        assert_eq!(pipeline(text).elements, [ElementSpec::plugin("/base/a.py"), ElementSpec::Meter]);
        assert_eq!(element("\"a.py\""), ElementSpec::plugin("/base/a.py"));
        assert_eq!(element("{ builtin = \"gain\", set = { db = \"-6\" } }"), ElementSpec::Gain { db: -6.0 });
        assert_eq!(element("{ builtin = \"gain\", set = { db = -6.5 } }"), ElementSpec::Gain { db: -6.5 });
        assert_eq!(element("{ builtin = \"gain\", set = { db = 3 } }"), ElementSpec::Gain { db: 3.0 });
    }

    #[test]
    fn a_plugin_has_all_its_settings() {
        let text = "{ file = \"b.py\", name = \"eq\", python = \"/opt/py\", set = { gain = \"0.5\" }, \
            mode = \"same-block\", deadline = 0.95, lost = \"mute\", fail_closed = true, guard = \"on\", \
            gc = \"python\", silent_warm_up = false }";
        let spec = PluginSpec {
            python: Some("/opt/py".into()),
            set: vec![("gain".into(), "0.5".into())],
            mode: Some(Mode::SameBlock),
            deadline: 0.95,
            lost: Lost::Mute,
            fail_closed: true,
            guard: Guard::On,
            gc: Gc::Python,
            silent_warm_up: Some(false),
            ..PluginSpec::new("/base/b.py")
        };
        assert_eq!(element(text), ElementSpec::Plugin { name: "eq".into(), spec });
    }

    #[test]
    fn parameters_become_text_in_the_order_they_are_written() {
        let ElementSpec::Plugin { spec, .. } = element(
            "{ file = \"a.py\", set = { z = 0.5, a = true, m = -1_000, h = 0x10, e = 1e3, s = \"x y\", n = \"\" } }",
        ) else {
            panic!("a plugin")
        };
        let set: Vec<(&str, &str)> =
            spec.set.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected =
            [("z", "0.5"), ("a", "true"), ("m", "-1000"), ("h", "16"), ("e", "1e3"), ("s", "x y"), ("n", "")];
        assert_eq!(set, expected);
    }

    #[test]
    fn plugins_of_the_same_file_get_names_of_their_own() {
        let text = "source = \"a.py\"\nplugins = [\"a.py\", { file = \"b.py\", name = \"a-2\" }, \"x/a.py\"]\nsink = \"a.py\"";
        assert_eq!(pipeline(text).plugin_names(), ["a", "a-3", "a-2", "a-4", "a-5"]);
    }

    #[test]
    fn the_nearest_interpreter_counts() {
        let text = "python = \"top/python\"\n[[pipeline]]\nsource = \"s.py\"\nplugins = [{ file = \"a.py\", python = \"python3.12\" }]\n\
            [[pipeline]]\npython = \"own/python\"\nsource = \"s.py\"\n";
        let found = good(text).pipelines;
        let python = |pipeline: &PipelineSpec| match &pipeline.source {
            SourceSpec::Plugin { spec, .. } => spec.python.clone(),
            _ => None,
        };
        assert_eq!(python(&found[0]), Some(PathBuf::from("/base/top/python")));
        assert_eq!(python(&found[1]), Some(PathBuf::from("/base/own/python")));
        let ElementSpec::Plugin { spec, .. } = &found[0].elements[0] else { panic!("a plugin") };
        assert_eq!(spec.python, Some(PathBuf::from("python3.12")), "a bare name is looked up on PATH");
    }

    #[test]
    fn a_plugin_says_how_it_is_mended() {
        let plain = PluginSpec::new("/base/a.py");
        assert_eq!(plugin(""), plain);
        for (word, standby) in [("none", Standby::None), ("spare", Standby::Spare), ("twin", Standby::Twin)] {
            let text = format!("standby = \"{word}\"");
            assert_eq!(plugin(&text), PluginSpec { standby, ..plain.clone() });
            assert_eq!(plugin(&format!("{text}, restart = true")), PluginSpec { standby, ..plain.clone() });
        }
        let ended = PluginSpec { restart: false, standby: Standby::None, ..plain.clone() };
        assert_eq!(plugin("restart = false"), ended, "nothing stands by for a plugin that isn't replaced");
        assert_eq!(plugin("restart = false, standby = \"none\""), ended);
        for (seconds, ms) in
            [("0", 0), ("0.0", 0), ("1", 1_000), ("0.1", 100), ("2.7", 2_700), ("3600", 3_600_000)]
        {
            let snapshot_every = Duration::from_millis(ms);
            let expected = PluginSpec { snapshot_every, ..plain.clone() };
            assert_eq!(plugin(&format!("snapshot_s = {seconds}")), expected);
        }
    }

    #[test]
    fn a_plugin_has_limits() {
        let plain = PluginSpec::new("/base/a.py");
        for ms in [20, 250, 600_000] {
            let expected = PluginSpec { hang_after: Some(Duration::from_millis(ms)), ..plain.clone() };
            assert_eq!(plugin(&format!("hang_ms = {ms}")), expected);
        }
        for (text, level_max_db) in [("0", 0.0), ("6.5", 6.5), ("60", 60.0)] {
            let expected = PluginSpec { level_max_db, ..plain.clone() };
            assert_eq!(plugin(&format!("level_max_db = {text}")), expected);
        }
        for (text, bytes) in [
            ("\"64M\"", 64 << 20),
            ("\"512M\"", 512 << 20),
            ("\"65536K\"", 64 << 20),
            ("\"2G\"", 2 << 30),
            ("\"2 G\"", 2 << 30),
            ("67108864", 64 << 20),
            ("0x4000000", 64 << 20),
            ("1_000_000_000", 1_000_000_000),
            ("\"1000000000\"", 1_000_000_000),
        ] {
            let expected = PluginSpec { memory_max: Some(bytes), ..plain.clone() };
            assert_eq!(plugin(&format!("memory_max = {text}")), expected, "{text}");
        }
    }

    #[test]
    fn a_plugin_keeps_its_mode_if_it_is_told_to() {
        let plain = PluginSpec::new("/base/a.py");
        let same_block = PluginSpec { mode: Some(Mode::SameBlock), ..plain.clone() };
        assert_eq!(plugin("adapt = true"), plain);
        assert_eq!(plugin("adapt = true, mode = \"same-block\""), same_block);
        assert_eq!(plugin("adapt = false"), PluginSpec { adapt: false, ..plain.clone() });
        let pipelined = PluginSpec { adapt: false, mode: Some(Mode::Pipelined), ..plain };
        assert_eq!(plugin("adapt = false, mode = \"pipelined\""), pipelined);
    }

    #[test]
    fn sources_and_sinks_are_mended_like_plugins_between_them() {
        let settings = "plugin = \"a.py\", adapt = false, restart = true, standby = \"twin\", hang_ms = 500, \
            level_max_db = 0, memory_max = \"1G\", snapshot_s = 0";
        let found = pipeline(&format!("source = {{ {settings} }}\nsink = {{ {settings} }}"));
        let spec = PluginSpec {
            lost: Lost::Mute,
            adapt: false,
            standby: Standby::Twin,
            hang_after: Some(Duration::from_millis(500)),
            level_max_db: 0.0,
            memory_max: Some(1 << 30),
            snapshot_every: Duration::ZERO,
            ..PluginSpec::new("/base/a.py")
        };
        assert_eq!(found.source, SourceSpec::Plugin { name: "a".into(), spec: spec.clone(), map: None });
        assert_eq!(found.sink, SinkSpec::Plugin { name: "a-2".into(), spec, map: None });
    }

    #[test]
    fn how_long_to_look_before_sleeping_is_found_by_itself_unless_it_is_said() {
        let spin = |settings: &str| plugin(settings).spin;
        assert_eq!(spin("adapt = true"), Spin::Auto);
        assert_eq!((spin("spin_us = 0"), spin("spin_us = 20")), (Spin::Off, Spin::For(20_000)));
        assert!(plugin_fault("spin_us = 1001").contains("spin_us"));
    }

    #[test]
    fn crash_reports_go_where_the_file_says() {
        let at = |text: &str| good(&format!("{text}\n[[pipeline]]\nsource = \"a.wav\"")).reports;
        assert_eq!(at(""), None);
        assert_eq!(at("reports = \"crashes\""), Some(PathBuf::from("/base/crashes")));
        assert_eq!(at("reports = \"/var/crashes\""), Some(PathBuf::from("/var/crashes")));
    }

    #[test]
    fn the_socket_is_where_the_file_says_or_nowhere() {
        let at = |text: &str| good(&format!("{text}\n[[pipeline]]\nsource = \"a.wav\"")).socket;
        assert_eq!(at(""), None);
        assert_eq!(at("socket = \"nda.sock\""), Some(PathBuf::from("/base/nda.sock")));
        assert_eq!(at("socket = \"off\""), Some(PathBuf::from("off")));
    }

    #[test]
    fn the_example_in_the_readme_may_be_said_and_has_every_key_of_a_plugin() {
        let readme = include_str!("../../../README.md");
        let section = readme.split("## The configuration").nth(1).unwrap();
        let example = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        good(example);
        for key in
            ["reports", "socket", "resampling", "map", "ppm", "clock"].iter().chain(reader::PLUGIN_KEYS)
        {
            assert!(example.contains(&format!("{key} = ")), "{key} is not in the README's example");
        }
    }

    #[test]
    fn rust_code_builds_what_the_file_says() {
        let built = PipelineSpec::new(SourceSpec::plugin("sine.py"), SinkSpec::default())
            .then(PluginSpec::new("gain.py").set("gain", "0.5").into())
            .then(ElementSpec::plugin("gain.py"))
            .then(ElementSpec::Meter);
        assert_eq!(built.plugin_names(), ["sine", "gain", "gain-2"]);
    }
}

mod what_is_said_about_faults {
    use super::*;

    #[test]
    fn every_fault_is_named_in_the_order_of_its_place() {
        let text = "rate = 7000\nblok = 64\n[[pipeline]]\nsource = \"\"\nplugins = [\"a.txt\", 3]\nsink = { file = \"o.wav\", bits = 12 }\n";
        assert_eq!(
            faults(text),
            [
                "1:8: `rate` is 7000; it must be a whole number from 8000 to 192000",
                "2:1: `blok` is not a key of the top level; did you mean `block`?",
                "4:10: `source` is empty; give it a value or remove it",
                "5:12: \"a.txt\" is not a Python plugin; its name must end in .py",
                "5:21: `plugins` is an integer; it must be a .py file or a table with `file` or `builtin`",
                "6:33: `bits` is 12; it must be 16, 24 or \"32f\"",
            ]
        );
    }

    #[test]
    fn a_place_that_is_none_is_told_with_those_that_are() {
        let right = "\"auto\", \"off\", or a list of cores such as [0, 1]";
        let told = |line: &str| fault(line);
        assert_eq!(told("affinity = \"on\""), format!("3:12: `affinity` is \"on\"; it must be {right}"));
        assert_eq!(told("affinity = 1"), format!("3:12: `affinity` is an integer; it must be {right}"));
        assert!(told("affinity = []").contains("names no core; write \"off\""));
        assert!(told("affinity = [0, -1]").starts_with("3:16: `affinity` is -1; it must be "));
        assert!(told("power = \"balanced\"").contains("write it above the first `[[pipeline]]`"));
        let unknown = faults("power = \"full\"\n[[pipeline]]\nsource = \"in.wav\"");
        assert_eq!(unknown, ["1:9: `power` is \"full\"; it must be \"performance\" or \"balanced\""]);
    }

    #[test]
    fn an_unknown_key_gets_the_nearest_known_one() {
        let text = fault("plugins = [{ file = \"a.py\", dedline = 0.5 }]");
        assert_eq!(text, "3:29: `dedline` is not a key of a Python plugin; did you mean `deadline`?");
        assert!(fault("plugin = [\"a.py\"]").ends_with("did you mean `plugins`?"));
        assert!(fault("Sink = \"default\"").ends_with("did you mean `sink`?"));
        let far = fault("xyzzy = 1");
        assert!(far.contains("it may be `name`, `source`, `plugins`, `sink`, `record`"), "{far}");
        assert!(source_fault("{ fiel = \"a.wav\" }").ends_with("did you mean `file`?"));
    }

    #[test]
    fn numbers_out_of_range_are_named_with_the_range() {
        for line in ["rate = 7999", "rate = 192001", "rate = -1", "rate = 99999999999999999999", "rate = 0x0"]
        {
            assert!(fault(line).contains("it must be a whole number from 8000 to 192000"), "{line}");
        }
        for line in ["block = 15", "block = 8193", "channels = 0", "channels = 65"] {
            assert!(fault(line).contains("it must be a whole number from"), "{line}");
        }
        for deadline in ["0.04", "0.96", "1", "-0.5", "nan", "inf"] {
            let text = fault(&format!("plugins = [{{ file = \"a.py\", deadline = {deadline} }}]"));
            assert!(text.contains("it must be a number from 0.05 to 0.95"), "{text}");
        }
        assert!(
            fault("plugins = [{ builtin = \"gain\", set = { db = \"loud\" } }]").contains("from -120 to 60")
        );
    }

    #[test]
    fn wrong_types_are_named_with_the_right_one() {
        assert_eq!(
            fault("rate = \"48000\""),
            "3:8: `rate` is a string; it must be a whole number from 8000 to 192000"
        );
        assert!(fault("rate = 48000.0").contains("`rate` is a float"));
        assert!(fault("name = 3").contains("it must be a string in quotes"));
        assert!(fault("plugins = \"a.py\"").contains("it must be a list, as in"));
        assert!(
            fault("plugins = [{ file = \"a.py\", set = \"gain\" }]").contains("it must be a table, as in")
        );
        assert!(
            fault("plugins = [{ file = \"a.py\", set = { gain = [1] } }]").contains("`gain` is an array")
        );
        assert!(fault("plugins = [{ file = \"a.py\", fail_closed = \"yes\" }]").contains("true or false"));
        assert!(
            fault("plugins = [{ file = \"a.py\", mode = \"fast\" }]")
                .contains("\"same-block\" or \"pipelined\"")
        );
        assert!(fault("sink = 1").contains("a string or a table with `file`, `device` or `plugin`"));
        assert!(fault("record = 1979-05-27").contains("`record` is a datetime"));
        assert!(source_fault("[]").contains("`source` is an array"));
        assert!(faults("pipeline = 3")[0].contains("tables headed `[[pipeline]]`"));
        assert!(faults("pipeline = [3]")[0].contains("a table headed `[[pipeline]]`"));
        assert!(faults("[pipeline]\nsource = \"a.wav\"")[0].contains("write `[[pipeline]]`"));
    }

    #[test]
    fn a_configuration_needs_a_pipeline_and_a_pipeline_a_source() {
        assert_eq!(faults(""), ["1:1: there is no pipeline; add `[[pipeline]]` with at least a `source`"]);
        assert!(faults("pipeline = []")[0].starts_with("1:12: there is no pipeline"));
        let all = faults("\n[[pipeline]]\nsink = \"virtual\"\n[[pipeline]]\n");
        assert_eq!(all.len(), 2);
        assert!(all[0].starts_with("2:1: this pipeline has no `source`; add"), "{all:?}");
        assert!(all[1].starts_with("4:1: "), "{all:?}");
        assert!(source_fault("{}").contains("it needs `file`, `device` or `plugin`"));
    }

    #[test]
    fn names_are_given_once() {
        let text = "[[pipeline]]\nname = \"tx\"\nsource = \"a.wav\"\n[[pipeline]]\nname = \"tx\"\nsource = \"a.wav\"\n";
        let expected =
            "5:8: pipeline \"tx\" has its name from line 2 already; give each pipeline a name of its own";
        assert_eq!(faults(text), [expected]);
        let plugins = "plugins = [{ file = \"a.py\", name = \"x\" }, { file = \"b.py\", name = \"x\" }]";
        assert!(fault(plugins).contains("plugin \"x\" has its name from line 3 already"));
    }

    #[test]
    fn empty_strings_are_faults_wherever_they_stand() {
        for line in [
            "name = \"\"",
            "sink = \" \"",
            "record = \"\"",
            "plugins = [\"\"]",
            "sink = { device = \"\" }",
            "sink = { file = \"\" }",
            "plugins = [{ file = \"\" }]",
            "plugins = [{ file = \"a.py\", python = \"\" }]",
        ] {
            assert!(fault(line).contains("is empty"), "{line}");
        }
        assert!(fault("sink = \"device:\"").contains("names no device"));
        assert!(fault("plugins = [{ file = \"a.py\", set = { \"\" = 1 } }]").contains("an empty name"));
    }

    #[test]
    fn settings_that_contradict_each_other_are_faults() {
        for lost in ["bypass", "hold"] {
            let text =
                fault(&format!("plugins = [{{ file = \"a.py\", lost = \"{lost}\", fail_closed = true }}]"));
            assert!(text.contains("`fail_closed` makes a lost block silent"), "{text}");
        }
        good(
            "[[pipeline]]\nsource = \"a.wav\"\nplugins = [{ file = \"a.py\", lost = \"mute\", fail_closed = true }]",
        );
        good(
            "[[pipeline]]\nsource = \"a.wav\"\nplugins = [{ file = \"a.py\", lost = \"hold\", fail_closed = false }]",
        );
        let text = fault("plugins = [{ file = \"a.py\", mode = \"pipelined\", deadline = 0.5 }]");
        assert!(text.contains("a pipelined plugin is never waited for"), "{text}");
        assert!(fault("sink = { plugin = \"a.py\", deadline = 0.5 }").contains("a sink is pipelined"));
        good(
            "[[pipeline]]\nsource = \"a.wav\"\nsink = { plugin = \"a.py\", mode = \"same-block\", deadline = 0.5 }",
        );
        assert!(
            source_fault("{ plugin = \"a.py\", lost = \"bypass\" }").contains("a source has no dry signal")
        );
        assert!(
            source_fault("{ device = \"default\", loop = true }")
                .contains("`loop` is for an audio file to read")
        );
        assert!(source_fault("{ file = \"a.wav\", buffer = 64 }").contains("`buffer` is for a device"));
        assert!(
            source_fault("{ file = \"a.wav\", device = \"default\" }").contains("both `file` and `device`")
        );
        assert!(
            fault("sink = { device = \"default\", bits = 16 }").contains("`bits` is for a file to write")
        );
        assert!(fault("sink = { device = \"virtual\", fallback = \"virtual\" }").contains("is always there"));
        let cable = "sink = { device = \"virtual:a\", fallback = \"virtual\" }";
        assert!(fault(cable).contains("is always there"));
        assert!(fault("sink = { device = \"default\", ppm = 1 }").contains("only a virtual device's clock"));
        assert!(
            fault("sink = { device = \"virtual\", ppm = 10001 }")
                .contains("a whole number from -10000 to 10000")
        );
        assert!(fault("sink = \"virtual:\"").contains("\"virtual:NAME\""));
        assert!(
            fault("sink = { device = \"virtual\", map = 1 }").contains("a list of channels, 0 for silence")
        );
        for end in ["device = \"virtual\"", "file = \"o.wav\"", "plugin = \"p.py\""] {
            assert!(fault(&format!("sink = {{ {end}, map = [] }}")).contains("`map` is empty"), "{end}");
        }
        let element = fault("plugins = [{ file = \"p.py\", map = [1] }]");
        assert!(element.contains("`map` is not a key of a Python plugin"), "{element}");
        assert!(fault("sink = { device = \"virtual\", map = [65] }").contains("from 0 to 64"));
        assert!(fault("sink = { device = \"virtual\", rate = 7 }").contains("from 8000 to 192000"));
        assert!(fault("resampling = \"sinc\"").contains("\"fast\", \"good\" or \"best\""));
        assert!(fault("clock = \"mine\"").contains("\"sink\" or \"source\""));
        assert!(fault("clock = \"source\"").contains("the source has no clock"));
        assert!(fault("plugins = [{ builtin = \"meter\", set = { db = 1 } }]").contains("has no parameters"));
        assert!(
            fault("plugins = [{ builtin = \"meter\", deadline = 0.5 }]")
                .contains("`deadline` is for a Python plugin")
        );
        assert!(fault("plugins = [\"gain\"]").contains("write { builtin = \"gain\" }"));
        assert!(fault("plugins = [{ builtin = \"gain\" }]").contains("needs a gain in dB"));
        assert!(fault("sink = \"speakers\"").contains("\"device:NAME\""));
    }

    #[test]
    fn how_a_plugin_is_mended_is_said_in_words_and_numbers_that_fit() {
        assert_eq!(
            plugin_fault("standby = \"hot\""),
            "3:39: `standby` is \"hot\"; it must be \"none\", \"spare\" or \"twin\""
        );
        assert!(plugin_fault("standby = true").contains("`standby` is a boolean; it must be \"none\""));
        assert!(plugin_fault("restart = \"never\"").contains("true or false, without quotes"));
        assert!(plugin_fault("adapt = 1").contains("true or false, without quotes"));
        for seconds in ["0.09", "-1", "-0.5", "3601", "nan", "inf"] {
            let text = plugin_fault(&format!("snapshot_s = {seconds}"));
            let right =
                format!("`snapshot_s` is {seconds}; it must be 0 for never, or a number from 0.1 to 3600");
            assert!(text.ends_with(&right), "{text}");
        }
        assert!(plugin_fault("snapshot_s = false").contains("is a boolean; it must be 0 for never, or"));
    }

    #[test]
    fn limits_that_no_plugin_can_have_are_named_with_what_can_be_had() {
        for ms in ["19", "600001", "0", "-250"] {
            let text = plugin_fault(&format!("hang_ms = {ms}"));
            let right = format!("`hang_ms` is {ms}; it must be a whole number from 20 to 600000");
            assert!(text.ends_with(&right), "{text}");
        }
        assert!(plugin_fault("hang_ms = 250.0").contains("`hang_ms` is a float"));
        for db in ["-0.1", "61", "inf", "nan"] {
            let text = plugin_fault(&format!("level_max_db = {db}"));
            assert!(text.ends_with(&format!("is {db}; it must be a number from 0 to 60")), "{text}");
        }
        assert!(plugin_fault("level_max_db = \"12\"").contains("is a string; it must be a number from 0"));
        for size in [
            "512",
            "67108863",
            "-1",
            "\"63M\"",
            "\"65535K\"",
            "\"512MB\"",
            "\"512m\"",
            "\"1.5G\"",
            "\"G\"",
            "\"-1G\"",
            "\"\"",
            "\"much\"",
            "\"512\u{b5}\"",
            "\"17179869184G\"",
            "99999999999999999999",
        ] {
            let text = plugin_fault(&format!("memory_max = {size}"));
            let right = "it must be at least 64M, as in \"512M\", \"2G\" or a number of bytes";
            assert_eq!(text, format!("3:42: `memory_max` is {size}; {right}"));
        }
        assert!(
            plugin_fault("memory_max = 1e9").contains("`memory_max` is a float; it must be at least 64M")
        );
    }

    #[test]
    fn settings_of_a_plugin_that_cannot_both_hold_are_faults() {
        for standby in ["spare", "twin"] {
            assert_eq!(
                plugin_fault(&format!("restart = false, standby = \"{standby}\"")),
                "3:56: with `restart = false` nothing takes a plugin's place; remove one, or set `standby = \"none\"`"
            );
        }
        assert_eq!(
            plugin_fault("mode = \"pipelined\", adapt = true"),
            "3:57: only a same-block plugin changes its mode by itself; remove `adapt` or set `mode = \"same-block\"`"
        );
        for mode in ["same-block", "pipelined"] {
            let text = fault(&format!("sink = {{ plugin = \"a.py\", mode = \"{mode}\", adapt = true }}"));
            assert!(text.ends_with("a sink never changes its mode by itself; remove `adapt`"), "{text}");
        }
        assert!(
            fault("sink = { plugin = \"a.py\", adapt = true }").contains("a sink never changes its mode")
        );
        assert_eq!(
            plugin_fault("guard = \"off\", level_max_db = 12"),
            "3:59: without its guard a plugin has no limit of level; remove `level_max_db` or set `guard = \"on\"`"
        );
        let builtin = fault("plugins = [{ builtin = \"meter\", restart = false }]");
        assert!(
            builtin.ends_with("`restart` is for a Python plugin, and this is a built-in; remove it"),
            "{builtin}"
        );
    }

    #[test]
    fn all_that_is_wrong_with_a_plugin_is_said_at_once() {
        let text = "[[pipeline]]\nsource = \"in.wav\"\n[[pipeline.plugins]]\nfile = \"\"\nrestart = false\n\
            standby = \"twin\"\nmode = \"pipelined\"\nadapt = true\nhang_ms = 1\nguard = \"off\"\n\
            level_max_db = 3\nmemory_max = 1\nsnapshot_s = -1\n";
        let lines: Vec<String> =
            faults(text).iter().map(|fault| fault.split(':').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(lines, ["4", "6", "8", "9", "11", "12", "13"]);
    }

    #[test]
    fn the_place_of_crash_reports_is_said_once_at_the_top() {
        assert_eq!(
            fault("reports = \"crashes\""),
            "3:1: `reports` is not a key of a pipeline; write it above the first `[[pipeline]]`"
        );
        assert_eq!(
            plugin_fault("reports = \"crashes\""),
            "3:29: `reports` is not a key of a Python plugin; write it above the first `[[pipeline]]`"
        );
        let top = |line: &str| faults(&format!("{line}\n[[pipeline]]\nsource = \"a.wav\""));
        assert_eq!(top("reports = \"\""), ["1:11: `reports` is empty; give it a value or remove it"]);
        assert_eq!(top("reports = true"), ["1:11: `reports` is a boolean; it must be a string in quotes"]);
        assert_eq!(
            top("report = \"x\""),
            ["1:1: `report` is not a key of the top level; did you mean `reports`?"]
        );
    }

    #[test]
    fn what_is_not_toml_is_named_with_its_place_and_what_else_is_wrong() {
        let text = "rat = 3\n[[pipeline]]\nsource = \nsink = \"virtual\nblock = 1\nblock = 2\n";
        let all = faults(text);
        let places: Vec<&str> = all.iter().map(|fault| fault.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(places, ["1:1:", "3:10:", "4:16:", "5:9:", "6:1:"], "{all:#?}");
    }

    #[test]
    fn a_broken_header_leaves_no_false_faults_behind() {
        let all = faults("[[pipeline]\nsource = \"a.wav\"\nrate = 48000\n");
        assert_eq!(all, ["1:12: this is not TOML: unclosed array table, expected `]`"]);
        let all = faults("[[pipeline]]\nsource = \"a\"\nsource = \"b\"\n");
        assert_eq!(all, ["3:1: this is not TOML: duplicate key; keep one of the two"]);
    }

    #[test]
    fn any_text_gets_a_verdict() {
        let text = "rate = 48000\n[[pipeline]]\nname = \"x\"\nsource = { file = \"a.wav\", loop = true }\n\
            plugins = [\"a.py\", { file = 'b.py', set = { g = 0x1f }, memory_max = '1G', snapshot_s = 0.5 }, { builtin = \"meter\" }]\n";
        for at in 0..text.len() {
            let _ = parse(&text[..at], Path::new(""));
            for other in ["", "[", "]", "{", "}", "\"", "=", ",", "\n", "\0", "\u{e9}", "-1", "9e999", "#"] {
                let _ = parse(&format!("{}{other}{}", &text[..at], &text[at + 1..]), Path::new(""));
            }
        }
        for deep in ["[", "{a=", "a."] {
            assert!(parse(&format!("a={}", deep.repeat(100_000)), Path::new("")).is_err());
        }
    }

    #[test]
    fn columns_count_characters() {
        assert!(faults("\u{feff}rat = 1\r\n[[pipeline]]\r\nsource = \"a.wav\"")[0].starts_with("1:1: `rat`"));
        assert!(fault("plugins = [\"größe.py\", 3]").starts_with("3:24: "));
    }
}

mod what_is_said_about_files {
    use super::*;
    use std::fs;

    /// A folder with a song, a plugin and a configuration of this text.
    fn folder(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("in.wav"), "x").unwrap();
        fs::write(folder.path().join("a.py"), "x").unwrap();
        fs::create_dir(folder.path().join("folder.py")).unwrap();
        fs::create_dir(folder.path().join("folder.wav")).unwrap();
        std::os::unix::fs::symlink("in.wav", folder.path().join("link.wav")).unwrap();
        fs::write(folder.path().join("nda.toml"), text).unwrap();
        folder
    }

    /// What `load` says about this text, with the folder's name taken out.
    fn refusal(text: &str) -> String {
        let folder = folder(text);
        let error = load(&folder.path().join("nda.toml")).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    }

    #[test]
    fn a_good_file_loads() {
        let folder = folder("[[pipeline]]\nsource = \"in.wav\"\nplugins = [\"a.py\"]\nsink = \"out.wav\"\n");
        let found = load(&folder.path().join("nda.toml")).unwrap();
        assert_eq!(found.pipelines[0].source, SourceSpec::file(folder.path().join("in.wav")));
    }

    #[test]
    fn all_faults_are_listed_with_their_count() {
        let text = "[[pipeline]]\nsource = \"no.wav\"\nplugins = [\"no.py\", \"folder.py\"]\nsink = \"no/out.wav\"\nrecord = \"folder.wav\"\nspeed = 1\n";
        assert_eq!(
            refusal(text),
            "DIR/nda.toml has 6 faults\
             \n    DIR/nda.toml:2:10: there is no audio file DIR/no.wav; paths start at the configuration's folder\
             \n    DIR/nda.toml:3:12: there is no plugin DIR/no.py; paths start at the configuration's folder\
             \n    DIR/nda.toml:3:21: DIR/folder.py is a folder; name the plugin in it\
             \n    DIR/nda.toml:4:8: there is no folder DIR/no to write to; make it with `mkdir -p DIR/no`\
             \n    DIR/nda.toml:5:10: DIR/folder.wav is a folder; name a file in it\
             \n    DIR/nda.toml:6:1: `speed` is not a key of a pipeline; it may be `name`, `source`, `plugins`, \
             `sink`, `record`, `affinity`, `clock`, `rate`, `block`, `channels`, `python` or `resampling`"
        );
    }

    #[test]
    fn a_core_that_is_named_is_there() {
        let said = refusal("[[pipeline]]\nsource = \"in.wav\"\nsink = \"virtual\"\naffinity = [0, 1000]\n");
        assert!(said.contains("DIR/nda.toml:4:16: there is no core 1000; this machine has core"), "{said}");
    }

    #[test]
    fn nothing_is_written_twice_or_over_its_source() {
        let text = "[[pipeline]]\nsource = \"in.wav\"\nsink = \"./link.wav\"\nrecord = \"out.wav\"\n\
            [[pipeline]]\nsource = \"in.wav\"\nsink = \"folder.py/../out.wav\"\n";
        let said = refusal(text);
        assert!(said.contains("has 2 faults"), "{said}");
        assert!(said.contains(":3:8: DIR/./link.wav is read in line 2; write to another file"), "{said}");
        assert!(said.contains(":7:8: DIR/folder.py/../out.wav is written in line 4 already"), "{said}");
    }

    #[test]
    fn an_interpreter_given_by_its_path_exists() {
        let said = refusal("python = \".venv/bin/python\"\n[[pipeline]]\nsource = \"in.wav\"\n");
        assert!(said.contains(":1:10: there is no Python interpreter DIR/.venv/bin/python"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_text_is_named_with_the_place() {
        let folder = folder("");
        let path = folder.path().join("nda.toml");
        fs::write(&path, b"rate = 48000\nx = \"\xff\"").unwrap();
        let said = load(&path).unwrap_err().to_string();
        assert!(said.contains("nda.toml:2:6: this is not UTF-8 text; save the file as UTF-8"), "{said}");
    }

    #[test]
    fn a_file_that_is_missing_or_a_folder_is_told_so() {
        let folder = folder("");
        let missing = load(&folder.path().join("no.toml")).unwrap_err();
        assert!(missing.to_string().contains("there is no configuration file"), "{missing}");
        let not_file = load(folder.path()).unwrap_err();
        assert!(not_file.to_string().contains("is a folder, not a configuration file"), "{not_file}");
        assert_eq!((missing.kind(), not_file.kind()), (Kind::Config, Kind::Config));
    }
}
