//! The task that drives one command to its end.
//!
//! Only the actor touches the channel. Callers hold the other ends of its queues and may drop them
//! at any moment: the actor notices, ends the command and closes the channel.

use std::sync::Arc;
use std::time::Duration;

use russh::ChannelMsg;
use sandbox_core::metrics::Operation;
use sandbox_core::{
    BoxError, CommandCause, ControlMessage, ExecEvent, ExitStatus, Notice, Result, Signal, protocol,
};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::env_script::EnvScript;
use super::errors::{command_error, lost_error, refused_error};
use super::input::{self, EndMark};
use super::optional::{receive, sleep_until_some};
use super::request::StartRequest;
use super::signal_fallback::{self, SignalFallback};
use super::signals;
use super::sink::{Sink, Step};
use super::state::{CommandState, parse_notice};
use super::tty_sync::TtySync;
use crate::channel::OpenChannel;

/// How long output that arrived before a connection ended is still read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a signal or a new size may take to be sent when the reader is slow.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(1);

/// SSH_EXTENDED_DATA_STDERR, RFC 4254 §5.2.
const STDERR: u32 = 1;

type Sent = std::result::Result<(), BoxError>;

/// The parts that a command needs after its start.
#[derive(Default)]
pub(super) struct Inputs {
    /// Sent before the input.
    pub(super) env_script: Option<EnvScript>,
    pub(super) stdin: Option<DuplexStream>,
    pub(super) control: Option<mpsc::Receiver<ControlMessage>>,
    /// For signals, if the server ignores those that are sent over the channel.
    pub(super) signal_fallback: Option<SignalFallback>,
    pub(super) measured: Option<Operation>,
}

pub(super) struct Actor<S> {
    channel: OpenChannel,
    sink: S,
    state: CommandState,
    env_script: Option<EnvScript>,
    stdin: Option<DuplexStream>,
    end_mark: EndMark,
    /// Sends the input; ends with the actor.
    _input: Option<AbortOnDropHandle<()>>,
    tty_sync: Option<TtySync>,
    control: Option<mpsc::Receiver<ControlMessage>>,
    signal_fallback: Option<SignalFallback>,
    /// How long the server may take to answer.
    answer_timeout: Duration,
    /// How long the command may run.
    timeout: Option<Duration>,
    may_end_silently: bool,
    /// The job to which the request attaches.
    attached_job: Option<String>,
    measured: Option<Operation>,
}

/// Why the actor stops.
#[derive(Debug)]
enum Stop {
    /// The command has ended, or its end cannot be determined.
    Ended,
    /// The caller has dropped the command.
    Abandoned,
    TimedOut(Duration),
    /// The server stopped responding.
    Silent,
}

impl<S: Sink> Actor<S> {
    pub(super) fn new(
        channel: OpenChannel,
        mut request: StartRequest,
        inputs: Inputs,
        sink: S,
        answer_timeout: Duration,
    ) -> Self {
        let typed = request.has_terminal() && !channel.conn().is_sandbox_sshd();
        Self {
            channel,
            sink,
            state: CommandState::new(request.output_grace),
            env_script: inputs.env_script,
            stdin: inputs.stdin,
            end_mark: if typed { EndMark::Typed } else { EndMark::Eof },
            _input: None,
            tty_sync: None,
            control: inputs.control,
            signal_fallback: inputs.signal_fallback,
            answer_timeout,
            timeout: request.timeout,
            may_end_silently: request.may_end_silently,
            attached_job: request.take_attached_job(),
            measured: inputs.measured,
        }
    }

    pub(super) async fn run(mut self) {
        let begun = Instant::now();
        self.start_input().await;
        let stop = self.drive().await;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(ssh.exit = ?self.state.exit, ssh.stop = ?stop, elapsed_ms, "command ended");

        // End a command that still runs.
        let mut killed = true;
        if let Stop::TimedOut(_) = stop {
            killed = self.signal(Signal::Kill, signal_fallback::TIMEOUT).await;
        } else if let Stop::Abandoned = stop
            && !self.channel.conn().is_sandbox_sshd()
        {
            // sandbox-sshd sends a hangup when the channel closes; other servers leave the command
            // running.
            self.signal(Signal::Hup, signal_fallback::TIMEOUT).await;
        }

        // Report the end, and close the channel.
        if self.state.is_held() {
            self.sink.push(ExecEvent::Notice(Notice::OutputHeld));
        }
        let end = self.outcome(&stop, killed);
        drop(self._input);
        // An abandoned command counts as cancelled, which dropping its measurement records.
        if let (Some(measured), false) = (self.measured, matches!(stop, Stop::Abandoned)) {
            measured.finish_command(&end);
        }
        let channel = self.channel;
        let state = self.state;
        let close = async {
            if state.exit.is_some() && state.is_complete() && !state.closed {
                channel.finish_after_server().await;
            } else {
                channel.finish(state.closed).await;
            }
        };
        // Neither the reader nor the close waits for the other.
        tokio::join!(self.sink.finish(end), close);
    }

