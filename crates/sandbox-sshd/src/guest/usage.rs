//! What the sandbox uses of its resources.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sandbox_core::guest::Usage;

use crate::lock::lock;

/// The shortest time within which the use of processors is measured.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// A limit of memory from which on version 1 of control groups means that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// Measures what the sandbox uses: what its control group says (cgroups(7)), or else what all visible processes use
/// together.
pub(crate) struct UsageMeter {
    home: PathBuf,
    system: System,
    /// When the use of processors was last read, and the time that they had worked by then.
    last: Mutex<Option<(Instant, Duration)>>,
}

impl UsageMeter {
    pub(crate) fn new(home: PathBuf) -> Self {
        Self {
            home,
            system: System::new("/sys/fs/cgroup", "/proc"),
            last: Mutex::default(),
        }
    }

    /// How long to wait before [`measure`](Self::measure), so that it says what happens now.
    pub(super) fn wait_time(&self) -> Duration {
        let now = Instant::now();
        let mut last = lock(&self.last);
        match *last {
            Some((at, _)) => MIN_INTERVAL.saturating_sub(now - at),
            None => {
                *last = Some((now, self.system.cpu_time()));
                MIN_INTERVAL
            }
        }
    }

    /// Measures. It blocks.
    pub(super) fn measure(&self) -> Usage {
        let mut usage = Usage::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        usage.at_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        usage.cpu_count = self.system.cpu_count();
        usage.cpu_percent = self.cpu_percent();
        let memory = self.system.memory();
        usage.memory_total = memory.total;
        usage.memory_used = memory.used;
        usage.memory_cache = memory.cache;
        if let Ok(disk) = rustix::fs::statvfs(&self.home) {
            usage.disk_total = disk.f_blocks.saturating_mul(disk.f_frsize);
            let used = disk.f_blocks.saturating_sub(disk.f_bfree);
            usage.disk_used = used.saturating_mul(disk.f_frsize);
        }
        usage
    }

    fn cpu_percent(&self) -> f64 {
        let (now, worked) = (Instant::now(), self.system.cpu_time());
        let Some((last, worked_before)) = lock(&self.last).replace((now, worked)) else {
            return 0.0;
        };
        let elapsed = (now - last).as_secs_f64();
        if elapsed <= 0.0 {
            return 0.0;
        }
        worked.saturating_sub(worked_before).as_secs_f64() / elapsed * 100.0
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    used: u64,
    cache: u64,
}

/// The files of the system.
struct System {
    cgroups: PathBuf,
    proc: PathBuf,
}

impl System {
    fn new(cgroups: impl Into<PathBuf>, proc: impl Into<PathBuf>) -> Self {
        Self {
            cgroups: cgroups.into(),
            proc: proc.into(),
        }
    }

    /// The directory of the server's group, of version 2 or with this controller of version 1. Without a namespace for
    /// groups it is not the one on top.
    fn group(&self, controller: &str) -> Option<Group> {
        let groups = fs::read_to_string(self.proc.join("self/cgroup")).ok()?;
        let (mut unified, mut legacy) = (None, None);
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            match (fields.next(), fields.next()) {
                (Some(""), Some(path)) => unified = Some((String::new(), path)),
                (Some(controllers), Some(path))
                    if controllers.split(',').any(|name| name == controller) =>
                {
                    legacy = Some((controllers.to_owned(), path));
                }
                _ => {}
            }
        }
        let is_legacy = legacy.is_some();
        let (mount, path) = legacy.or(unified)?;
        let tops = [self.cgroups.join(mount), self.cgroups.join(controller)];
        let tops = if is_legacy { &tops[..] } else { &tops[..1] };
        // Outside of the namespace's top, the path begins with `..`.
        let path = path.trim_start_matches('/');
        let own = tops.iter().map(|top| top.join(path));
        let directory = own
            .filter(|_| !path.starts_with(".."))
            .chain(tops.iter().cloned())
            .find(|directory| directory.is_dir())?;
        Some(Group {
            directory,
            is_legacy,
        })
    }

    /// The time that the processors have worked for the sandbox.
    fn cpu_time(&self) -> Duration {
        let from_group = self.group("cpuacct").and_then(|group| {
            if group.is_legacy {
                return group.number("cpuacct.usage").map(Duration::from_nanos);
            }
            group
                .field("cpu.stat", "usage_usec")
                .map(Duration::from_micros)
        });
        from_group.unwrap_or_else(|| self.processes(cpu_time_of).sum())
    }

    /// The processors that the sandbox may use, rounded up.
    fn cpu_count(&self) -> u32 {
        let quota = self.group("cpu").and_then(|group| {
            let (quota, period) = if group.is_legacy {
                (
                    group.number("cpu.cfs_quota_us")?,
                    group.number("cpu.cfs_period_us")?,
                )
            } else {
                let limit = group.text("cpu.max")?;
                let (quota, period) = limit.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            };
            (period > 0).then(|| u32::try_from(quota.div_ceil(period)).ok())?
        });
        let available = std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        quota.map_or(available, |quota| quota.clamp(1, available))
    }

    fn memory(&self) -> Memory {
        let machine = self.machine_memory();
        let Some(memory) = self.group("memory").and_then(|group| group.memory()) else {
            return Memory {
                total: machine,
                used: self.processes(memory_of).sum(),
                cache: 0,
            };
        };
        let is_limited = memory.total > 0 && (machine == 0 || memory.total < machine);
        Memory {
            total: if is_limited { memory.total } else { machine },
            ..memory
        }
    }

