//! The native part of the Python package `sandbox_sdk`: thin classes whose methods make [`Operation`]s of calls of the
//! facade. What a user of the package sees is written in Python (`python/sandbox_sdk`).
//!
//! One core serves both styles: a blocking call waits for an operation, an asyncio call awaits it.

// Imports point down: client uses pools, pools uses sandbox_object, that uses the other classes; they use calls, builder
// and records, builder uses upstreams and transforms, calls uses operation, that uses event_loop and logging, these use
// delivery and errors, and all of them use certificates, untaken, value, leftovers, runtime and core.
mod builder;
mod calls;
mod certificates;
mod client;
mod core;
mod delivery;
mod egress;
mod errors;
mod event_loop;
mod files;
mod jobs;
mod leftovers;
mod logging;
mod operation;
mod pools;
mod ports;
mod process;
mod records;
mod runtime;
mod sandbox_object;
mod transfers;
mod transforms;
mod untaken;
mod upstreams;
mod value;
mod watching;

use pyo3::prelude::*;

/// Prepares for the exit of the interpreter: nothing enters it from now on.
#[pyfunction]
fn begin_exit(py: Python<'_>) {
    runtime::begin_exit();
    py.detach(delivery::stop);
}

/// Whether this process was forked from one that uses this package.
#[pyfunction]
fn is_forked() -> bool {
    runtime::is_forked()
}

#[pymodule(gil_used = false)]
fn _sandbox(module: &Bound<'_, PyModule>) -> PyResult<()> {
    logging::start();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(begin_exit, module)?)?;
    module.add_function(wrap_pyfunction!(is_forked, module)?)?;
    module.add_function(wrap_pyfunction!(client::open_client, module)?)?;
    module.add_class::<operation::Operation>()?;
    module.add_class::<untaken::RawItem>()?;
    module.add_class::<client::RawClient>()?;
    module.add_class::<sandbox_object::RawSandbox>()?;
    module.add_class::<files::RawFiles>()?;
    module.add_class::<transfers::RawTransfers>()?;
    module.add_class::<process::RawProcess>()?;
    module.add_class::<jobs::RawJob>()?;
    module.add_class::<ports::RawForward>()?;
    module.add_class::<pools::RawPool>()?;
    module.add_class::<egress::RawEgress>()?;
    module.add_class::<egress::RawDecisions>()?;
    module.add_class::<watching::RawWatch>()?;
    Ok(())
}
