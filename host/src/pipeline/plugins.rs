//! A pipeline's Python plugins: started side by side, and ended so.
//!
//! For opening and closing a pipeline, which takes no longer than its slowest plugin. If one can't be started,
//! none is left. It watches none of them: that is the recovery thread's.

use crate::config::{ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::edge::ChannelMap;
use crate::error::{Error, Kind, Result};
use crate::plugin::spec::PluginSpec;
use crate::plugin::{Place, Plugin, Remote};
use crate::supervisor::Supervisor;
use shared::format::Format;
use shared::message::PluginKind;

/// The audio halves of a pipeline's plugins, in the order of the chain.
pub(super) struct Remotes {
    pub(super) plugins: Vec<Plugin>,
    pub(super) remotes: std::vec::IntoIter<Remote>,
}

/// Starts all plugins of a pipeline at once.
pub(super) fn start(
    spec: &PipelineSpec,
    supervisor: &Supervisor,
    prefix: &str,
    place: Place,
    cores: &[usize],
) -> Result<Remotes> {
    let of_kind = |kind| Place { kind: Some(kind), ..place };
    let mut wanted: Vec<(&str, &PluginSpec, Place)> = Vec::new();
    if let SourceSpec::Plugin { name, spec, map } = &spec.source {
        let channels = map.as_deref().map(ChannelMap::source_of);
        wanted.push((name, spec, with_channels(of_kind(PluginKind::Source), channels)?));
    }
    for element in &spec.elements {
        if let ElementSpec::Plugin { name, spec } = element {
            wanted.push((name, spec, of_kind(PluginKind::Processor)));
        }
    }
    if let SinkSpec::Plugin { name, spec, map } = &spec.sink {
        let channels = map.as_deref().map(ChannelMap::target_of);
        wanted.push((name, spec, with_channels(of_kind(PluginKind::Sink), channels)?));
    }
    let started: Vec<Result<_>> = std::thread::scope(|scope| {
        let begin = |(name, spec, place): (&str, &PluginSpec, Place)| {
            let name = format!("{prefix}{name}");
            let spec = PluginSpec { cores: cores.to_vec(), ..spec.clone() };
            scope.spawn(move || Plugin::load_as(supervisor, &name, spec, place))
        };
        let threads: Vec<_> = wanted.into_iter().map(begin).collect();
        let panicked = |_| Err(Error::new(Kind::System, "starting a plugin panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut first_error = None;
    let (mut plugins, mut remotes) = (Vec::new(), Vec::new());
    for plugin in started {
        match plugin {
            Ok((plugin, remote)) => {
                plugins.push(plugin);
                remotes.push(remote);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if let Some(error) = first_error {
        // The others have started: they stop in order. What goes wrong with that comes after this error.
        shut_down(plugins);
        return Err(error);
    }
    Ok(Remotes { plugins, remotes: remotes.into_iter() })
}

/// The place of a plugin that is asked for as many channels as its map needs, if it has one.
fn with_channels(place: Place, channels: Option<u32>) -> Result<Place> {
    let Some(channels) = channels else { return Ok(place) };
    let block = u32::try_from(place.format.block_frames()).unwrap_or(u32::MAX);
    let format = Format::new(channels, block, place.format.rate())
        .map_err(|e| Error::new(Kind::Config, format!("no plugin can have the channels of `map`: {e}")))?;
    Ok(Place { format, ..place })
}

/// Ends the plugins that are alive, side by side; those that would not stop in order.
pub(super) fn shut_down(plugins: Vec<Plugin>) -> Vec<Error> {
    // A dead one's end has been told.
    let alive = plugins.into_iter().filter(|plugin| !plugin.is_dead());
    std::thread::scope(|scope| {
        let threads: Vec<_> = alive.map(|p| scope.spawn(|| p.shutdown())).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()?.err()).collect()
    })
}
