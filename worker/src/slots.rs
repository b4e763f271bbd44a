//! The plugin's view of the slots: for each one numpy array that is the shared memory, in one `AudioBuffer`.
//!
//! Made once per format. A plugin may rebind `buffer.data`, change the array in place or keep it for ever; after
//! each call the slot's result is brought home and the pair is put right again. An array that outlives the slots
//! keeps the memory mapped, so nothing a plugin keeps can point nowhere.

// numpy arrays over memory that numpy does not own.
#![allow(unsafe_code)]

use numpy::ndarray::ArrayView2;
use numpy::npyffi::NPY_ARRAY_WRITEABLE;
use numpy::{PyArray2, PyArrayDescr, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods, dtype};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyEllipsis, PyTuple};
use shared::format::Format;
use shared::ring::SlotMemory;
use std::ptr::NonNull;

/// Keeps the memory mapped as long as an array has it as its base.
#[pyclass(frozen)]
struct MappedSlots {
    _memory: SlotMemory,
}

/// One slot, as the plugin gets it.
pub(crate) struct Slot<'py> {
    format: Format,
    owner: Bound<'py, PyAny>,
    samples: NonNull<f32>,
    array: Bound<'py, PyArray2<f32>>,
    dtype: Bound<'py, PyArrayDescr>,
    buffer: Bound<'py, PyAny>,
    /// The buffer as the argument list of a call: made once, so that a call allocates nothing.
    pub(crate) arguments: Bound<'py, PyTuple>,
}

/// Why `buffer.data` is no result.
pub(crate) enum BadData {
    /// It can't be read, or not as an array.
    Raised(PyErr),
    /// Not channels times frames.
    Shape(String),
}

impl From<PyErr> for BadData {
    fn from(e: PyErr) -> Self {
        Self::Raised(e)
    }
}

/// All slots of a format.
pub(crate) fn make<'py>(
    py: Python<'py>,
    memory: &SlotMemory,
    class: &Bound<'py, PyAny>,
) -> PyResult<Vec<Slot<'py>>> {
    let layout = memory.layout();
    let owner = Bound::new(py, MappedSlots { _memory: memory.clone() })?.into_any();
    (0..layout.slots() as usize)
        .map(|index| Slot::new(&owner, memory.samples(index), layout.format(), class))
        .collect()
}

impl<'py> Slot<'py> {
    fn new(
        owner: &Bound<'py, PyAny>,
        samples: NonNull<f32>,
        format: Format,
        class: &Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        let array = alias(owner, samples, format);
        let buffer = class.call1((format.channels(), format.block_frames()))?;
        let arguments = PyTuple::new(owner.py(), [&buffer])?;
        let dtype = dtype::<f32>(owner.py());
        Ok(Self { format, owner: owner.clone(), samples, array, dtype, buffer, arguments })
    }

    /// Puts our array into the buffer; whether the buffer then gives it back.
    pub(crate) fn install(&self) -> PyResult<bool> {
        let data = intern!(self.buffer.py(), "data");
        self.buffer.setattr(data, &self.array)?;
        Ok(self.buffer.getattr(data)?.is(&self.array))
    }

