//! Pools that several processes share.

mod claim_faults;
mod claims;
mod crowd;
mod filling;
mod forgeries;
mod keys;
mod leading;
mod rights;
mod support;
