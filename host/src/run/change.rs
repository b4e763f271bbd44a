//! What differs between the pipelines of a configuration and those of the same file read again.
//!
//! For reloading. A pure function over what was asked for: it knows nothing of what plays.

use crate::config::{ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::plugin::spec::PluginSpec;

/// What is to be done about one pipeline. One that is as it was needs nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It is new.
    Add(PipelineSpec),
    /// It is not there any more.
    Remove(String),
    /// It differs in what can't be changed while it plays.
    Replace(PipelineSpec),
    /// It differs in parameters alone.
    Adjust {
        /// As it is asked for now.
        spec: PipelineSpec,
        /// The parameters to be set.
        parameters: Vec<Parameter>,
        /// The built-in gains to be turned: which of them, from 0, and the dB.
        gains: Vec<(usize, f32)>,
    },
}

/// A parameter to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Which of the pipeline's plugins, in the order of [`PipelineSpec::plugin_names`].
    pub(super) plugin: usize,
    pub(super) key: String,
    pub(super) value: String,
    /// What it was asked to be until now, if anything.
    pub(super) before: Option<String>,
}

/// What is to be done so that `old` becomes `new`. Pipelines are told from each other by their names.
pub(super) fn changes(old: &[PipelineSpec], new: &[PipelineSpec]) -> Vec<Change> {
    let find = |specs: &[PipelineSpec], name: &str| specs.iter().find(|spec| spec.name == name).cloned();
    let gone = old.iter().filter(|spec| find(new, &spec.name).is_none());
    let removed = gone.map(|spec| Change::Remove(spec.name.clone()));
    let others = new.iter().filter_map(|spec| match find(old, &spec.name) {
        None => Some(Change::Add(spec.clone())),
        Some(before) => change(before, spec),
    });
    removed.chain(others).collect()
}

/// The same for one that goes by the same name.
pub(super) fn change(mut before: PipelineSpec, now: &PipelineSpec) -> Option<Change> {
    if before == *now {
        return None;
    }
    let replace = || Some(Change::Replace(now.clone()));
    let mut after = now.clone();
    let (sets_before, gains_before) = take_parameters(&mut before);
    let (sets, gains) = take_parameters(&mut after);
    if before != after {
        return replace();
    }
    let mut parameters = Vec::new();
    for (plugin, (old, new)) in sets_before.iter().zip(&sets).enumerate() {
        // Nobody can say what a plugin does that was never given one.
        if old.iter().any(|(key, _)| value_of(new, key).is_none()) {
            return replace();
        }
        let differing = new.iter().filter(|(key, value)| value_of(old, key) != Some(value));
        parameters.extend(differing.map(|(key, value)| Parameter {
            plugin,
            key: key.clone(),
            value: value.clone(),
            before: value_of(old, key).cloned(),
        }));
    }
    let gains: Vec<_> = gains.into_iter().enumerate().filter(|(i, db)| gains_before[*i] != *db).collect();
    let is_needed = !parameters.is_empty() || !gains.is_empty();
    is_needed.then(|| Change::Adjust { spec: now.clone(), parameters, gains })
}

/// The last one counts, as for the plugin.
fn value_of<'a>(set: &'a [(String, String)], key: &str) -> Option<&'a String> {
    set.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// Takes out what can be changed while it plays: each plugin's parameters, and the dB of the built-in gains.
fn take_parameters(spec: &mut PipelineSpec) -> (Vec<Vec<(String, String)>>, Vec<f32>) {
    let mut gains = Vec::new();
    for element in &mut spec.elements {
        if let ElementSpec::Gain { db } = element {
            gains.push(std::mem::take(db));
        }
    }
    (plugins_of(spec).map(|plugin| std::mem::take(&mut plugin.set)).collect(), gains)
}

