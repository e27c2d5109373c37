//! Questions about names that no rule decides about: one at a time, and remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, timeout};

use super::Shared;
use super::denial::Denial;
use crate::rules::Refusal;
use crate::rules::name::{Host, HostName, Target};
use crate::{Answer, Ask};

/// The most connections that wait for an answer. More are refused at once.
const MAX_WAITING: usize = 32;
/// The most answers that are remembered. What is beyond is asked about again.
const MAX_REMEMBERED: usize = 4096;

/// Who is asked, and what was answered.
#[derive(Debug)]
pub(super) struct Asking {
    ask: Arc<dyn Ask>,
    turn: tokio::sync::Mutex<()>,
    waiting: Semaphore,
    answers: Mutex<HashMap<(HostName, u16), bool>>,
}

impl Asking {
    pub(super) fn new(ask: Arc<dyn Ask>) -> Self {
        Self {
            ask,
            turn: tokio::sync::Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
            answers: Mutex::default(),
        }
    }

    /// Returns the answer, or `None` if its turn comes too late: many questions that wait for one must not all flash by when
    /// their time ends.
    async fn decide(&self, name: &HostName, port: u16, limit: Duration) -> Option<Answer> {
        if let Some(answer) = self.recall(name, port) {
            return Some(answer);
        }
        let began = Instant::now();
        let _turn = self.turn.lock().await;
        // The same may have been asked meanwhile.
        if let Some(answer) = self.recall(name, port) {
            return Some(answer);
        }
        if began.elapsed() > limit / 2 {
            return None;
        }
        let answer = self.ask.ask(name.as_str(), port).await;
        let mut answers = self.lock();
        if answer != Answer::Once && answers.len() < MAX_REMEMBERED {
            answers.insert((name.clone(), port), answer == Answer::Always);
        }
        Some(answer)
    }

    fn recall(&self, name: &HostName, port: u16) -> Option<Answer> {
        let answer = self.lock().get(&(name.clone(), port)).copied()?;
        Some(if answer {
            Answer::Always
        } else {
            Answer::Never
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(HostName, u16), bool>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Asks about a name that no rule decides about. Returns what allows it; `None` if the rules decide.
    pub(super) async fn ask(&self, target: &Target) -> Result<Option<Arc<str>>, Denial> {
        let (Some(asking), Host::Name(name)) = (&self.asking, &target.host) else {
            return Ok(None);
        };
        let rules = self.rules.borrow().clone();
        if !rules.is_undecided(name, target.port) {
            return Ok(None);
        }
        let refuse = |reason, rule: Option<&str>| {
            let refusal = Refusal::not_agreed(reason, rule.map(Arc::from));
            Err(Denial::refused(refusal))
        };
        let Ok(_place) = asking.waiting.try_acquire() else {
            return refuse("too many questions wait for an answer", None);
        };
        let limit = self.limits.ask;
        match timeout(limit, asking.decide(name, target.port, limit)).await {
            Ok(Some(Answer::Once)) => Ok(Some("asked: once".into())),
            Ok(Some(Answer::Always)) => Ok(Some("asked: always".into())),
            Ok(Some(Answer::Never)) => refuse("the answer was no", Some("asked: no")),
            Ok(None) | Err(_) => refuse("there was no answer in time", None),
        }
    }
}
