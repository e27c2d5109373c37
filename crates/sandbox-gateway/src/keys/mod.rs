//! The keys that callers show.

pub(crate) mod file;
mod rate;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use self::file::{Entry, KeyHash};
use self::rate::Bucket;
use crate::config::KeyLimits;
use crate::error::GatewayError;
use crate::watched_file::WatchedFile;

/// The longest key that is looked at.
const MAX_KEY: usize = 512;

/// The keys that callers show, as the file has them.
pub(crate) struct Keys {
    file: Mutex<WatchedFile>,
    entries: RwLock<Arc<Vec<Entry>>>,
    defaults: KeyLimits,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// Who makes a request: the name of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the key.
    pub(crate) name: String,
    /// What it may take.
    pub(crate) limits: KeyLimits,
}

impl Keys {
    /// Reads the file.
    pub(crate) fn load(path: PathBuf, defaults: KeyLimits) -> Result<Self, GatewayError> {
        let mut file = WatchedFile::new(path);
        let entries = file::load(&mut file)?;
        Ok(Self {
            file: Mutex::new(file),
            entries: RwLock::new(Arc::new(entries)),
            defaults,
            buckets: Mutex::default(),
        })
    }

    /// Reads the file again if it has changed. One that cannot be read, or has mistakes, leaves the keys as they were, and
    /// is logged.
    pub(crate) fn reload_if_changed(&self) {
        let mut file = lock(&self.file);
        if !file.has_changed() {
            return;
        }
        match file::load(&mut file) {
            Ok(entries) => {
                tracing::info!(keys = entries.len(), "keys read again");
                *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
            }
            Err(error) => {
                tracing::error!(error = %error.with_cause(), "keys not read again; those from before stay valid");
            }
        }
    }

    /// Finds out whose key this is. The time that it takes does not depend on which keys there are, only on how many.
    pub(crate) fn authenticate(&self, key: &str) -> Option<Caller> {
        if key.is_empty() || key.len() > MAX_KEY {
            return None;
        }
        let hash = KeyHash::of(key);
        let entries = Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner));
        let mut found = None;
        for entry in entries.iter() {
            // Every entry is compared, also after a match.
            if bool::from(entry.hash.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(entry);
            }
        }
        found.map(|entry| Caller {
            name: entry.name.clone(),
            limits: KeyLimits {
                sandboxes: entry.sandboxes.unwrap_or(self.defaults.sandboxes),
                requests_per_second: entry
                    .requests_per_second
                    .unwrap_or(self.defaults.requests_per_second),
            },
        })
    }

    /// Counts a request against the caller's rate.
    ///
    /// # Errors
    ///
    /// The number of seconds after which the next one is allowed.
    pub(crate) fn take_request(&self, caller: &Caller, now: Instant) -> Result<(), u64> {
        let mut buckets = lock(&self.buckets);
        let rate = caller.limits.requests_per_second;
        // There are no more buckets than names in the files that were read so far.
        let bucket = buckets
            .entry(caller.name.clone())
            .or_insert_with(|| Bucket::full(rate, now));
        bucket.take(rate, now)
    }
}

impl KeyHash {
    /// The hash of a key. It is not slow to compute, because keys are 160 random bits and no words.
    pub(crate) fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self::from_bytes(bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn limits(requests_per_second: u32) -> KeyLimits {
        KeyLimits {
            sandboxes: 7,
            requests_per_second,
        }
    }

    #[test]
    fn keys_are_found_by_their_hash_and_revoked_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let old = file::add(&path, "ci").unwrap();
        let new = file::add(&path, "ci").unwrap();
        let other = file::add(&path, "team-a").unwrap();
        let content = fs::read_to_string(&path).unwrap();
        assert!(
            !content.contains(&old) && !content.contains(&old[4..]),
            "{content}"
        );
        let keys = Keys::load(path.clone(), limits(10)).unwrap();
        assert_eq!(keys.authenticate(&old).unwrap().name, "ci");
        assert_eq!(keys.authenticate(&new).unwrap().name, "ci");
        assert_eq!(keys.authenticate(&other).unwrap().limits, limits(10));
        for wrong in [
            "",
            "e2b_",
            &old[..old.len() - 1],
            &format!("{old}0"),
            &old.to_uppercase(),
            "ci",
        ] {
            assert_eq!(keys.authenticate(wrong), None, "{wrong}");
        }
        // The hash in the file is no key.
        let hash = content.lines().next().unwrap().split(' ').nth(1).unwrap();
        assert_eq!(keys.authenticate(hash), None);

        let first_revoked: Vec<&str> = content.lines().skip(1).collect();
        fs::write(&path, first_revoked.join("\n")).unwrap();
        keys.reload_if_changed();
        assert_eq!(keys.authenticate(&old), None);
        assert!(keys.authenticate(&new).is_some());

        fs::write(&path, "what is this").unwrap();
        keys.reload_if_changed();
        assert!(
            keys.authenticate(&new).is_some(),
            "a broken file revokes nothing"
        );
    }

    #[test]
    fn the_rate_of_a_key_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let key = file::add(&path, "ci").unwrap();
        let keys = Keys::load(path, limits(2)).unwrap();
        let caller = keys.authenticate(&key).unwrap();
        let start = Instant::now();
        let taken = (0..10)
            .filter(|_| keys.take_request(&caller, start).is_ok())
            .count();
        assert_eq!(taken, 4, "the bucket holds two seconds' worth");
        assert_eq!(keys.take_request(&caller, start), Err(1));
        assert!(
            keys.take_request(&caller, start + Duration::from_millis(500))
                .is_ok()
        );
        assert!(
            keys.take_request(&caller, start + Duration::from_millis(501))
                .is_err()
        );
    }
}
