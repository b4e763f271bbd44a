//! Reading typed values out of the spanned TOML tree, gathering faults instead of stopping at the first.
//!
//! For the modules that know the configuration's shape. Each getter gives the value, or notes a fault and gives
//! `None`. It knows TOML types, ranges and choices, and nothing of pipelines.

use super::Fault;
use super::files::{FileUse, Role};
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value with its place in the text.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;
/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// The keys that any Python plugin has, besides the one that names its file.
pub(super) const PLUGIN_KEYS: &[&str] = &[
    "name",
    "python",
    "set",
    "mode",
    "deadline",
    "lost",
    "fail_closed",
    "guard",
    "gc",
    "silent_warm_up",
    "level_max_db",
    "spin_us",
    "adapt",
    "restart",
    "standby",
    "hang_ms",
    "memory_max",
    "snapshot_s",
];

/// Those of one that is a source or a sink: also which of its channels is which of the pipeline's.
pub(super) const END_PLUGIN_KEYS: &[&str] = &{
    let mut keys = ["map"; PLUGIN_KEYS.len() + 1];
    let (plugin, _) = keys.split_at_mut(PLUGIN_KEYS.len());
    plugin.copy_from_slice(PLUGIN_KEYS);
    keys
};

/// The keys that only the top level has; below a `[[pipeline]]` they would be taken for the pipeline's.
pub(super) const TOP_KEYS: &[&str] = &["reports", "power", "socket"];

/// One form that a table can have: the key that tells it from the others, and those that may stand beside it.
pub(super) struct Form {
    pub(super) key: &'static str,
    pub(super) what: &'static str,
    pub(super) keys: &'static [&'static str],
}

impl Form {
    fn all_keys(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.keys.iter().copied())
    }
}

