//! Conversion between russh's signals and [`Signal`] (RFC 4254 §6.10).

use russh::Sig;
use sandbox_core::Signal;

pub(super) fn to_ssh(signal: &Signal) -> Sig {
    // russh sends the name, whichever variant it is in.
    Sig::Custom(signal.name().to_owned())
}

/// Returns the signal with the name that the server sent; `UNKNOWN` for a name that no signal can have.
pub(super) fn from_ssh(sig: &Sig) -> Signal {
    let name = match sig {
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
    };
    name.parse()
        .unwrap_or_else(|_| Signal::Other("UNKNOWN".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_nonsense_is_unknown() {
        for (sig, signal) in [
            (Sig::ABRT, Signal::Abrt),
            (Sig::ALRM, Signal::Alrm),
            (Sig::FPE, Signal::Fpe),
            (Sig::HUP, Signal::Hup),
            (Sig::ILL, Signal::Ill),
            (Sig::INT, Signal::Int),
            (Sig::KILL, Signal::Kill),
            (Sig::PIPE, Signal::Pipe),
            (Sig::QUIT, Signal::Quit),
            (Sig::SEGV, Signal::Segv),
            (Sig::TERM, Signal::Term),
            (Sig::USR1, Signal::Usr1),
        ] {
            assert_eq!(from_ssh(&sig), signal);
        }
        for name in ["ABRT", "HUP", "KILL", "SEGV", "TERM", "USR1", "USR2", "BUS"] {
            let signal: Signal = name.parse().unwrap();
            assert_eq!(from_ssh(&to_ssh(&signal)), signal);
        }
        let nonsense = Sig::Custom("\x1b[31m".to_owned());
        assert_eq!(from_ssh(&nonsense), Signal::Other("UNKNOWN".to_owned()));
    }
}
