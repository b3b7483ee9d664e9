//! The native half of Callveil's Python package: whole columns through the library's tokenizer.
//!
//! ```text
//! Python object -> package/callveil (which kind is it?) -> column, or objects -> map (on all cores) -> the same kind
//! ```
//!
//! Only the library reads numbers and makes UIDs.

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

/// Wipes all freed memory, since buffers of columns held numbers.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// The content of `callveil._native`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    use pyo3::types::PyModuleMethods as _;
    // The hook belongs to this library's own copy of the standard library, so it does not affect the rest of the
    // process.
    panic::set_hook(Box::new(tell_place));
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<ring::Ring>()?;
    module.add_class::<tokenizer::Tokenizer>()
}

/// Prints where a panic happened, but not its message, which may hold a number.
fn tell_place(panic: &PanicHookInfo<'_>) {
    if let Some(place) = panic.location() {
        eprintln!("callveil: a defect at {}:{}", place.file(), place.line());
    }
}
