//! How much the processors of this machine worked during a measurement: whether they were what it waited for.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A measurement that has begun.
pub(crate) struct Load {
    begun: Instant,
    worked: Duration,
}

/// What the processors did in a time, for all processes of the machine.
pub(crate) struct Worked {
    time: Duration,
    worked: Duration,
}

impl Load {
    pub(crate) fn begin() -> Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            worked: since_boot()?,
        })
    }

    pub(crate) fn end(&self) -> Result<Worked> {
        Ok(Worked {
            time: self.begun.elapsed(),
            worked: since_boot()?.saturating_sub(self.worked),
        })
    }
}

impl Worked {
    /// The sum of several measurements.
    pub(crate) fn sum(all: &[Self]) -> Self {
        Self {
            time: all.iter().map(|one| one.time).sum(),
            worked: all.iter().map(|one| one.worked).sum(),
        }
    }
}

impl fmt::Display for Worked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, worked) = (self.time.as_secs_f64(), self.worked.as_secs_f64());
        let all = time * std::thread::available_parallelism().map_or(1.0, |all| all.get() as f64);
        let part = worked / all * 100.0;
        write!(
            f,
            "the processors worked {worked:.2} s in {time:.2} s, {part:.0} % of what they can"
        )
    }
}

/// The fields of `/proc/stat` are hundredths of a second.
/// <https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat>
fn since_boot() -> Result<Duration> {
    const PATH: &str = "/proc/stat";
    let text = std::fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    let fields = text.lines().next().unwrap_or_default().split_whitespace();
    let times: Vec<u64> = fields.skip(1).map_while(|time| time.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = times[..] else {
        anyhow::bail!("{PATH} does not begin with the times of all processors: {text:.100}");
    };
    Ok(Duration::from_millis(
        (user + nice + system + irq + softirq) * 10,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let load = Load::begin().unwrap();
        while load.begun.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let worked = load.end().unwrap().worked;
        assert!(worked >= Duration::from_millis(50), "{worked:?}");
    }
}
