//! The task that drives one command to its end.
//!
//! It alone touches the channel. Callers hold the other ends of its queues and may let go at
//! any moment: the actor notices, ends the command and closes the channel.

use std::time::Duration;

use russh::ChannelMsg;
use sandbox_core::metrics::Operation;
use sandbox_core::{
    BoxError, CommandCause, ControlMessage, Error, ExecEvent, ExitStatus, Result, Signal,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::handshake::Handshake;
use super::input;
use super::marked::{PATIENCE, Reach};
use super::prelude::Prelude;
use super::sink::{Sink, Step};
use super::start::exec_refused;
use super::state::State;
use super::{Limits, Run, signals};
use crate::channel::OpenChannel;

/// How long the server may take to close a channel whose command has ended.
const CLOSE_BY_SERVER: Duration = Duration::from_secs(2);
/// How long what has arrived before a connection ended is looked through.
const REMAINS: Duration = Duration::from_secs(1);
/// How long a signal may take to go out when the reader is slow.
const URGENT: Duration = Duration::from_secs(1);

/// SSH_EXTENDED_DATA_STDERR, RFC 4254 §5.2.
const STDERR: u32 = 1;

type Sent = std::result::Result<(), BoxError>;

/// What a command gets besides its start.
#[derive(Default)]
pub(super) struct Inputs {
    /// Goes before the input.
    pub(super) prelude: Option<Prelude>,
    pub(super) stdin: Option<DuplexStream>,
    pub(super) control: Option<mpsc::Receiver<ControlMessage>>,
    /// For signals, where the channel takes none.
    pub(super) reach: Option<Reach>,
    pub(super) measured: Option<Operation>,
}

pub(super) struct Actor<S> {
    channel: OpenChannel,
    control: Option<mpsc::Receiver<ControlMessage>>,
    /// Sends the input; ends with the actor.
    _input: Option<AbortOnDropHandle<()>>,
    prelude: Option<Prelude>,
    stdin: Option<DuplexStream>,
    end: input::End,
    handshake: Option<Handshake>,
    reach: Option<Reach>,
    sink: S,
    limits: Limits,
    timeout: Option<Duration>,
    may_end_silently: bool,
    measured: Option<Operation>,
    state: State,
}

/// Why the actor stops.
#[derive(Debug)]
enum Stop {
    /// It knows the end, or will never know.
    Ended,
    Abandoned,
    TimedOut(Duration),
    /// The server answers no more.
    Silent,
}

impl<S: Sink> Actor<S> {
    pub(super) fn new(
        channel: OpenChannel,
        run: Run,
        inputs: Inputs,
        sink: S,
        limits: Limits,
    ) -> Self {
        let typed = run.start.is_in_terminal() && !channel.conn().is_ours();
        Self {
            channel,
            end: if typed {
                input::End::Typed
            } else {
                input::End::OfChannel
            },
            control: inputs.control,
            _input: None,
            prelude: inputs.prelude,
            stdin: inputs.stdin,
            handshake: None,
            reach: inputs.reach,
            sink,
            limits,
            timeout: run.timeout,
            may_end_silently: run.may_end_silently,
            measured: inputs.measured,
            state: State::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let begun = Instant::now();
        self.feed().await;
        let stop = self.drive().await;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(ssh.exit = ?self.state.exit, ssh.stop = ?stop, elapsed_ms, "a command is done with");
        let mut killed = true;
        if let Stop::TimedOut(_) = stop {
            killed = self.signal(Signal::Kill, PATIENCE).await;
        } else if let Stop::Abandoned = stop
            && !self.channel.conn().is_ours()
        {
            // Ours hangs up when the channel closes; others leave the command running.
            self.signal(Signal::Hup, PATIENCE).await;
        }
        let end = self.outcome(&stop, killed);
        let Self {
            channel,
            sink,
            state,
            _input,
            measured,
            ..
        } = self;
        drop(_input);
        // One that was abandoned counts as cancelled.
        if let (Some(measured), false) = (measured, matches!(stop, Stop::Abandoned)) {
            measured.finish_command(&end);
        }
        // The reader neither waits for the close nor is waited for with it.
        tokio::join!(sink.finish(end), close(channel, state));
    }

    /// Sends the input from a task of its own, for it waits as long as the command does not
    /// read it.
    async fn feed(&mut self) {
        let (prelude, stdin) = (self.prelude.take(), self.stdin.take());
        if prelude.is_none() && stdin.is_none() {
            if let Err(error) = self.end.send(&self.channel.write).await {
                // The loop will find the connection dead.
                tracing::debug!(%error, "the end of the input could not be sent");
            }
            return;
        }
        let mut words = None;
        if prelude.as_ref().is_some_and(Prelude::is_in_terminal) {
            let (handshake, came) = Handshake::new();
            (self.handshake, words) = (Some(handshake), Some(came));
        }
        let (end, write) = (self.end, std::sync::Arc::clone(&self.channel.write));
        self._input = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = input::send(prelude, words.as_deref(), stdin, end, &write).await {
                tracing::debug!(%error, "the input of a command was cut off");
            }
        })));
    }

    async fn drive(&mut self) -> Stop {
        let life = self.channel.conn().life().clone();
        let limit = self
            .timeout
            .and_then(|after| Some((Instant::now().checked_add(after)?, after)));
        let conn = std::sync::Arc::clone(self.channel.conn());
        let watch = conn.watch();
        tokio::pin!(watch);
        let mut dead: Option<Instant> = None;
        while !self.state.is_over() {
            let probe = self.state.probe_at();
            tokio::select! {
                biased;
                step = self.sink.step() => if step == Step::Abandoned { return Stop::Abandoned },
                message = receive(&mut self.control) => self.urgently(message).await,
                () = until(limit.map(|(at, _)| at)), if self.state.exit.is_none() => {
                    return Stop::TimedOut(limit.map(|(_, after)| after).unwrap_or_default());
                }
                message = self.channel.read.wait(), if self.sink.has_room() => self.take(message),
                () = life.ended(), if dead.is_none() => dead = Some(Instant::now() + REMAINS),
                // It ends the connection's life, which is looked at first.
                () = watch.as_mut(), if dead.is_none() && !self.state.heard_of => {}
                () = until(dead) => self.state.over = true,
                () = until(probe), if self.sink.has_room() => {
                    if let Some(stop) = self.probe().await {
                        return stop;
                    }
                }
            }
        }
        Stop::Ended
    }

    /// Asks the server for an answer, which arrives after everything it sent before, however
    /// slow the network is. If nothing else does, the output is complete.
    async fn probe(&mut self) -> Option<Stop> {
        let conn = std::sync::Arc::clone(self.channel.conn());
        let pong = conn.ping(self.limits.channel);
        tokio::pin!(pong);
        let before = self.state.after_exit();
        let late = self.state.is_late();
        loop {
            tokio::select! {
                biased;
                step = self.sink.step() => if step == Step::Abandoned { return Some(Stop::Abandoned) },
                message = self.channel.read.wait(), if self.sink.has_room() => {
                    self.take(message);
                    if self.state.is_over() {
                        return None;
                    }
                }
                answered = pong.as_mut(), if self.sink.has_room() => {
                    if !answered && !conn.life().is_dead() {
                        return Some(Stop::Silent);
                    }
                    if answered {
                        self.state.answered(before, late);
                    }
                    return None;
                }
            }
        }
    }

    fn take(&mut self, message: Option<ChannelMsg>) {
        self.state.heard_of = true;
        match message {
            Some(ChannelMsg::Data { data }) => self.output(ExecEvent::Stdout(data)),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                self.output(ExecEvent::Stderr(data))
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                self.state.exit(ExitStatus::Code(exit_status))
            }
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => self
                .state
                .exit(ExitStatus::Signal(signals::from_ssh(&signal_name))),
            Some(ChannelMsg::Eof) => self.state.eof = true,
            Some(ChannelMsg::Failure) => self.state.refused = true,
            Some(ChannelMsg::Close) => (self.state.closed, self.state.over) = (true, true),
            None => self.state.over = true,
            Some(_) => {}
        }
    }

    fn output(&mut self, mut event: ExecEvent) {
        self.state.output(&event);
        if let (ExecEvent::Stdout(data), Some(handshake)) = (&mut event, &mut self.handshake) {
            *data = handshake.strip(data);
            let nothing_left = data.is_empty();
            if handshake.is_over() {
                self.handshake = None;
            }
            if nothing_left {
                return;
            }
        }
        self.sink.push(event);
    }

    async fn urgently(&mut self, message: Option<ControlMessage>) {
        let write = std::sync::Arc::clone(&self.channel.write);
        match message {
            None => self.control = None,
            Some(ControlMessage::Signal(signal)) => {
                self.signal(signal, URGENT).await;
            }
            Some(ControlMessage::Resize(size)) => {
                let (columns, rows) = (u32::from(size.columns), u32::from(size.rows));
                let change = async move { Ok(write.window_change(columns, rows, 0, 0).await?) };
                self.send(change, URGENT).await;
            }
            Some(_) => {}
        }
    }

    /// Whether it is known to be out.
    async fn signal(&mut self, signal: Signal, patience: Duration) -> bool {
        if let Some(reach) = self.reach.clone() {
            return self.send(reach.signal(signal), patience).await;
        }
        let write = std::sync::Arc::clone(&self.channel.write);
        self.send(
            async move { Ok(write.signal(signals::to_ssh(&signal)).await?) },
            URGENT,
        )
        .await
    }

    /// Sends something although the reader may be slow: russh sends nothing while it waits
    /// for us to take what has arrived, so that goes to a reserve meanwhile. What cannot be
    /// sent soon is sent later, and `false` here.
    async fn send(
        &mut self,
        message: impl Future<Output = Sent> + Send + 'static,
        patience: Duration,
    ) -> bool {
        let conn = std::sync::Arc::clone(self.channel.conn());
        let held_back = !self.sink.has_room();
        let sending = tokio::spawn(async move {
            tokio::select! {
                biased;
                sent = message => if let Err(error) = sent {
                    tracing::warn!(%error, "a signal or a size could not be sent");
                    return false;
                },
                () = conn.life().ended() => return false,
            }
            if held_back {
                // The answer tells that it is out.
                conn.ping(URGENT).await;
            }
            true
        });
        tokio::pin!(sending);
        let limit = Instant::now() + patience;
        loop {
            tokio::select! {
                biased;
                sent = sending.as_mut() => return sent.unwrap_or(false),
                message = self.channel.read.wait(), if self.sink.has_reserve() && !self.state.over => self.take(message),
                () = sleep_until(limit) => return false,
            }
        }
    }

    /// What to tell the caller.
    fn outcome(&self, stop: &Stop, killed: bool) -> Result<Option<ExitStatus>> {
        let conn = self.channel.conn();
        let state = &self.state;
        match stop {
            Stop::TimedOut(after) => {
                let cause = CommandCause::TimedOut {
                    after: *after,
                    killed,
                };
                Err(Error::Command {
                    cause,
                    source: None,
                })
            }
            Stop::Silent => Err(lost("the server does not answer any more")),
            _ if state.refused && state.exit.is_none() => Err(exec_refused(&conn.server())),
            // Without an end of file, the last of the output may be missing.
            _ if state.exit.is_some() && (state.eof || state.closed) => Ok(state.exit.clone()),
            _ if state.closed && self.may_end_silently => Ok(None),
            _ if state.closed => Err(lost(
                "the server closed the channel without telling how the command ended",
            )),
            _ => Err(lost(conn.facts.end().unwrap_or("the connection ended"))),
        }
    }
}

/// Closes a channel whose command is done with.
async fn close(mut channel: OpenChannel, mut state: State) {
    let ended = state.exit.is_some() && state.eof;
    if ended && !state.closed {
        // The server is about to close it, and then nothing of it stays behind in russh.
        let by_server = async {
            loop {
                match channel.read.wait().await {
                    Some(ChannelMsg::Close) => return true,
                    None => return false,
                    Some(_) => {}
                }
            }
        };
        state.closed = tokio::time::timeout(CLOSE_BY_SERVER, by_server)
            .await
            .unwrap_or(false);
    }
    channel.finish(state.closed).await;
}

async fn receive(control: &mut Option<mpsc::Receiver<ControlMessage>>) -> Option<ControlMessage> {
    match control {
        Some(control) => control.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn lost(why: &str) -> Error {
    Error::Command {
        cause: CommandCause::Lost,
        source: Some(BoxError::from(why.to_owned())),
    }
}
