//! Options and arguments that several subcommands share.

pub(crate) mod egress;
pub(crate) mod env_file;
pub(crate) mod exec;
pub(crate) mod global;
pub(crate) mod id;
pub(crate) mod job;
pub(crate) mod path;
pub(crate) mod pod;
pub(crate) mod pool;
pub(crate) mod sandbox;
pub(crate) mod transform;
pub(crate) mod upstream;
pub(crate) mod values;
