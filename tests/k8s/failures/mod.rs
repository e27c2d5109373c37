//! Sandboxes that cannot be created, or that end early: the error gives the stage, the reason and
//! a remedy in one line, and no object is left.

mod image;
mod limits;
mod rejected;
mod server;

use sandbox_conformance::Case;

pub(crate) fn cases() -> Vec<Case> {
    let lists = [
        image::cases(),
        rejected::cases(),
        server::cases(),
        limits::cases(),
    ];
    lists.into_iter().flatten().collect()
}
