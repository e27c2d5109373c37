//! Sends the SSH server into a container that waits for it, through the API server.
//!
//! A script in the container receives it (`receive.sh`). A server that is cut or damaged on its way never runs: the
//! script compares size and hash, or sends the content back to be compared if the image has no `sha256sum`. Attempts
//! may overlap, such as after a lost connection: each writes a file of its own, and the complete file gets its name in
//! one step.

mod failure;

use std::time::Duration;

use sandbox_core::{SandboxId, Uid};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::exec::{self, End, Input, Output};
use super::refusal::OpenError;
use super::websocket::Socket;
use crate::api::client::ApiClient;
use crate::manifest::options::{Architecture, ServerProgram, ServerPrograms, to_hex};
use crate::manifest::pod::UPLOAD_DIRECTORIES;

pub(crate) use failure::{Retry, UploadFailure};

/// What runs in the container to receive the server.
const RECEIVE: &str = include_str!("receive.sh");
/// Runs another script without the environment of the container, which has the keys of the sandbox in it. So no
/// process that an interrupted attempt leaves behind discloses them.
const CLEAN: &str = r#"exec env -i PATH="$PATH" sh -c "$@""#;
/// What the lines of the script start with.
const PREFIX: &str = "sandbox-upload: ";

/// Timeout of starting the script.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of an answer after everything was sent. A part of it may be in buffers on the way.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the script may take to end after its last answer.
const LINGER: Duration = Duration::from_secs(2);

/// Sends the server in one attempt. Once this succeeds, the container's process is the server, or is about to be.
/// `nonce` is that of the Pod's creation.
pub(crate) async fn upload(
    api: &ApiClient,
    id: &SandboxId,
    nonce: &str,
    programs: &ServerPrograms,
) -> Result<(), UploadFailure> {
    let attempt = Uid::generate().map_err(UploadFailure::from_error)?;
    let command = [
        "sh",
        "-c",
        CLEAN,
        "sandbox",
        RECEIVE,
        "sandbox",
        UPLOAD_DIRECTORIES,
        nonce,
        attempt.as_str(),
    ];
    let starting = exec::start(api, id.as_str(), &command);
    let (input, output) = match timeout(START_TIMEOUT, starting).await {
        Ok(Ok(program)) => program,
        Ok(Err(OpenError::Final(error))) => return Err(UploadFailure::from_error(error)),
        Ok(Err(OpenError::DeniedInOutage(error))) => {
            return Err(UploadFailure::not_started(&error.to_string()));
        }
        Ok(Err(OpenError::Transient { message, cause })) => {
            let message = message.unwrap_or_else(|| cause.to_string());
            return Err(UploadFailure::not_started(&message));
        }
        Err(_elapsed) => {
            let message = format!("the API server does not respond within {START_TIMEOUT:?}");
            return Err(UploadFailure::not_started(&message));
        }
    };
    Upload { input, output }.run(programs).await
}

/// A conversation with the script.
struct Upload<S> {
    input: Input<S>,
    output: Output<S>,
}

/// A line of the script.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The script waits for the server. The architecture is that of `uname -m`.
    Ready { machine: String, has_hash: bool },
    /// What the script received follows, to be compared.
    Content,
    /// The server has its name.
    Done,
    /// Something failed.
    Failed(UploadFailure),
}

