//! A plugin's object and the calls that are not blocks: each failure names the plugin's own method.

use crate::failure::{self, plain};
use crate::interpreter;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyModule};
use shared::format::Format;
use shared::message::{Failure, Loaded, PluginKind, Stage};
use std::path::Path;

/// The version of the plugin API that this worker speaks.
const API_VERSION: i64 = 1;
/// Longest text that a plugin says of itself, in characters.
const INFO_MAX: usize = 1000;

const KINDS: [(&str, PluginKind); 3] = [
    ("AudioSourcePlugin", PluginKind::Source),
    ("AudioProcessorPlugin", PluginKind::Processor),
    ("AudioSinkPlugin", PluginKind::Sink),
];

/// What `create_plugin` returned.
pub(crate) struct Instance<'py> {
    object: Bound<'py, PyAny>,
    kind: PluginKind,
}

/// What a parameter met with.
pub(crate) enum Answer {
    Accepted,
    Refused,
    Raised(Failure),
}

/// Imports the file and makes the plugin.
pub(crate) fn load<'py>(py: Python<'py>, file: &Path) -> Result<(Instance<'py>, Loaded), Failure> {
    interpreter::point_at(py, file)
        .map_err(|e| failure::raised(py, Stage::Load, "preparing the import", &e))?;
    let module = import(py, file)?;
    let object = create(&module)?;
    let kind = kind(&object)?;
    let instance = Instance { object, kind };
    let loaded = instance.introduce()?;
    Ok((instance, loaded))
}

/// Imports by the file's stem, so that the module is known under a name that other processes can import too.
fn import<'py>(py: Python<'py>, file: &Path) -> Result<Bound<'py, PyModule>, Failure> {
    if !file.is_file() {
        return Err(plain(Stage::Load, format!("there is no file {}", file.display())));
    }
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if stem.contains('.') {
        let why = format!("{stem}.py can't be imported: a module's name has no dots");
        return Err(plain(Stage::Load, why));
    }
    let module =
        py.import("importlib").and_then(|importlib| importlib.call_method1("import_module", (&stem,)));
    interpreter::stay_only_in_the_worker();
    let module = module.map_err(|e| failure::raised(py, Stage::Load, "the import", &e))?;
    let found: Option<String> = module.getattr("__file__").and_then(|f| f.extract()).ok();
    if !found.as_deref().is_some_and(|found| same_file(Path::new(found), file)) {
        let other = found.unwrap_or_else(|| "a module without a file".into());
        let why = format!("the name {stem} belongs to {other}: give the plugin's file another name");
        return Err(plain(Stage::Load, why));
    }
    module.cast_into().map_err(|e| failure::raised(py, Stage::Load, "the import", &e.into()))
}

fn same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().is_some_and(|one| other.canonicalize().ok() == Some(one))
}

fn create<'py>(module: &Bound<'py, PyModule>) -> Result<Bound<'py, PyAny>, Failure> {
    let Ok(create) = module.getattr("create_plugin") else {
        return Err(plain(Stage::Load, "the file defines no create_plugin()"));
    };
    if !create.is_callable() {
        return Err(plain(Stage::Load, "create_plugin is not a function"));
    }
    let made = create.call0();
    interpreter::stay_only_in_the_worker();
    made.map_err(|e| failure::raised(module.py(), Stage::Load, "create_plugin()", &e))
}