/// A pipeline's plugins, in the order of [`PipelineSpec::plugin_names`].
pub(super) fn plugins_of(spec: &mut PipelineSpec) -> impl Iterator<Item = &mut PluginSpec> {
    let source = match &mut spec.source {
        SourceSpec::Plugin { spec, .. } => Some(spec),
        _ => None,
    };
    let sink = match &mut spec.sink {
        SinkSpec::Plugin { spec, .. } => Some(spec),
        _ => None,
    };
    let elements = spec.elements.iter_mut().filter_map(|element| match element {
        ElementSpec::Plugin { spec, .. } => Some(spec),
        _ => None,
    });
    source.into_iter().chain(elements).chain(sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileSinkSpec;

    fn pipeline(name: &str) -> PipelineSpec {
        let gain = PluginSpec::new("gain.py").set("gain", "0.5").set("curve", "linear");
        let spec = PipelineSpec::new(SourceSpec::plugin("sine.py"), SinkSpec::device("virtual"));
        let spec = spec.then(gain.into()).then(ElementSpec::Gain { db: -6.0 });
        PipelineSpec { name: name.into(), ..spec }
    }

    /// The same with other parameters of the plugin in the middle.
    fn with(set: &[(&str, &str)]) -> PipelineSpec {
        let mut spec = pipeline("a");
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        plugins_of(&mut spec).nth(1).unwrap().set = set.iter().map(own).collect();
        spec
    }

    fn one(now: &PipelineSpec) -> Option<Change> {
        let mut all = changes(&[pipeline("a")], std::slice::from_ref(now));
        assert!(all.len() < 2);
        all.pop()
    }

    #[test]
    fn what_is_as_it_was_is_left_alone_in_whatever_order_it_stands() {
        let (a, b) = (pipeline("a"), pipeline("b"));
        assert_eq!(changes(&[a.clone(), b.clone()], &[b, a]), []);
        assert_eq!(one(&with(&[("curve", "linear"), ("gain", "0.5")])), None);
    }

    #[test]
    fn what_is_new_is_added_and_what_is_gone_goes_first() {
        let all = changes(&[pipeline("a"), pipeline("b")], &[pipeline("c"), pipeline("b")]);
        assert_eq!(all, [Change::Remove("a".into()), Change::Add(pipeline("c"))]);
    }

    #[test]
    fn other_parameters_are_set_and_no_others() {
        let now = with(&[("gain", "0.7"), ("curve", "linear"), ("wet", "1")]);
        let Some(Change::Adjust { spec, parameters, gains }) = one(&now) else { panic!("no adjustment") };
        assert_eq!((spec, gains), (now, vec![]));
        let told: Vec<_> =
            parameters.iter().map(|p| (p.plugin, &*p.key, &*p.value, p.before.as_deref())).collect();
        assert_eq!(told, [(1, "gain", "0.7", Some("0.5")), (1, "wet", "1", None)]);
    }

    #[test]
    fn the_parameter_of_a_built_in_gain_is_one_too() {
        let mut now = pipeline("a");
        now.elements[1] = ElementSpec::Gain { db: -3.0 };
        let Some(Change::Adjust { parameters, gains, .. }) = one(&now) else { panic!("no adjustment") };
        assert_eq!((parameters, gains), (vec![], vec![(0, -3.0)]));
    }

    #[test]
    fn a_parameter_that_is_gone_takes_a_plugin_that_never_had_it() {
        let now = with(&[("gain", "0.5")]);
        assert_eq!(one(&now), Some(Change::Replace(now)));
    }

    #[test]
    fn whatever_else_differs_takes_another_pipeline() {
        let a = || pipeline("a");
        let mut other_file = a();
        plugins_of(&mut other_file).nth(1).unwrap().file = "other.py".into();
        let mut other_policy = with(&[("gain", "0.7"), ("curve", "linear")]);
        plugins_of(&mut other_policy).nth(1).unwrap().adapt = false;
        let differing = [
            other_file,
            other_policy,
            PipelineSpec { block_frames: 128, ..a() },
            PipelineSpec { rate: Some(44_100), ..a() },
            PipelineSpec { record: Some(FileSinkSpec::new("a.wav")), ..a() },
            PipelineSpec { sink: SinkSpec::device("default"), ..a() },
            PipelineSpec { source: SourceSpec::file("a.wav"), ..a() },
            a().then(ElementSpec::Meter),
            PipelineSpec { elements: vec![ElementSpec::Gain { db: -6.0 }], ..a() },
        ];
        for now in differing {
            assert_eq!(one(&now), Some(Change::Replace(now.clone())));
        }
    }
}
