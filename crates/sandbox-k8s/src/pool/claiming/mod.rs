//! Claims one of several sandboxes, by requests whose responses may be lost.
//!
//! A patch decides: the API server applies at most one claim to a sandbox. What a claimer is told about it is less
//! certain. The response may be lost, and a repetition then finds the state that the first attempt has left. So after
//! everything but a clear success the sandbox is read, and the word of the claim decides.

use std::collections::VecDeque;

/// How many patches one claim sends.
const MAX_ATTEMPTS: u32 = 5;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<C> {
    /// Send the patch of the claim.
    Patch(C),
    /// Read the sandbox.
    Read(C),
    /// The claim has ended.
    Finish(End<C>),
}

/// How a claim has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End<C> {
    /// This sandbox belongs to the claimer.
    Won(C),
    /// None is left, or others were faster too often.
    NoneLeft,
    /// Sandboxes wait, but the API server does not apply the patch to any.
    Refused,
    /// The patch may have been applied to this sandbox, or may still be. The caller has to find out, and to delete
    /// the sandbox if it has the word of this claim.
    Unknown(C),
}

/// The result of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchResult {
    /// It was applied.
    Applied,
    /// The last attempt was not applied. An earlier one may have been.
    NotApplied,
    /// The sandbox does not exist any more.
    Missing,
    /// There was no response until the deadline.
    Unknown,
}

/// What a sandbox looks like after a patch without a clear success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadResult {
    /// It has the word of this claim.
    Mine,
    /// It still waits.
    Waits,
    /// Somebody else has it, or it does not exist any more.
    Gone,
    /// There was no response until the deadline.
    Unknown,
}

/// The state of one claim.
#[derive(Debug)]
pub(crate) struct Claiming<C> {
    candidates: VecDeque<C>,
    attempts: u32,
    /// Whether any sandbox was lost to another claim, or has ended.
    has_lost: bool,
    /// Whether an attempt on the present candidate may still be applied.
    is_in_doubt: bool,
}

impl<C: Clone> Claiming<C> {
    /// Starts a claim that tries these in their order.
    pub(crate) fn new(candidates: impl IntoIterator<Item = C>) -> Self {
        Self {
            candidates: candidates.into_iter().collect(),
            attempts: 0,
            has_lost: false,
            is_in_doubt: false,
        }
    }

    /// Returns the first step.
    pub(crate) fn first_step(&mut self) -> Step<C> {
        self.try_next()
    }

    /// Returns the step after a patch.
    pub(crate) fn step_after_patch(&mut self, candidate: C, result: PatchResult) -> Step<C> {
        match result {
            PatchResult::Applied => Step::Finish(End::Won(candidate)),
            PatchResult::Missing => {
                self.has_lost = true;
                self.try_next()
            }
            PatchResult::NotApplied => Step::Read(candidate),
            PatchResult::Unknown => {
                self.is_in_doubt = true;
                Step::Read(candidate)
            }
        }
    }

    /// Returns the step after a read.
    pub(crate) fn step_after_read(&mut self, candidate: C, result: ReadResult) -> Step<C> {
        match result {
            ReadResult::Mine => Step::Finish(End::Won(candidate)),
            ReadResult::Unknown => Step::Finish(End::Unknown(candidate)),
            // A request without a response may still be carried out.
            ReadResult::Waits if self.is_in_doubt => Step::Finish(End::Unknown(candidate)),
            ReadResult::Waits => {
                // A concurrent change of the Pod, such as the kubelet's, may have been in the way.
                self.candidates.push_back(candidate);
                self.try_next()
            }
            ReadResult::Gone => {
                self.is_in_doubt = false;
                self.has_lost = true;
                self.try_next()
            }
        }
    }

    /// Returns the step after a patch that was applied to something which is none of the pool's sandboxes.
    pub(crate) fn step_after_forgery(&mut self) -> Step<C> {
        self.has_lost = true;
        self.try_next()
    }

    fn try_next(&mut self) -> Step<C> {
        if self.attempts < MAX_ATTEMPTS
            && let Some(candidate) = self.candidates.pop_front()
        {
            self.attempts += 1;
            return Step::Patch(candidate);
        }
        let was_refused = self.attempts > 0 && !self.has_lost;
        Step::Finish(if was_refused {
            End::Refused
        } else {
            End::NoneLeft
        })
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a claim of `a`, `b`, … with these results, and returns the patched candidates and the end.
    fn run(count: usize, results: &[(PatchResult, Option<ReadResult>)]) -> (String, End<char>) {
        let mut claim = Claiming::new(('a'..='z').take(count));
        let (mut step, mut tried, mut results) =
            (claim.first_step(), String::new(), results.iter());
        loop {
            step = match step {
                Step::Finish(end) => return (tried, end),
                Step::Patch(candidate) => {
                    tried.push(candidate);
                    let (patched, read) = *results.next().unwrap();
                    match claim.step_after_patch(candidate, patched) {
                        Step::Read(candidate) => claim.step_after_read(candidate, read.unwrap()),
                        step => {
                            assert_eq!(read, None);
                            step
                        }
                    }
                }
                Step::Read(_) => unreachable!("reads follow patches"),
            };
        }
    }

    #[test]
    fn a_claim_goes_on_to_the_next_when_another_was_faster() {
        use PatchResult::{Applied, Missing, NotApplied};
        let gone = Some(ReadResult::Gone);
        assert_eq!(run(0, &[]), (String::new(), End::NoneLeft));
        assert_eq!(run(3, &[(Applied, None)]), ("a".into(), End::Won('a')));
        let results = [(NotApplied, gone), (Missing, None), (Applied, None)];
        assert_eq!(run(3, &results), ("abc".into(), End::Won('c')));
        assert_eq!(run(1, &[(NotApplied, gone)]), ("a".into(), End::NoneLeft));
        assert_eq!(
            run(9, &[(NotApplied, gone); 5]),
            ("abcde".into(), End::NoneLeft)
        );
    }

    #[test]
    fn a_claim_whose_response_was_lost_is_recognised() {
        use PatchResult::{NotApplied, Unknown};
        for patched in [NotApplied, Unknown] {
            let results = [(patched, Some(ReadResult::Mine))];
            assert_eq!(run(3, &results), ("a".into(), End::Won('a')), "{patched:?}");
        }
        // It may still be applied.
        for read in [ReadResult::Waits, ReadResult::Unknown] {
            let results = [(Unknown, Some(read))];
            assert_eq!(
                run(3, &results),
                ("a".into(), End::Unknown('a')),
                "{read:?}"
            );
        }
    }

    #[test]
    fn a_patch_that_is_never_applied_ends_with_an_error() {
        let waits = (PatchResult::NotApplied, Some(ReadResult::Waits));
        assert_eq!(run(2, &[waits; 5]), ("ababa".into(), End::Refused));
        let won = (PatchResult::Applied, None);
        assert_eq!(run(1, &[waits, won]), ("aa".into(), End::Won('a')));
    }
}