/// The kind follows from the class.
fn kind(object: &Bound<'_, PyAny>) -> Result<PluginKind, Failure> {
    let py = object.py();
    let look = || -> PyResult<Option<PluginKind>> {
        let base = py.import("base_plugin")?;
        for (class, kind) in KINDS {
            if object.is_instance(&base.getattr(class)?)? {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    };
    let found = look().map_err(|e| failure::raised(py, Stage::Load, "looking at the plugin's class", &e))?;
    found.ok_or_else(|| {
        let class = object.get_type().qualname().map(|name| name.to_string()).unwrap_or_default();
        let kinds = KINDS.map(|(class, _)| class).join(", ");
        let why = format!("create_plugin() returned {class}, whose class is none of {kinds} of base_plugin");
        plain(Stage::Load, why)
    })
}

impl<'py> Instance<'py> {
    fn py(&self) -> Python<'py> {
        self.object.py()
    }

    /// Source, processor or sink.
    pub(crate) fn kind(&self) -> PluginKind {
        self.kind
    }

    /// The method that takes a block.
    pub(crate) fn block_method(&self) -> Result<Bound<'py, PyAny>, Failure> {
        let name = block_method_name(self.kind);
        self.object.getattr(name).map_err(|e| failure::raised(self.py(), Stage::Start, name, &e))
    }

    /// Whether silent blocks before the first one harm nothing: a processor has to do with silence at any time.
    fn may_be_warmed_up(&self) -> bool {
        // A method of that name, or anything else of its own, is no word of a plugin's.
        let says = self.object.getattr("silent_warm_up").ok();
        let says = says.and_then(|says| says.cast::<PyBool>().ok().map(|says| says.is_true()));
        says.unwrap_or(self.kind == PluginKind::Processor)
    }

    /// What the plugin says of itself; refused if it was written for another API.
    fn introduce(&self) -> Result<Loaded, Failure> {
        let info = self.call(Stage::Load, "get_info", ())?;
        let read = || -> PyResult<(i64, Loaded)> {
            let version =
                info.getattr_opt("api_version")?.map_or(Ok(API_VERSION), |version| version.extract())?;
            let text = |name| -> PyResult<String> {
                Ok(info.getattr(name)?.str()?.to_string_lossy().chars().take(INFO_MAX).collect())
            };
            Ok((
                version,
                Loaded {
                    kind: self.kind,
                    name: text("name")?,
                    version: text("version")?,
                    author: text("author")?,
                    description: text("description")?,
                    fail_closed: self
                        .object
                        .getattr_opt("fail_closed")?
                        .map_or(Ok(false), |it| it.is_truthy())?,
                    silent_warm_up: self.may_be_warmed_up(),
                    keeps_state: self.can("save_state") && self.can("load_state"),
                },
            ))
        };
        let unreadable = |e| failure::raised(self.py(), Stage::Load, "reading what get_info() returned", &e);
        let (version, loaded) = read().map_err(unreadable)?;
        if version == API_VERSION {
            return Ok(loaded);
        }
        let why =
            format!("the plugin wants plugin API version {version}, this host has version {API_VERSION}");
        Err(plain(Stage::Load, why))
    }

    /// Gives the plugin its format, as far as it wants to know.
    pub(crate) fn set_format(&self, format: Format) -> Result<(), Failure> {
        self.call_if_there(Stage::Configure, &["set_sample_rate"], (format.rate(),))?;
        self.call_if_there(Stage::Configure, &["set_channel_count", "set_channels"], (format.channels(),))?;
        self.call_if_there(Stage::Configure, &["set_buffer_size"], (format.block_frames(),))?;
        Ok(())
    }

    /// The sample rate that the plugin settled for.
    pub(crate) fn sample_rate(&self) -> Result<Option<u32>, Failure> {
        self.whole_number(&["get_sample_rate"])
    }

    /// The channels that the plugin settled for.
    pub(crate) fn channels(&self) -> Result<Option<u32>, Failure> {
        self.whole_number(&["get_channel_count", "get_channels"])
    }

    /// By how much the plugin's output lags, in seconds.
    pub(crate) fn latency_s(&self) -> Result<f64, Failure> {
        let name = "get_processing_latency";
        let Some(latency) = self.call_if_there(Stage::Configure, &[name], ())? else { return Ok(0.0) };
        latency.extract().map_err(|_| self.is_no("number of seconds", name, &latency))
    }

    fn whole_number(&self, names: &[&str]) -> Result<Option<u32>, Failure> {
        let Some(value) = self.call_if_there(Stage::Configure, names, ())? else { return Ok(None) };
        // 48000.0 is as good as 48000.
        let whole = value.extract::<u32>().ok().or_else(|| {
            let value: f64 = value.extract().ok()?;
            format!("{value}").parse().ok()
        });
        whole.map(Some).ok_or_else(|| self.is_no("whole number", names[0], &value))
    }

    fn is_no(&self, wanted: &str, name: &str, value: &Bound<'py, PyAny>) -> Failure {
        plain(Stage::Configure, format!("{name}() returned {}, not a {wanted}", shown(value)))
    }

    /// Sets a parameter. None counts as accepted.
    pub(crate) fn set_parameter(&self, key: &str, value: &str) -> Answer {
        let returned = match self.call(Stage::Parameter, "set_parameter", (key, value)) {
            Ok(returned) => returned,
            Err(mut failure) => {
                failure.message = format!("{} (parameter {key})", failure.message);
                return Answer::Raised(failure);
            }
        };
        match returned.is_none().then_some(true).map_or_else(|| returned.is_truthy(), Ok) {
            Ok(true) => Answer::Accepted,
            Ok(false) => Answer::Refused,
            Err(e) => Answer::Raised(failure::raised(
                self.py(),
                Stage::Parameter,
                "the truth of what set_parameter() returned",
                &e,
            )),
        }
    }

    /// Reads a parameter, as text.
    pub(crate) fn get_parameter(&self, key: &str) -> Result<String, Failure> {
        let value = self.call(Stage::Parameter, "get_parameter", (key,))?;
        let text = value.str().map(|text| text.to_string_lossy().into_owned());
        text.map_err(|e| failure::raised(self.py(), Stage::Parameter, "the text of a parameter", &e))
    }

    /// Calls a method that says with its truth whether it went well.
    pub(crate) fn agree(&self, stage: Stage, name: &str) -> Result<(), Failure> {
        let returned = self.call(stage, name, ())?;
        match returned.is_truthy() {
            Ok(true) => Ok(()),
            Ok(false) => Err(plain(stage, format!("{name}() returned {}", shown(&returned)))),
            Err(e) => {
                Err(failure::raised(self.py(), stage, &format!("the truth of what {name}() returned"), &e))
            }
        }
    }

    /// Calls a method.
    pub(crate) fn call(
        &self,
        stage: Stage,
        name: &str,
        arguments: impl PyCallArgs<'py>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let returned = self.object.call_method1(name, arguments);
        interpreter::stay_only_in_the_worker();
        returned.map_err(|e| failure::raised(self.py(), stage, &format!("{name}()"), &e))
    }

    /// Calls the first of these methods that the plugin has; `None` if it has none of them.
    pub(crate) fn call_if_there(
        &self,
        stage: Stage,
        names: &[&str],
        arguments: impl PyCallArgs<'py>,
    ) -> Result<Option<Bound<'py, PyAny>>, Failure> {
        match names.iter().find(|name| self.has(name)) {
            Some(name) => self.call(stage, name, arguments).map(Some),
            None => Ok(None),
        }
    }

    fn can(&self, name: &str) -> bool {
        self.object.getattr(name).is_ok_and(|method| method.is_callable())
    }

    /// Anything but a missing attribute is for the call to report.
    fn has(&self, name: &str) -> bool {
        let py = self.py();
        !self.object.getattr(name).is_err_and(|e| e.is_instance_of::<PyAttributeError>(py))
    }
}

/// The name of the method that takes a block.
pub(crate) fn block_method_name(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Source => "read_audio",
        PluginKind::Processor => "process_audio",
        PluginKind::Sink => "write_audio",
    }
}

/// A value as Python shows it, not too long.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> String {
    let shown = value.repr().map(|shown| shown.to_string_lossy().chars().take(100).collect());
    shown.unwrap_or_else(|_| "something that can't be shown".into())
}
