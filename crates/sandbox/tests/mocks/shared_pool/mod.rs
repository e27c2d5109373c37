//! Pools that processes share, on a backend that elects and a clock that is stepped.

mod claiming;
mod egress;
mod filling;
mod world;