    /// Whether the buffer holds our array, and the array is as it was made.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        let data = self.buffer.getattr(intern!(self.buffer.py(), "data"));
        data.is_ok_and(|data| data.is(&self.array)) && self.is_intact()
    }

    /// Whether nobody changed place, shape, strides, type or flags of our array in place.
    fn is_intact(&self) -> bool {
        let frame = size_of::<f32>().cast_signed();
        let row = frame * self.format.block_frames().cast_signed();
        self.array.data() == self.samples.as_ptr()
            && self.array.shape() == [self.format.channels(), self.format.block_frames()]
            && self.array.strides() == [row, frame]
            && self.array.dtype().is(&self.dtype)
            && self.is_writeable()
    }

    fn is_writeable(&self) -> bool {
        // SAFETY: a numpy array that we hold a reference to, with the interpreter held, so nobody writes its
        // head meanwhile; the head's layout is part of numpy's stable interface.
        let flags = unsafe { (*self.array.as_array_ptr()).fields.flags };
        flags & NPY_ARRAY_WRITEABLE != 0
    }

    /// Puts the pair right again after a call that did not leave it untouched, and brings the result home first
    /// if it is wanted. False if the buffer no longer takes our array.
    pub(crate) fn settle(&mut self, wanted: bool) -> (Result<(), BadData>, bool) {
        let data = self.buffer.getattr(intern!(self.buffer.py(), "data"));
        if !self.is_intact() {
            self.array = alias(&self.owner, self.samples, self.format);
        }
        let home = match data {
            Ok(data) if wanted => self.copy_from(&data),
            Err(e) if wanted => Err(e.into()),
            _ => Ok(()),
        };
        (home, self.install().unwrap_or(false))
    }

    /// A buffer of its own with the slot's samples in it, for a class whose buffers can't hold our array.
    pub(crate) fn fresh(&self, class: &Bound<'py, PyAny>, with_audio: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        let buffer = class.call1((self.format.channels(), self.format.block_frames()))?;
        if with_audio {
            let samples = self.array.call_method0(intern!(py, "copy"))?;
            if buffer.setattr(intern!(py, "data"), &samples).is_err() {
                buffer.getattr(intern!(py, "data"))?.set_item(PyEllipsis::get(py), samples)?;
            }
        }
        Ok(buffer)
    }

    /// Copies what a plugin left as its result into the slot: anything like an array, of exactly this shape.
    pub(crate) fn copy_from(&self, data: &Bound<'py, PyAny>) -> Result<(), BadData> {
        let py = data.py();
        let array = match data.cast::<PyUntypedArray>() {
            Ok(array) => array.clone(),
            Err(_) => {
                ASARRAY.import(py, "numpy", "asarray")?.call1((data,))?.cast_into().map_err(PyErr::from)?
            }
        };
        let shape = [self.format.channels(), self.format.block_frames()];
        if array.shape() != shape {
            return Err(BadData::Shape(format!(
                "buffer.data has shape {}, not {} (channels, frames)",
                tuple(array.shape()),
                tuple(&shape)
            )));
        }
        if array.is_c_contiguous() && array.dtype().is(&self.dtype) {
            self.copy_same(&array);
            return Ok(());
        }
        // Another kind of number (complex, text) is refused by the casting rule.
        let rule = [(intern!(py, "casting"), "same_kind")].into_py_dict(py)?;
        COPYTO.import(py, "numpy", "copyto")?.call((&self.array, array), Some(&rule))?;
        Ok(())
    }

    /// Copies an array of the slot's own shape, type and order.
    fn copy_same(&self, array: &Bound<'py, PyUntypedArray>) {
        // SAFETY: a numpy array that is referred to, with the interpreter held, as in `is_writeable`.
        let from = unsafe { (*array.as_array_ptr()).fields.data };
        let bytes = self.format.samples() * size_of::<f32>();
        // SAFETY: `copy_from` found as many float32 in C order as the slot has; the slot is ours to write while
        // the plugin's call is over and not answered yet. They may overlap: the array may be a view of the slot.
        // As bytes, because numpy's arrays need not be aligned.
        unsafe { self.samples.as_ptr().cast::<u8>().copy_from(from.cast(), bytes) }
    }
}

static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static COPYTO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A new array over the samples of a slot, which keeps their memory mapped.
fn alias<'py>(owner: &Bound<'py, PyAny>, samples: NonNull<f32>, format: Format) -> Bound<'py, PyArray2<f32>> {
    let shape = (format.channels(), format.block_frames());
    // SAFETY: a slot has `channels * frames` samples, aligned to 64 bytes and mapped; the view lives for the
    // next line only, in which nobody reads or writes through it or beside it.
    let view = unsafe { ArrayView2::from_shape_ptr(shape, samples.as_ptr()) };
    // SAFETY: `owner` holds the mapping and never moves it; the array holds `owner` as its base.
    unsafe { PyArray2::borrow_from_array(&view, owner.clone()) }
}

fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        more => format!("({})", more.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}
