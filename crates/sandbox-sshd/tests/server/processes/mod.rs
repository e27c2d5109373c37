//! Shared processes, by the guest protocol (`sandbox_core::guest`).

mod ending;
mod hostile;
mod input;
mod operations;
mod sharing;
mod users;

use std::time::Duration;

use sandbox_core::guest::{
    Done, FrameKind, GuestRequest, InputTarget, ProcessEnd, ProcessRequest, ProcessSelector,
    ProcessSpec, ProcessStarted, Refusal, SharedProcess,
};
use sandbox_core::protocol::GUEST_SUBSYSTEM;
use sandbox_core::{Error, GuestChannel, GuestFrame, Result};

use crate::support::client::{Client, LONG, open};

const PIPE: usize = 64 << 10;

/// What a client that is attached has received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Events {
    stdout: Vec<u8>,
    stderr: String,
    terminal: String,
    end: Option<ProcessEnd>,
    refusal: Option<Refusal>,
}

/// A client that is attached to a process.
struct Attached {
    pid: u32,
    channel: GuestChannel,
    events: Events,
}

impl Attached {
    /// Receives the next frame; `false` after the end.
    async fn receive(&mut self) -> bool {
        let next = tokio::time::timeout(LONG, self.channel.next()).await;
        let frame = match next.expect("nothing is received").unwrap() {
            Some(GuestFrame::Frame(frame)) => frame,
            Some(GuestFrame::Refused(refusal)) => {
                self.events.refusal = Some(refusal);
                return true;
            }
            _ => return false,
        };
        let text = String::from_utf8_lossy(&frame.payload);
        assert_eq!(self.events.end, None, "something follows the end: {text}");
        match frame.kind {
            FrameKind::Content => self.events.stdout.extend_from_slice(&frame.payload),
            FrameKind::Stderr => self.events.stderr.push_str(&text),
            FrameKind::Terminal => self.events.terminal.push_str(&text),
            FrameKind::Message => self.events.end = serde_json::from_slice(&frame.payload).unwrap(),
            kind => panic!("unexpected {kind:?}"),
        }
        true
    }

    /// Receives until the standard output ends with this.
    async fn receive_until(&mut self, end: &str) {
        while !self.events.stdout.ends_with(end.as_bytes()) {
            assert!(self.receive().await, "{:?}", self.events);
        }
    }

    /// Receives everything.
    async fn finish(mut self) -> Events {
        while self.receive().await {}
        self.events
    }
}

fn sh(script: &str) -> ProcessSpec {
    ProcessSpec::new("/bin/sh").args(["-c", script])
}

async fn open_guest(client: &Client) -> GuestChannel {
    let channel = open(client, &[]).await;
    channel
        .request_subsystem(true, GUEST_SUBSYSTEM)
        .await
        .unwrap();
    GuestChannel::new(channel.into_stream(), LONG)
}

async fn open_events(client: &Client, request: ProcessRequest) -> Result<Attached> {
    let mut channel = open_guest(client).await;
    channel.request(&GuestRequest::Process(request)).await?;
    let started: ProcessStarted = channel.reply().await?;
    Ok(Attached {
        pid: started.pid,
        channel,
        events: Events::default(),
    })
}

async fn start(client: &Client, spec: ProcessSpec) -> Attached {
    let request = ProcessRequest::Start(Box::new(spec));
    open_events(client, request).await.unwrap()
}

async fn attach(client: &Client, process: impl Into<ProcessSelector>) -> Result<Attached> {
    open_events(client, ProcessRequest::Attach(process.into())).await
}

async fn run(client: &Client, spec: ProcessSpec) -> Events {
    start(client, spec).await.finish().await
}

async fn call(client: &Client, request: ProcessRequest) -> Result<()> {
    let channel = open_guest(client).await;
    let _: Done = channel.call(&GuestRequest::Process(request)).await?;
    Ok(())
}

async fn signal(client: &Client, pid: u32, name: &str) -> Result<()> {
    let request = ProcessRequest::Signal {
        process: pid.into(),
        signal: name.to_owned(),
    };
    call(client, request).await
}

async fn list(client: &Client) -> Vec<SharedProcess> {
    let mut channel = open_guest(client).await;
    let request = GuestRequest::Process(ProcessRequest::List);
    channel.request(&request).await.unwrap();
    let mut listed = Vec::new();
    loop {
        match channel.next_at_once().await.unwrap().unwrap() {
            GuestFrame::Frame(frame) if frame.kind == FrameKind::ContentEnd => break,
            GuestFrame::Frame(frame) => {
                listed.push(serde_json::from_slice(&frame.payload).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }
    let _: Done = channel.reply().await.unwrap();
    listed
}

/// Writes to the input of a process.
async fn write(
    client: &Client,
    process: impl Into<ProcessSelector>,
    target: InputTarget,
    data: &[u8],
) -> Result<()> {
    let mut channel = open_guest(client).await;
    let request = ProcessRequest::Input {
        process: process.into(),
        target,
    };
    channel.request(&GuestRequest::Process(request)).await?;
    channel.send_content(data).await?;
    channel.finish_content().await?;
    let _: Done = channel.reply_whenever().await?;
    Ok(())
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
    match result.unwrap_err() {
        Error::Refused(refusal) => *refusal,
        error => panic!("{error:?}"),
    }
}

/// Waits until a condition is met.
async fn wait_for(what: &str, mut is_met: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_met().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect(what);
}
