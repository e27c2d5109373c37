//! Signals, as SSH names them (RFC 4254 §6.10).

use russh::Sig;
use sandbox_core::Signal;

/// For russh to send.
pub(super) fn to_ssh(signal: &Signal) -> Sig {
    match signal {
        Signal::Abrt => Sig::ABRT,
        Signal::Alrm => Sig::ALRM,
        Signal::Fpe => Sig::FPE,
        Signal::Hup => Sig::HUP,
        Signal::Ill => Sig::ILL,
        Signal::Int => Sig::INT,
        Signal::Kill => Sig::KILL,
        Signal::Pipe => Sig::PIPE,
        Signal::Quit => Sig::QUIT,
        Signal::Segv => Sig::SEGV,
        Signal::Term => Sig::TERM,
        Signal::Usr1 => Sig::USR1,
        other => Sig::Custom(other.name().to_owned()),
    }
}

/// As the server names it; a name that is none becomes `UNKNOWN`.
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
        for name in ["ABRT", "HUP", "KILL", "SEGV", "TERM", "USR1", "USR2", "BUS"] {
            let signal: Signal = name.parse().unwrap();
            assert_eq!(from_ssh(&to_ssh(&signal)), signal);
        }
        let nonsense = Sig::Custom("\x1b[31m".to_owned());
        assert_eq!(from_ssh(&nonsense), Signal::Other("UNKNOWN".to_owned()));
    }
}
