//! Pools that several processes share: who takes which sandbox, and who fills a pool.
//!
//! There is no controller. The API server decides by applying a patch only if the sandbox still waits, and by
//! accepting a change of a Lease only in the version that was read. The modules here prepare and judge these requests.
//! They do no I/O and read no clock, so that tests can run through any order of events.
//!
//! | what | how it is kept safe |
//! |---|---|
//! | two claims of one sandbox | each patch requires the uid and the state `waiting`; the second fails |
//! | the response to a claim is lost | the claim writes a random word, by which it is recognised ([`claiming`]) |
//! | a claim and a withdrawal | both require `waiting`, so one of them fails |
//! | a claimer that is killed | the filler leaves a taken sandbox, which ends by itself unless the claimer connects |
//! | two processes that fill | a Lease ([`election`]); if it fails, the pool is too large for a while |

pub(crate) mod candidates;
pub(crate) mod claiming;
pub(crate) mod election;
pub(crate) mod ends;
pub(crate) mod patches;
pub(crate) mod resize;
