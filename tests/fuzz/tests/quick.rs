//! The corpus of each target, and then a fixed number of mutations of it, which are the same in
//! every run, so that a failure can be reproduced. `SANDBOX_FUZZ_CASES` sets another number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

use std::path::Path;
use std::sync::Mutex;

/// Mutations of the corpus, and random bytes, for each target.
const CASES: u64 = 400;
/// How many cases run at once: a case waits for the peer's responses, and each thread has a peer of its own.
const THREADS: usize = 4;

/// xorshift64. It needs no quality, but the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn number_below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 40) as u8
    }

    fn mutation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        if corpus.is_empty() || self.number_below(4) == 0 {
            return (0..self.number_below(120)).map(|_| self.byte()).collect();
        }
        let mut bytes = corpus[self.number_below(corpus.len())].clone();
        for _ in 0..=self.number_below(4) {
            let at = self.number_below(bytes.len());
            match self.number_below(4) {
                0 if !bytes.is_empty() => bytes[at] = self.byte(),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.insert(at, self.byte()),
                _ => {
                    let other = &corpus[self.number_below(corpus.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.number_below(other.len())..]);
                }
            }
        }
        bytes
    }
}

fn run_quick(name: &str) {
    let (_, target) = sandbox_fuzz::TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    assert!(!corpus.is_empty(), "the corpus of {name} is missing");
    let run = |bytes: &[u8]| {
        let case = std::panic::catch_unwind(|| target(bytes));
        assert!(case.is_ok(), "{name} failed with {bytes:?}");
    };
    let cases = std::env::var("SANDBOX_FUZZ_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let mut random = Random(0x5eed);
    let mutations: Vec<Vec<u8>> = (0..cases).map(|_| random.mutation(&corpus)).collect();
    let all = Mutex::new(corpus.iter().chain(&mutations));
    let next = || all.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(bytes) = next() {
                    run(bytes);
                }
            });
        }
    });
}

#[test]
fn exec() {
    run_quick("exec");
}

#[test]
fn files() {
    run_quick("files");
}

#[test]
fn guest() {
    run_quick("guest");
}

#[test]
fn tree() {
    run_quick("tree");
}

#[test]
fn command_line() {
    run_quick("command_line");
}

#[test]
fn resume() {
    run_quick("resume");
}

#[test]
fn server() {
    run_quick("server");
}

#[test]
fn escape() {
    run_quick("escape");
}