    fn machine_memory(&self) -> u64 {
        let text = fs::read_to_string(self.proc.join("meminfo")).unwrap_or_default();
        let kilobytes = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.unwrap_or(0).saturating_mul(1024)
    }

    /// What `read` reads of each visible process.
    fn processes<T>(&self, read: fn(&Path) -> Option<T>) -> impl Iterator<Item = T> {
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        entries
            .filter(|entry| {
                let name = entry.file_name();
                name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
            })
            .filter_map(move |entry| read(&entry.path()))
    }
}

/// A control group.
struct Group {
    directory: PathBuf,
    is_legacy: bool,
}

impl Group {
    fn memory(&self) -> Option<Memory> {
        let [limit, usage, cache, shared] = if self.is_legacy {
            [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_cache",
                "total_shmem",
            ]
        } else {
            ["memory.max", "memory.current", "file", "shmem"]
        };
        let usage = self.number(usage)?;
        // What is shared or in a tmpfs counts as cache, but cannot be given up.
        let shared = self.field("memory.stat", shared).unwrap_or(0);
        let cache = self.field("memory.stat", cache).unwrap_or(0);
        let cache = cache.saturating_sub(shared);
        Some(Memory {
            total: self
                .number(limit)
                .filter(|limit| *limit < NO_LIMIT)
                .unwrap_or(0),
            used: usage.saturating_sub(cache),
            cache,
        })
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    /// A line `NAME NUMBER` of a file.
    fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.text(file)?;
        let values = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = values.into_iter().find(|(found, _)| *found == name)?;
        value.trim().parse().ok()
    }
}

/// The time that the processors have worked for a process (proc_pid_stat(5)).
fn cpu_time_of(process: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may have spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    let second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.saturating_mul(1000) / second))
}

/// The memory of a process that it shares with no file (proc_pid_statm(5)).
fn memory_of(process: &Path) -> Option<u64> {
    let statm = fs::read_to_string(process.join("statm")).ok()?;
    let mut pages = statm.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = rustix::param::page_size() as u64;
    Some(resident.saturating_sub(shared).saturating_mul(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let system = System::new(
            directory.path().join("cgroup"),
            directory.path().join("proc"),
        );
        (directory, system)
    }

    #[test]
    fn groups_of_version_2_are_read() {
        let (_directory, system) = system(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/meminfo", "MemTotal: 1000 kB\n"),
            ("cgroup/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("cgroup/cpu.max", "50000 100000\n"),
            ("cgroup/memory.max", "512000\n"),
            ("cgroup/memory.current", "300\n"),
            ("cgroup/memory.stat", "anon 100\nfile 150\nshmem 50\n"),
        ]);
        assert_eq!(system.cpu_time(), Duration::from_millis(2500));
        assert_eq!(system.cpu_count(), 1);
        let expected = Memory {
            total: 512_000,
            used: 200,
            cache: 100,
        };
        assert_eq!(system.memory(), expected);
    }

    #[test]
    fn a_group_without_a_limit_has_the_memory_of_the_machine() {
        let (_directory, system) = system(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/meminfo", "MemTotal: 1000 kB\n"),
            ("cgroup/a/b/cpu.max", "max 100000\n"),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/b/memory.current", "300\n"),
        ]);
        let expected = Memory {
            total: 1_024_000,
            used: 300,
            cache: 0,
        };
        assert_eq!(system.memory(), expected);
        assert!(system.cpu_count() >= 1);
    }

    #[test]
    fn groups_of_version_1_are_read() {
        let (_directory, system) = system(&[
            (
                "proc/self/cgroup",
                "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/y\n",
            ),
            ("proc/meminfo", "MemTotal: 1000 kB\n"),
            ("cgroup/cpu,cpuacct/cpuacct.usage", "1500000000\n"),
            ("cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            (
                "cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("cgroup/memory/memory.usage_in_bytes", "300\n"),
            ("cgroup/memory/memory.stat", "cache 1\ntotal_cache 100\n"),
        ]);
        assert_eq!(system.cpu_time(), Duration::from_millis(1500));
        assert!(system.cpu_count() >= 1);
        let expected = Memory {
            total: 1_024_000,
            used: 200,
            cache: 100,
        };
        assert_eq!(system.memory(), expected);
    }

    #[test]
    fn without_groups_the_processes_are_added_up() {
        let fields = "S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0";
        let (_directory, system) = system(&[
            ("proc/7/stat", &format!("7 (a) b) {fields}")),
            ("proc/7/statm", "90 30 10 1 0 1 0"),
            ("proc/8/stat", &format!("8 (b) {fields}")),
            ("proc/8/statm", "9 2 1 1 0 1 0"),
            ("proc/uptime", "1 1"),
        ]);
        let second = Duration::from_secs(200)
            / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
        assert_eq!(system.cpu_time(), 2 * second);
        let page = rustix::param::page_size() as u64;
        assert_eq!(system.memory().used, 21 * page);
    }

    #[test]
    fn the_real_system_is_measured() {
        let meter = UsageMeter::new("/".into());
        assert!(meter.wait_time() <= MIN_INTERVAL);
        std::thread::sleep(Duration::from_millis(20));
        let usage = meter.measure();
        assert!(usage.cpu_count >= 1 && usage.memory_total > 0 && usage.disk_total > 0);
        assert!(usage.memory_used > 0 && usage.cpu_percent >= 0.0);
    }
}
