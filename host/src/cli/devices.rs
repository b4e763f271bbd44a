//! `nda devices`: what there is to play to and record from.
//!
//! For people choosing a `device` for their configuration and, as JSON, for programs. It opens no stream.

use crate::backend::{self, ConfigInfo, DeviceInfo, DirectionInfo, Span};
use crate::error::{Error, Kind, Result};
use std::io::{self, Write};

/// Lists the devices on `out`, as text for people or as JSON.
pub fn run(json: bool, out: &mut dyn Write) -> Result<()> {
    let devices = backend::devices();
    match if json { write_json(&devices, out) } else { write_text(&devices, out) } {
        // `nda devices | head` has seen what it wanted.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Error::new(Kind::Output, "the list of devices can't be written").source(e)),
        Ok(()) => Ok(()),
    }
}

fn write_json(devices: &[DeviceInfo], out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, devices)?;
    writeln!(out)
}

fn write_text(devices: &[DeviceInfo], out: &mut dyn Write) -> io::Result<()> {
    let mut backend = None;
    for device in devices {
        if backend != Some(&device.backend) {
            if backend.is_some() {
                writeln!(out)?;
            }
            writeln!(out, "{}", device.backend)?;
            backend = Some(&device.backend);
        }
        write_device(device, out)?;
    }
    if !devices.iter().any(is_card) {
        writeln!(out, "\nno sound card found; the virtual device is always there: device = \"virtual\"")?;
    }
    Ok(())
}

/// Whether sound can be heard or recorded with it.
fn is_card(device: &DeviceInfo) -> bool {
    let works = |direction: &Option<DirectionInfo>| direction.as_ref().is_some_and(|d| d.error.is_none());
    let is_virtual = device.backend == backend::virtual_device::NAME;
    !is_virtual && device.keeps_time && (works(&device.output) || works(&device.input))
}

fn write_device(device: &DeviceInfo, out: &mut dyn Write) -> io::Result<()> {
    if let Some(why) = &device.absent {
        return writeln!(out, "  {why}");
    }
    write!(out, "  {}", device.name)?;
    if let Some(id) = device.id.as_ref().filter(|id| **id != device.name) {
        write!(out, "  ({id})")?;
    }
    writeln!(out)?;
    if !device.keeps_time {
        writeln!(out, "    keeps no time: a pipeline on it runs as fast as the machine can")?;
    }
    if let Some(error) = &device.error {
        writeln!(out, "    can't be asked: {error}")?;
    }
    write_directions(device, out)
}

fn write_directions(device: &DeviceInfo, out: &mut dyn Write) -> io::Result<()> {
    match (&device.output, &device.input) {
        (Some(output), Some(input)) if tells_the_same(output, input) => {
            write_direction("output and input", output, out)
        }
        (output, input) => {
            output.iter().try_for_each(|direction| write_direction("output", direction, out))?;
            input.iter().try_for_each(|direction| write_direction("input", direction, out))
        }
    }
}

fn tells_the_same(a: &DirectionInfo, b: &DirectionInfo) -> bool {
    a.is_default == b.is_default && a.configs == b.configs && a.error == b.error
}

fn write_direction(name: &str, direction: &DirectionInfo, out: &mut dyn Write) -> io::Result<()> {
    let mark = if direction.is_default { ", default" } else { "" };
    writeln!(out, "    {name}{mark}")?;
    if let Some(error) = &direction.error {
        writeln!(out, "      can't be asked: {error}")?;
    }
    direction.configs.iter().try_for_each(|config| write_config(config, out))
}

fn write_config(config: &ConfigInfo, out: &mut dyn Write) -> io::Result<()> {
    let rates = config.rates.iter().map(open_ended).collect::<Vec<_>>().join(", ");
    let buffers = config.buffer_frames.as_ref().map_or_else(|| "its own choice".to_owned(), open_ended);
    writeln!(
        out,
        "      {} ch | {rates} Hz | buffer {buffers} | {}",
        config.channels,
        config.formats.join(" ")
    )
}

