//! What pipelines are called whose file is read again and gives them no name: as they were called before.
//!
//! For reloading, where pipelines are told from each other by their names. One that was given none has got it for its place
//! in the file, and goes by what it consists of: it is not another one for standing elsewhere. A pure function over what
//! was asked for, as [`change`](super::change) is.

use super::change::{Change, change};
use crate::config::PipelineSpec;

/// What may differ in a pipeline that goes on under its name, from the one that is the most like it on: nothing,
/// parameters, and anything in one that has not left.
const ALIKE: [fn(Option<Change>, bool) -> bool; 3] = [
    |change, _| change.is_none(),
    |change, _| !matches!(change, Some(Change::Replace(_))),
    |_, has_left| !has_left,
];

/// The pipelines of `new`, each of those that were given no name under that of the one of `old` that it is, or of those that
/// have `left` and may come back to what was theirs. Whoever was given a name has it. Who is new gets one that nobody else
/// has or had.
pub(super) fn called_as_before(
    old: &[PipelineSpec],
    left: &[PipelineSpec],
    new: &[PipelineSpec],
) -> Vec<PipelineSpec> {
    let mut specs = new.to_vec();
    let (named, mut unnamed): (Vec<_>, Vec<_>) = specs.iter_mut().partition(|spec| spec.is_named.0);
    let mut taken: Vec<String> = named.iter().map(|spec| spec.name.clone()).collect();
    let all = old.iter().map(|before| (before, false)).chain(left.iter().map(|before| (before, true)));
    let mut known: Vec<_> =
        all.filter(|(before, _)| !before.is_named.0 && !taken.contains(&before.name)).collect();
    for is_like in ALIKE {
        unnamed.retain_mut(|spec| {
            let is_it = |(before, has_left): &(&PipelineSpec, bool)| {
                is_like(change((*before).clone(), &called(spec, &before.name)), *has_left)
            };
            let Some(at) = known.iter().position(is_it) else { return true };
            spec.name.clone_from(&known.remove(at).0.name);
            taken.push(spec.name.clone());
            false
        });
    }
    taken.extend(left.iter().map(|before| before.name.clone()));
    for spec in unnamed {
        spec.name = free_name(&spec.name, &taken);
        taken.push(spec.name.clone());
    }
    specs
}

fn called(spec: &PipelineSpec, name: &str) -> PipelineSpec {
    PipelineSpec { name: name.to_owned(), ..spec.clone() }
}