/// Gathers faults, and the files that the configuration names.
pub(super) struct Reader<'t> {
    text: &'t str,
    base: &'t Path,
    faults: BTreeSet<Fault>,
    /// Lines that are not TOML: the recovered tree can't be trusted there.
    broken_lines: BTreeSet<usize>,
    /// Whether one of them heads a table: its keys may have ended up in another one.
    header_is_broken: bool,
    uses: Vec<FileUse>,
    cores: Vec<(usize, Span)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, base: &'t Path) -> Self {
        Self {
            text,
            base,
            faults: BTreeSet::new(),
            broken_lines: BTreeSet::new(),
            header_is_broken: false,
            uses: Vec::new(),
            cores: Vec::new(),
        }
    }

    /// Notes what the TOML parser complains of.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let (line, column) = self.place(error.span().unwrap_or(0..0).start);
        self.broken_lines.insert(line);
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        self.header_is_broken |= text.trim_start().starts_with('[');
        let right = if error.message() == "duplicate key" { "; keep one of the two" } else { "" };
        let message = format!("this is not TOML: {}{right}", error.message());
        self.faults.insert(Fault { line, column, message });
    }

    /// Notes a fault at `at`. In a text that isn't TOML, a line that failed already gets no further faults.
    pub(super) fn fault(&mut self, at: &Span, message: impl Into<String>) {
        let (line, column) = self.place(at.start);
        let recovered = at.is_empty() && !self.broken_lines.is_empty();
        if !recovered && !self.broken_lines.contains(&line) {
            self.faults.insert(Fault { line, column, message: message.into() });
        }
    }

    /// Notes that something is absent, unless the text isn't TOML: then it may be in the broken part.
    pub(super) fn missing(&mut self, at: &Span, message: impl Into<String>) {
        if self.broken_lines.is_empty() {
            self.fault(at, message);
        }
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, at: &Span) -> usize {
        self.place(at.start).0
    }

    fn place(&self, at: usize) -> (usize, usize) {
        place(self.text, at)
    }

    pub(super) fn take_uses(&mut self) -> Vec<FileUse> {
        std::mem::take(&mut self.uses)
    }

    /// Notes a core that is asked for.
    pub(super) fn core(&mut self, core: usize, at: Span) {
        self.cores.push((core, at));
    }

    pub(super) fn take_cores(&mut self) -> Vec<(usize, Span)> {
        std::mem::take(&mut self.cores)
    }

    /// All faults, in the order of their places.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_iter().collect()
    }

    /// Notes each key of `table` that is not among `known`, with the nearest that is.
    pub(super) fn keys(&mut self, table: &DeTable<'_>, place: &str, known: &[&str]) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) && !self.header_is_broken {
                let right = suggestion(name, known);
                self.fault(&key.span(), format!("`{name}` is not a key of {place}; {right}"));
            }
        }
    }

    /// Which of `forms` the table `what` has, by its key, with that key's value; notes keys that don't belong.
    pub(super) fn form<'r, 'v>(
        &mut self,
        what: &str,
        table: &'r DeTable<'v>,
        at: &Span,
        forms: &[Form],
    ) -> Option<(&'static str, &'r Node<'v>)> {
        let present: Vec<&Form> = forms.iter().filter(|form| table.contains_key(form.key)).collect();
        let keys: Vec<&str> = forms.iter().map(|form| form.key).collect();
        match present.as_slice() {
            [form] => {
                self.form_keys(table, form, forms);
                table.get(form.key).map(|node| (form.key, node))
            }
            [] => {
                let known: Vec<&str> = forms.iter().flat_map(|form| form.all_keys()).collect();
                self.keys(table, what, &known);
                if table.keys().all(|key| known.contains(&key.get_ref().as_ref())) {
                    self.missing(at, format!("{what} names nothing; it needs {}", one_of(&keys, '`')));
                }
                None
            }
            [first, second, ..] => {
                let (first, second) = (first.key, second.key);
                self.fault(at, format!("{what} has both `{first}` and `{second}`; keep one of them"));
                None
            }
        }
    }

    /// Notes each key that `form` doesn't have, and whether another form does.
    fn form_keys(&mut self, table: &DeTable<'_>, form: &Form, forms: &[Form]) {
        let known: Vec<&str> = form.all_keys().collect();
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let message = match forms.iter().find(|other| other.keys.contains(&name)) {
                Some(other) => {
                    format!("`{name}` is for {}, and this is {}; remove it", other.what, form.what)
                }
                None => format!("`{name}` is not a key of {}; {}", form.what, suggestion(name, &known)),
            };
            self.fault(&key.span(), message);
        }
    }

    /// Text with something in it.
    pub(super) fn text(&mut self, key: &str, node: &Node<'_>) -> Option<String> {
        let Some(text) = node.get_ref().as_str() else {
            self.wrong_type(key, node, "a string in quotes");
            return None;
        };
        if text.trim().is_empty() {
            self.fault(&node.span(), format!("`{key}` is empty; give it a value or remove it"));
            return None;
        }
        if text.contains(char::is_control) {
            self.fault(
                &node.span(),
                format!("`{key}` has a control character; write it on one line, without"),
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// A whole number within `range`.
    pub(super) fn whole(&mut self, key: &str, node: &Node<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let right = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = node.get_ref().as_integer() else {
            self.wrong_type(key, node, &right);
            return None;
        };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let within = value.filter(|value| range.contains(value));
        if within.is_none() {
            self.fault(&node.span(), format!("`{key}` is {integer}; it must be {right}"));
        }
        within
    }

    /// A number within `range`, with or without a point; one in a string counts too if `quoted`.
    pub(super) fn number(
        &mut self,
        key: &str,
        node: &Node<'_>,
        range: &RangeInclusive<f32>,
        quoted: bool,
    ) -> Option<f32> {
        let right = format!("a number from {} to {}", range.start(), range.end());
        self.number_that(key, node, &right, quoted, |value| range.contains(value))
    }

    /// As [`number`](Self::number), for numbers that no single range describes; `right` says which they are.
    pub(super) fn number_that<T: FromStr>(
        &mut self,
        key: &str,
        node: &Node<'_>,
        right: &str,
        quoted: bool,
        fits: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let written = match node.get_ref() {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::String(text) if quoted => text.to_string(),
            _ => {
                self.wrong_type(key, node, right);
                return None;
            }
        };
        let value = written.trim().parse().ok().filter(fits);
        if value.is_none() {
            self.fault(&node.span(), format!("`{key}` is {written}; it must be {right}"));
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &str, node: &Node<'_>) -> Option<bool> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type(key, node, "true or false, without quotes");
        }
        value
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, node: &Node<'_>, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let Some(text) = node.get_ref().as_str() else {
            self.wrong_type(key, node, &one_of(&names, '"'));
            return None;
        };
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let right = one_of(&names, '"');
            self.fault(&node.span(), format!("`{key}` is \"{text}\"; it must be {right}"));
        }
        found.map(|(_, value)| *value)
    }

    /// Notes that `key` has a value of the wrong type, and what it must be.
    pub(super) fn wrong_type(&mut self, key: &str, node: &Node<'_>, right: &str) {
        let found = node.get_ref().type_str();
        let article = if "aeiou".contains(&found[..1]) { "an" } else { "a" };
        self.fault(&node.span(), format!("`{key}` is {article} {found}; it must be {right}"));
    }

    /// `text` as a path from the configuration's folder, not to be looked at.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    /// `text` as a path from the configuration's folder, noted for what it is used as.
    pub(super) fn file(&mut self, text: &str, at: Span, role: Role) -> PathBuf {
        let path = self.path(text);
        self.uses.push(FileUse { path: path.clone(), at, role });
        path
    }
}

/// Line and column, both from 1, of the byte `at`. A byte order mark takes no column.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().filter(|c| *c != '\u{feff}').count() + 1;
    (line, column)
}

/// `a`, `b` or `c`, each between two of `quote`.
pub(super) fn one_of(names: &[&str], quote: char) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
    match quoted.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        all => all.concat(),
    }
}

/// Where the name belongs, the nearest known name, or all of them if none is near.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    if TOP_KEYS.contains(&name) {
        return "write it above the first `[[pipeline]]`".to_owned();
    }
    let lower = name.to_lowercase();
    let near = known.iter().map(|known| (distance(&lower, known), known)).min();
    match near {
        Some((distance, near)) if distance <= near.len().max(name.len()) / 3 + 1 && distance < near.len() => {
            format!("did you mean `{near}`?")
        }
        _ => format!("it may be {}", one_of(known, '`')),
    }
}

/// How many characters must be put in, taken out or replaced to make one name of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A value as the text that a plugin's parameter gets: `0.5`, `true`; `None` if it is not one value.
pub(super) fn as_parameter(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(integer.to_string(), |i| i.to_string()),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        _ => return None,
    })
}