/// A span without the limits that only the width of an integer sets.
fn open_ended(span: &Span) -> String {
    const BEYOND_ANY: u32 = 10_000_000;
    match (span.min, span.max) {
        (0..=1, BEYOND_ANY..) => "any".to_owned(),
        (min, BEYOND_ANY..) => format!("from {min}"),
        _ => span.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(is_default: bool, channels: (u32, u32), rates: &[(u32, u32)]) -> DirectionInfo {
        let span = |(min, max)| Span { min, max };
        let config = ConfigInfo {
            channels: span(channels),
            rates: rates.iter().copied().map(span).collect(),
            formats: vec!["f32".into(), "i16".into()],
            buffer_frames: Some(Span { min: 32, max: 4096 }),
        };
        DirectionInfo { is_default, configs: vec![config], default_config: None, error: None }
    }

    fn card() -> DeviceInfo {
        DeviceInfo {
            name: "HDA Intel".into(),
            id: Some("alsa:hw:0,0".into()),
            backend: "ALSA".into(),
            keeps_time: true,
            output: Some(direction(true, (2, 2), &[(44_100, 44_100), (48_000, 48_000)])),
            input: Some(direction(false, (1, 2), &[(8_000, 192_000)])),
            error: None,
            absent: None,
        }
    }

    fn text(devices: &[DeviceInfo]) -> String {
        let mut out = Vec::new();
        write_text(devices, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_card_is_told_in_a_few_lines() {
        let expected = "\
ALSA
  HDA Intel  (alsa:hw:0,0)
    output, default
      2 ch | 44100, 48000 Hz | buffer 32-4096 | f32 i16
    input
      1-2 ch | 8000-192000 Hz | buffer 32-4096 | f32 i16
";
        assert_eq!(text(&[card()]), expected);
    }

    #[test]
    fn devices_of_one_audio_system_stand_under_its_name() {
        let jack = DeviceInfo { backend: "JACK".into(), name: "system".into(), ..card() };
        let text = text(&[card(), card(), jack]);
        assert_eq!(text.matches("ALSA\n").count(), 1);
        assert!(text.contains("\n\nJACK\n  system"), "{text}");
    }

    #[test]
    fn a_machine_without_a_card_is_told_of_the_virtual_device() {
        let alone =
            |device| text(&[device]).contains("no sound card found; the virtual device is always there");
        assert!(!alone(card()));
        assert!(alone(DeviceInfo { backend: "virtual".into(), ..card() }));
        assert!(alone(DeviceInfo { keeps_time: false, ..card() }));
        assert!(alone(DeviceInfo { output: None, input: None, ..card() }));
    }

    #[test]
    fn a_device_that_fails_is_listed_with_its_error() {
        let broken = DeviceInfo {
            output: Some(DirectionInfo { error: Some("busy".into()), ..DirectionInfo::default() }),
            input: None,
            error: Some("gone".into()),
            ..card()
        };
        let text = text(&[broken]);
        assert!(text.contains("    can't be asked: gone\n"), "{text}");
        assert!(text.contains("    output\n      can't be asked: busy\n"), "{text}");
    }

    #[test]
    fn an_audio_system_whose_server_is_not_running_is_one_line_and_no_card() {
        let none =
            DeviceInfo { output: None, input: None, absent: Some("no server is running".into()), ..card() };
        let text = text(&[DeviceInfo { name: "JACK".into(), backend: "JACK".into(), ..none }]);
        assert!(text.starts_with("JACK\n  no server is running\n\nno sound card found"), "{text}");
    }

    #[test]
    fn limits_that_are_none_are_not_shown() {
        assert_eq!(open_ended(&Span { min: 1, max: u32::MAX }), "any");
        assert_eq!(open_ended(&Span { min: 16, max: 1 << 30 }), "from 16");
        assert_eq!(open_ended(&Span { min: 48_000, max: 48_000 }), "48000");
    }

    #[test]
    fn both_forms_name_the_virtual_device_of_this_machine() {
        for json in [false, true] {
            let mut out = Vec::new();
            run(json, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("virtual") && out.ends_with('\n'));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), json);
        }
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_list_that_cant_be_written_is_an_error_unless_nobody_reads_on() {
        for json in [false, true] {
            let full = run(json, &mut Broken(io::ErrorKind::StorageFull));
            assert_eq!(full.unwrap_err().kind(), Kind::Output);
            assert!(run(json, &mut Broken(io::ErrorKind::BrokenPipe)).is_ok());
        }
    }
}
