//! A pipeline's Python plugins: started side by side, and ended so.
//!
//! For opening and closing a pipeline, which takes no longer than its slowest plugin. If one can't be started,
//! none is left. It watches none of them: that is the recovery thread's.

use crate::config::{ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::error::{Error, Kind, Result};
use crate::plugin::spec::PluginSpec;
use crate::plugin::{Place, Plugin, Remote};
use crate::supervisor::Supervisor;
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
    let mut wanted: Vec<(&str, &PluginSpec, PluginKind)> = Vec::new();
    if let SourceSpec::Plugin { name, spec } = &spec.source {
        wanted.push((name, spec, PluginKind::Source));
    }
    for element in &spec.elements {
        if let ElementSpec::Plugin { name, spec } = element {
            wanted.push((name, spec, PluginKind::Processor));
        }
    }
    if let SinkSpec::Plugin { name, spec } = &spec.sink {
        wanted.push((name, spec, PluginKind::Sink));
    }
    let started: Vec<Result<_>> = std::thread::scope(|scope| {
        let begin = |(name, spec, kind): (&str, &PluginSpec, _)| {
            let name = format!("{prefix}{name}");
            let spec = PluginSpec { cores: cores.to_vec(), ..spec.clone() };
            scope.spawn(move || Plugin::load_as(supervisor, &name, spec, Place { kind: Some(kind), ..place }))
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

/// Ends the plugins that are alive, side by side; those that would not stop in order.
pub(super) fn shut_down(plugins: Vec<Plugin>) -> Vec<Error> {
    // A dead one's end has been told.
    let alive = plugins.into_iter().filter(|plugin| !plugin.is_dead());
    std::thread::scope(|scope| {
        let threads: Vec<_> = alive.map(|p| scope.spawn(|| p.shutdown())).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()?.err()).collect()
    })
}
