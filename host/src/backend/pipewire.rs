//! What has to be known of PipeWire beside what cpal tells.
//!
//! For [`super::system`]. All of it is built without PipeWire too, so that it is tested where that is not installed.

use cpal::{DeviceDescription, DeviceDirection};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// cpal's word for what a node doesn't say of itself.
const UNSAID: &str = "unknown";

/// What cpal calls the device that stands for whichever output is the default.
const DEFAULT_OUTPUT: &str = "output_default";

/// Whether a server has its socket where cpal looks for it. cpal looks once in a program's life, whichever audio system
/// it is asked about, and where it finds none it never finds one: it must not be asked before there is one.
pub(super) fn has_socket() -> bool {
    socket_folders(|name| std::env::var_os(name)).any(|folder| folder.join("pipewire-0").exists())
}

/// The last is for snaps, which have a folder of their own below the user's.
fn socket_folders(variable: impl Fn(&str) -> Option<OsString>) -> impl Iterator<Item = PathBuf> {
    let own = variable("PIPEWIRE_RUNTIME_DIR").map(PathBuf::from);
    let users = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let above = users.as_deref().and_then(Path::parent).map(Path::to_owned);
    [own, users, above].into_iter().flatten()
}

/// Whether it is no device but a program that plays or records, which cpal lists as well. One that plays is the only thing
/// that has nothing but an output, as what is played to a sink can be recorded; one that records has neither a description
/// nor a driver, of which a source has at least one.
pub(super) fn is_a_program(id: &str, description: &DeviceDescription) -> bool {
    match description.direction() {
        DeviceDirection::Output => id != DEFAULT_OUTPUT,
        DeviceDirection::Input => description.name() == UNSAID && description.driver().is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpal::DeviceDescriptionBuilder;

    #[test]
    fn a_socket_is_looked_for_in_the_folders_that_cpal_looks_into() {
        let with = |set: &[(&str, &str)]| -> Vec<PathBuf> {
            let value = |name: &str| set.iter().find(|(one, _)| *one == name).map(|(_, value)| value.into());
            socket_folders(value).collect()
        };
        assert!(with(&[]).is_empty());
        assert_eq!(with(&[("PIPEWIRE_RUNTIME_DIR", "/pw")]), [Path::new("/pw")]);
        let both = [("XDG_RUNTIME_DIR", "/run/user/1/snap.nda"), ("PIPEWIRE_RUNTIME_DIR", "/pw")];
        assert_eq!(with(&both), ["/pw", "/run/user/1/snap.nda", "/run/user/1"].map(Path::new));
    }

    /// Each as PipeWire 0.3.65 and cpal describe it.
    #[test]
    fn programs_that_play_or_record_are_no_devices() {
        let is_a_program = |id: &str, direction, name: &str, driver: Option<&str>| {
            let builder = DeviceDescriptionBuilder::new(name).direction(direction);
            let builder = driver.into_iter().fold(builder, DeviceDescriptionBuilder::driver);
            super::is_a_program(id, &builder.build())
        };
        let (output, input, both) =
            (DeviceDirection::Output, DeviceDirection::Input, DeviceDirection::Duplex);
        assert!(is_a_program("nda", output, UNSAID, None));
        assert!(is_a_program("Firefox", output, "Firefox", None));
        assert!(is_a_program("pw-record", input, UNSAID, None));
        assert!(!is_a_program("output_default", output, "default_output", None));
        assert!(!is_a_program("input_default", input, "default_input", None));
        assert!(!is_a_program("sink_default", both, "default_sink", None));
        assert!(!is_a_program("cable", both, UNSAID, Some("support.null-audio-sink")));
        assert!(!is_a_program("loop", input, "Loopback", None));
        assert!(!is_a_program("alsa_input.usb", input, UNSAID, Some("api.alsa.pcm.source")));
    }
}