    /// Sends the input from a task of its own, because sending waits while the command does not
    /// read.
    async fn start_input(&mut self) {
        let env_script = self.env_script.take();
        let stdin = self.stdin.take();
        let end_mark = self.end_mark;
        if env_script.is_none() && stdin.is_none() {
            if let Err(error) = end_mark.send(&self.channel.write).await {
                // The loop will find the connection dead.
                tracing::debug!(%error, "end of input not sent");
            }
            return;
        }
        let mut marks = None;
        if env_script.as_ref().is_some_and(EnvScript::is_in_terminal) {
            let (tty_sync, received) = TtySync::new();
            self.tty_sync = Some(tty_sync);
            marks = Some(received);
        }
        let write = Arc::clone(&self.channel.write);
        self._input = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let sending = input::send(env_script, marks.as_deref(), stdin, end_mark, &write);
            if let Err(error) = sending.await {
                tracing::debug!(%error, "input of a command cut off");
            }
        })));
    }

    /// Forwards output and control messages until the command has ended or must be ended.
    async fn drive(&mut self) -> Stop {
        let conn = Arc::clone(self.channel.conn());
        let limit = self
            .timeout
            .and_then(|after| Some((Instant::now().checked_add(after)?, after)));
        let watch = conn.watch();
        tokio::pin!(watch);
        let mut drained: Option<Instant> = None;
        while !self.state.has_ended() {
            let probe = self.state.next_probe();
            tokio::select! {
                biased;
                step = self.sink.deliver() => if step == Step::Abandoned { return Stop::Abandoned },
                message = receive(&mut self.control) => self.handle_control(message).await,
                () = sleep_until_some(limit.map(|(at, _)| at)), if self.state.exit.is_none() => {
                    return Stop::TimedOut(limit.map(|(_, after)| after).unwrap_or_default());
                }
                message = self.channel.read.wait(), if self.sink.has_room() => self.handle(message),
                () = conn.wait_ended(), if drained.is_none() => {
                    drained = Some(Instant::now() + DRAIN_TIMEOUT);
                }
                // The watch kills the connection, which the branch above notices first.
                () = watch.as_mut(), if drained.is_none() && !self.state.received_any => {}
                () = sleep_until_some(drained) => self.state.ended = true,
                () = sleep_until_some(probe), if self.sink.has_room() => {
                    if let Some(stop) = self.probe().await {
                        return stop;
                    }
                }
            }
        }
        Stop::Ended
    }

    /// Asks the server for an answer, which arrives after everything it sent before, however
    /// slow the network is. If nothing else arrives before the answer, the output is complete.
    async fn probe(&mut self) -> Option<Stop> {
        let conn = Arc::clone(self.channel.conn());
        let pong = conn.ping(self.answer_timeout);
        tokio::pin!(pong);
        let before = self.state.bytes_after_exit();
        let trickling = self.state.is_trickling();
        loop {
            tokio::select! {
                biased;
                step = self.sink.deliver() => if step == Step::Abandoned { return Some(Stop::Abandoned) },
                message = self.channel.read.wait(), if self.sink.has_room() => {
                    self.handle(message);
                    if self.state.has_ended() {
                        return None;
                    }
                }
                answered = pong.as_mut(), if self.sink.has_room() => {
                    if !answered && !conn.is_dead() {
                        return Some(Stop::Silent);
                    }
                    if answered {
                        self.state.record_answer(before, trickling);
                    }
                    return None;
                }
            }
        }
    }

    /// Handles a message of the channel; `None` is the end of the channel.
    fn handle(&mut self, message: Option<ChannelMsg>) {
        self.state.received_any = true;
        match message {
            Some(ChannelMsg::Data { data }) => self.handle_output(ExecEvent::Stdout(data)),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                self.handle_output(ExecEvent::Stderr(data))
            }
            Some(ChannelMsg::ExtendedData {
                data,
                ext: protocol::NOTICE_DATA,
            }) if self.channel.conn().is_sandbox_sshd() => {
                if let Some(notice) = parse_notice(&data) {
                    self.sink.push(ExecEvent::Notice(notice));
                }
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                self.state.record_exit(ExitStatus::Code(exit_status))
            }
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                let signal = signals::from_ssh(&signal_name);
                self.state.record_exit(ExitStatus::Signal(signal))
            }
            Some(ChannelMsg::Eof) => self.state.eof = true,
            Some(ChannelMsg::Failure) => self.state.refused = true,
            Some(ChannelMsg::Close) => {
                self.state.closed = true;
                self.state.ended = true;
            }
            None => self.state.ended = true,
            Some(_) => {}
        }
    }

    fn handle_output(&mut self, mut event: ExecEvent) {
        self.state.record_output(&event);
        if let (ExecEvent::Stdout(data), Some(tty_sync)) = (&mut event, &mut self.tty_sync) {
            *data = tty_sync.strip_marks(data);
            let is_empty = data.is_empty();
            if tty_sync.is_complete() {
                self.tty_sync = None;
            }
            if is_empty {
                return;
            }
        }
        self.sink.push(event);
    }

    async fn handle_control(&mut self, message: Option<ControlMessage>) {
        let write = Arc::clone(&self.channel.write);
        match message {
            None => self.control = None,
            Some(ControlMessage::Signal(signal)) => {
                self.signal(signal, CONTROL_TIMEOUT).await;
            }
            Some(ControlMessage::Resize(size)) => {
                let columns = u32::from(size.columns);
                let rows = u32::from(size.rows);
                let change = async move { Ok(write.window_change(columns, rows, 0, 0).await?) };
                self.send_control(change, CONTROL_TIMEOUT).await;
            }
            Some(_) => {}
        }
    }

    /// Sends a signal; `true` if it is certain that it was sent. The timeout is that of the
    /// fallback.
    async fn signal(&mut self, signal: Signal, timeout: Duration) -> bool {
        if let Some(send) = &self.signal_fallback {
            let sending = send(signal);
            return self.send_control(sending, timeout).await;
        }
        let write = Arc::clone(&self.channel.write);
        let sending = async move { Ok(write.signal(signals::to_ssh(&signal)).await?) };
        self.send_control(sending, CONTROL_TIMEOUT).await
    }

    /// Sends a control message although the reader may be slow; `true` if it was sent in time. A
    /// message that was not is still sent later.
    ///
    /// russh sends nothing while received data waits to be read, so that data goes into the sink's
    /// reserve meanwhile.
    async fn send_control(
        &mut self,
        message: impl Future<Output = Sent> + Send + 'static,
        timeout: Duration,
    ) -> bool {
        let conn = Arc::clone(self.channel.conn());
        let held_back = !self.sink.has_room();
        let sending = tokio::spawn(async move {
            tokio::select! {
                biased;
                sent = message => if let Err(error) = sent {
                    tracing::warn!(%error, "signal or terminal size not sent");
                    return false;
                },
                () = conn.wait_ended() => return false,
            }
            if held_back {
                // The answer proves that the message was sent.
                conn.ping(CONTROL_TIMEOUT).await;
            }
            true
        });
        tokio::pin!(sending);
        let limit = Instant::now() + timeout;
        loop {
            tokio::select! {
                biased;
                sent = sending.as_mut() => return sent.unwrap_or(false),
                message = self.channel.read.wait(), if self.sink.has_reserve() && !self.state.ended => self.handle(message),
                () = sleep_until(limit) => return false,
            }
        }
    }

    /// The end of the command, as the caller gets it.
    fn outcome(&self, stop: &Stop, killed: bool) -> Result<Option<ExitStatus>> {
        let conn = self.channel.conn();
        let state = &self.state;
        match stop {
            Stop::TimedOut(after) => {
                let cause = CommandCause::TimedOut {
                    after: *after,
                    killed,
                };
                Err(command_error(cause, None))
            }
            Stop::Silent => Err(lost_error("the server stopped responding")),
            _ if state.refused && state.exit.is_none() => {
                Err(refused_error(self.attached_job.as_deref(), &conn.server()))
            }
            // Without an end of file, the last of the output may be missing.
            _ if state.exit.is_some() && (state.is_complete() || state.closed) => {
                Ok(state.exit.clone())
            }
            _ if state.closed && self.may_end_silently => Ok(None),
            _ if state.closed => Err(lost_error(
                "the server closed the channel without an exit status",
            )),
            _ => Err(lost_error(
                conn.state.end_reason().unwrap_or("the connection ended"),
            )),
        }
    }
}
