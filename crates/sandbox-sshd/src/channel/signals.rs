//! Conversion between russh's signals and [`Signal`] (RFC 4254 §6.10).

use russh::Sig;
use sandbox_core::Signal;

pub(crate) fn to_russh(signal: &Signal) -> Sig {
    // russh sends the name, whichever variant it is in.
    Sig::Custom(signal.name().to_owned())
}

/// Returns `None` for a name that no signal can have.
pub(crate) fn from_russh(signal: &Sig) -> Option<Signal> {
    signal_name(signal).parse().ok()
}

fn signal_name(signal: &Sig) -> &str {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
}