impl<S: Socket + 'static> Upload<S> {
    async fn run(mut self, programs: &ServerPrograms) -> Result<(), UploadFailure> {
        let (machine, has_hash) = match self.answer(START_TIMEOUT).await {
            Ok(Answer::Ready { machine, has_hash }) => (machine, has_hash),
            Ok(Answer::Done) => return Ok(()),
            Ok(Answer::Failed(failure)) => return Err(failure),
            Ok(Answer::Content) => return Err(UploadFailure::unexpected("content")),
            // The script has not started, such as in a container that does not run yet.
            Err(End::Cut(why)) => return Err(UploadFailure::not_started(&why)),
            Err(end) => return Err(UploadFailure::from_start(end, &self.output.stderr())),
        };
        let program = select_program(programs, &machine).await?;
        let mut answer = self.send_program(&program).await?;
        if answer == Answer::Content && !has_hash {
            self.compare(&program).await?;
            answer = self.next_answer().await?;
        }
        match answer {
            Answer::Done => {
                // A process of the script whose connection is cut may be killed before it ends.
                tokio::spawn(async move { timeout(LINGER, self.wait_for_end()).await });
                Ok(())
            }
            Answer::Failed(failure) => Err(failure),
            Answer::Ready { .. } | Answer::Content => {
                Err(UploadFailure::unexpected("an answer in the wrong order"))
            }
        }
    }

    /// Sends the server, and returns the answer. The script may give up before everything was sent.
    async fn send_program(&mut self, program: &ServerProgram) -> Result<Answer, UploadFailure> {
        let header = format!("{} {}\n", program.content.len(), program.sha256);
        let Self { input, output } = self;
        let early = {
            let sending = async {
                input.send(header.as_bytes()).await?;
                input.send(&program.content).await
            };
            let answering = read_answer(output);
            tokio::pin!(sending, answering);
            tokio::select! {
                biased;
                answer = &mut answering => Some(answer),
                sent = &mut sending => match sent {
                    // The answer that the script gave before the connection ended says more.
                    Err(end) => Some(timeout(LINGER, answering).await.unwrap_or(Err(end))),
                    Ok(()) => None,
                },
            }
        };
        match early {
            Some(answer) => {
                answer.map_err(|end| UploadFailure::interrupted(end, &self.output.stderr()))
            }
            None => self.next_answer().await,
        }
    }

    /// Compares what the script has received with what was sent.
    async fn compare(&mut self, program: &ServerProgram) -> Result<(), UploadFailure> {
        let mut hash = Sha256::new();
        let mut missing = program.content.len();
        while missing > 0 {
            let bytes = match timeout(ANSWER_TIMEOUT, self.output.next_bytes(missing)).await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(end)) => return Err(UploadFailure::interrupted(end, "")),
                Err(_elapsed) => return Err(UploadFailure::interrupted(no_answer(), "")),
            };
            missing -= bytes.len();
            hash.update(&bytes);
        }
        let is_same = to_hex(&hash.finalize()) == program.sha256;
        let verdict: &[u8] = if is_same { b"accepted\n" } else { b"refused\n" };
        let sent = self.input.send(verdict).await;
        sent.map_err(|end| UploadFailure::interrupted(end, ""))
    }

    async fn next_answer(&mut self) -> Result<Answer, UploadFailure> {
        let answer = self.answer(ANSWER_TIMEOUT).await;
        answer.map_err(|end| UploadFailure::interrupted(end, &self.output.stderr()))
    }

    async fn answer(&mut self, limit: Duration) -> Result<Answer, End> {
        match timeout(limit, read_answer(&mut self.output)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(no_answer()),
        }
    }

    async fn wait_for_end(mut self) {
        while self.output.next_line().await.is_ok() {}
    }
}

fn no_answer() -> End {
    End::Cut("the container does not answer".into())
}

/// Reads lines until one is an answer.
async fn read_answer<S: Socket>(output: &mut Output<S>) -> Result<Answer, End> {
    loop {
        let line = output.next_line().await?;
        if let Some(answer) = line.trim_end().strip_prefix(PREFIX) {
            let stderr = output.stderr();
            return parse_answer(answer, &stderr).ok_or(End::Unexpected("an unknown answer"));
        }
    }
}

fn parse_answer(answer: &str, stderr: &str) -> Option<Answer> {
    let mut words = answer.split(' ').filter(|word| !word.is_empty());
    Some(match words.next()? {
        "ready" => Answer::Ready {
            machine: words.next()?.to_owned(),
            has_hash: words.next() == Some("sha256sum"),
        },
        "content" => Answer::Content,
        "done" => Answer::Done,
        verb => Answer::Failed(UploadFailure::from_answer(
            verb,
            &words.collect::<Vec<_>>(),
            stderr,
        )?),
    })
}

/// Returns the program for the node.
async fn select_program(
    programs: &ServerPrograms,
    machine: &str,
) -> Result<ServerProgram, UploadFailure> {
    let Some(architecture) = Architecture::from_machine(machine) else {
        return Err(UploadFailure::no_program(machine, programs));
    };
    let all = programs.clone();
    // It is read from a file, or unpacked.
    let loaded = tokio::task::spawn_blocking(move || all.load(architecture)).await;
    match loaded {
        Ok(Ok(Some(program))) => Ok(program),
        Ok(Ok(None)) => Err(UploadFailure::no_program(machine, programs)),
        Ok(Err(error)) => Err(UploadFailure::from_error(error)),
        Err(_) => Err(UploadFailure::unexpected("the runtime has ended")),
    }
}

#[cfg(test)]
mod tests;
