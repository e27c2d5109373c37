//! The types that most programs need: `use sandbox::prelude::*;`

pub use crate::{
    Client, Command, Error, ExecEvent, ExitStatus, Job, Output, Process, Result, Sandbox,
    SandboxBuilder, SandboxId, SandboxInfo, Signal,
};
