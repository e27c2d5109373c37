//! The built command, run as a person or a script runs it. One program, so that its tests wait beside one another.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod copies;
mod credential_program;
mod doctor;
mod doctor_gateway;
mod egress;
mod forward;
mod ids_and_lists;
mod jobs;
mod lifecycle;
mod mcp;
mod odd_names;
mod origin;
mod pool;
mod run;
mod signals;
mod ssh_config;
mod ssh_names;
mod ssh_tools;
mod streams;
mod support;
mod terminal_output;
mod transforms;
mod tty;
mod url;
mod usage;
