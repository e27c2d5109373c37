//! How many sockets a process may have.

/// Returns how many descriptors this process may have open (RLIMIT_NOFILE, its soft limit); `None` if there is no limit. Sockets
/// of others share them: whoever accepts connections that it did not ask for has to leave some.
#[cfg(unix)]
pub fn descriptor_limit() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Returns `None`: there is no limit.
#[cfg(not(unix))]
pub fn descriptor_limit() -> Option<usize> {
    None
}
