//! The native half of Callveil's Python package: whole columns through the library's tokenizer.
//!
//! ```text
//! Python object -> package/callveil (which kind is it?) -> column, or objects -> map (on all cores) -> the same kind
//! ```
//!
//! No number is read and no UID made here but by the library.

mod column;
mod failure;
mod map;
mod objects;
mod record;
mod ring;
mod task;
mod tokenizer;

use std::panic::{self, PanicHookInfo};

use pyo3::{Bound, PyResult, pymodule, types::PyModule};

/// Wipes all that is freed: buffers of columns held numbers.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// What `callveil._native` has.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    use pyo3::types::PyModuleMethods as _;
    // This library has a hook of its own, so that no other part of the process is touched.
    panic::set_hook(Box::new(tell_place));
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<ring::Ring>()?;
    module.add_class::<tokenizer::Tokenizer>()
}

/// Tells where a panic was and not with which words: they may hold a number.
fn tell_place(panic: &PanicHookInfo<'_>) {
    if let Some(place) = panic.location() {
        eprintln!("callveil: a defect at {}:{}", place.file(), place.line());
    }
}