/// The name, or the first of `pipeline 2`, `pipeline 3`, ... that is not taken.
fn free_name(name: &str, taken: &[String]) -> String {
    let numbered = (2_u32..).map(|n| format!("pipeline {n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::run::change::changes;
    use std::path::Path;

    /// Pipelines with these sources, as a file has them; `NAME: SOURCE` for one with a name.
    fn file(pipelines: &[&str]) -> Vec<PipelineSpec> {
        let table = |pipeline: &&str| {
            let (name, source) = pipeline.split_once(": ").unwrap_or(("", pipeline));
            let name = if name.is_empty() { String::new() } else { format!("name = \"{name}\"\n") };
            format!(
                "[[pipeline]]\n{name}source = \"{source}.wav\"\nplugins = [{{ builtin = \"gain\", set = {{ db = 0 }} }}]\n"
            )
        };
        parse(&pipelines.iter().map(table).collect::<String>(), Path::new("")).unwrap().pipelines
    }

    /// What they are called when these files are read one after the other.
    fn names(files: &[&[&str]]) -> Vec<String> {
        let read =
            |old: Vec<PipelineSpec>, pipelines: &&[&str]| called_as_before(&old, &[], &file(pipelines));
        files.iter().fold(Vec::new(), read).into_iter().map(|spec| spec.name).collect()
    }

    fn all(old: &[PipelineSpec], new: &[PipelineSpec]) -> Vec<Change> {
        changes(old, &called_as_before(old, &[], new))
    }

    #[test]
    fn one_without_a_name_is_the_same_wherever_it_stands_and_whatever_is_beside_it() {
        let added = |name: &str, source: &str| Change::Add(called(&file(&[source])[0], name));
        let gone = |name: &str| Change::Remove(name.to_owned());
        assert_eq!(all(&file(&["a"]), &file(&["a", "b"])), [added("pipeline 2", "b")]);
        assert_eq!(all(&file(&["a"]), &file(&["b", "a"])), [added("pipeline 1", "b")]);
        assert_eq!(all(&file(&["a", "b"]), &file(&["b", "a"])), []);
        assert_eq!(all(&file(&["a", "b"]), &file(&["b"])), [gone("pipeline 1")]);
        assert_eq!(all(&file(&["a", "b", "c"]), &file(&["c", "a"])), [gone("pipeline 2")]);
        assert_eq!(all(&file(&["a", "a"]), &file(&["a", "a", "a"])), [added("pipeline 3", "a")]);
        assert_eq!(all(&file(&["x: a", "b"]), &file(&["b", "x: a"])), []);
    }

    #[test]
    fn one_that_differs_is_the_one_that_is_the_most_like_it() {
        let gain = |source: &str, db: f32| {
            let mut spec = file(&[source]).remove(0);
            spec.elements = vec![crate::config::ElementSpec::Gain { db }];
            spec
        };
        let (old, louder) = (file(&["a", "b"]), gain("b", 6.0));
        let found = all(&old, std::slice::from_ref(&louder));
        let spec = called(&louder, "pipeline 2");
        let adjusted = Change::Adjust { spec, parameters: vec![], gains: vec![(0, 6.0)] };
        assert_eq!(found, [Change::Remove("pipeline 1".into()), adjusted]);
        // With nothing else to go by, by its place among those that differ.
        let replaced = |name: &str, source: &str| Change::Replace(called(&file(&[source])[0], name));
        assert_eq!(all(&file(&["a"]), &file(&["c"])), [replaced("main", "c")]);
        assert_eq!(all(&file(&["a", "b"]), &file(&["c", "b"])), [replaced("pipeline 1", "c")]);
        assert_eq!(
            all(&file(&["a", "b", "c"]), &file(&["d", "c", "e"])),
            [replaced("pipeline 1", "d"), replaced("pipeline 2", "e")]
        );
    }

    #[test]
    fn no_name_is_had_twice_and_one_that_was_given_stays_with_whom_it_was_given_to() {
        assert_eq!(names(&[&["a"], &["a", "b"], &["c", "b", "a"]]), ["pipeline 1", "pipeline 2", "main"]);
        assert_eq!(names(&[&["a", "b"], &["b"], &["b", "c"]]), ["pipeline 2", "pipeline 3"]);
        assert_eq!(
            names(&[&["a", "b"], &["pipeline 2: c", "a", "b"]]),
            ["pipeline 2", "pipeline 1", "pipeline 3"]
        );
        assert_eq!(names(&[&["a"], &["main: b", "a"]]), ["main", "pipeline 2"]);
        let given = |first: &str, second: &str| {
            file(&[&format!("pipeline 1: {first}"), &format!("pipeline 2: {second}")])
        };
        let swapped = all(&given("a", "b"), &given("b", "a"));
        assert!(matches!(&swapped[..], [Change::Replace(_), Change::Replace(_)]), "{swapped:?}");
    }

    #[test]
    fn one_that_is_given_the_name_that_it_has_is_the_same() {
        assert_eq!(all(&file(&["a"]), &file(&["main: a"])), []);
        assert_eq!(all(&file(&["main: a"]), &file(&["a"])), []);
    }

    #[test]
    fn one_that_has_left_comes_back_under_its_name_and_nobody_else_is_called_so() {
        let all = file(&["a", "b", "c"]);
        let (left, old) = all.split_at(1);
        let names = |sources: &[&str]| {
            let specs = called_as_before(old, left, &file(sources));
            specs.into_iter().map(|spec| spec.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["b", "c", "a"]), ["pipeline 2", "pipeline 3", "pipeline 1"]);
        assert_eq!(names(&["d", "b", "c"]), ["pipeline 4", "pipeline 2", "pipeline 3"]);
        assert_eq!(names(&["d", "c"]), ["pipeline 2", "pipeline 3"]);
    }
}
