//! The file operations of the guest protocol, with a client that speaks it and one that violates it.

mod compose;
mod hostile;
mod operations;
mod users;
mod watches;

use bytes::{Bytes, BytesMut};
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use sandbox_core::guest::{
    FileEntry, FileEvent, FileEventKind, FileRequest, Frame, FrameKind, GuestRequest, Refusal,
    RefusalCode, WatchOptions, Written, put_frame, take_frame,
};
use sandbox_core::protocol::GUEST_SUBSYSTEM;
use serde::de::DeserializeOwned;

use crate::support::client::{Client, LONG, TestSandbox, open};

/// A sandbox with one client.
struct Guest {
    sandbox: TestSandbox,
    client: Client,
}

/// One operation.
struct Operation {
    channel: Channel<Msg>,
    received: BytesMut,
}

impl Guest {
    async fn new() -> Self {
        let sandbox = TestSandbox::new(|config| config);
        let client = sandbox.connect_as_sdk().await;
        Self { sandbox, client }
    }

    /// The path of a name in the home directory, on this machine.
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.sandbox.home.path().join(name)
    }

    async fn begin(&self, request: FileRequest) -> Operation {
        self.begin_any(&GuestRequest::File(request)).await
    }

    async fn begin_any(&self, request: &GuestRequest) -> Operation {
        let mut operation = self.begin_silent().await;
        let json = serde_json::to_vec(request).unwrap();
        operation.send(FrameKind::Message, &json).await;
        operation
    }

    async fn begin_silent(&self) -> Operation {
        let channel = open(&self.client, &[]).await;
        channel
            .request_subsystem(true, GUEST_SUBSYSTEM)
            .await
            .unwrap();
        Operation {
            channel,
            received: BytesMut::new(),
        }
    }

    /// Carries out an operation that has one reply.
    async fn call<T: DeserializeOwned>(&self, request: FileRequest) -> Result<T, Refusal> {
        let mut operation = self.begin(request).await;
        let reply = operation.reply().await;
        assert_eq!(operation.next().await, None, "nothing follows");
        reply
    }

    async fn refusal(&self, request: FileRequest) -> Refusal {
        let mut operation = self.begin(request).await;
        let frame = operation.next().await.expect("a refusal");
        assert_eq!(frame.kind, FrameKind::Refusal, "{frame:?}");
        assert_eq!(operation.next().await, None, "nothing follows");
        serde_json::from_slice(&frame.payload).unwrap()
    }

    async fn code(&self, request: FileRequest) -> RefusalCode {
        self.refusal(request).await.code
    }

    /// Carries out an operation that has a list of replies.
    async fn list<T: DeserializeOwned>(&self, request: FileRequest) -> Vec<T> {
        let mut operation = self.begin(request).await;
        let mut replies = Vec::new();
        loop {
            let frame = operation.next().await.expect("more of the list");
            match frame.kind {
                FrameKind::Message => {
                    replies.push(serde_json::from_slice(&frame.payload).unwrap());
                }
                FrameKind::ContentEnd => return replies,
                _ => panic!("{frame:?}"),
            }
        }
    }

    async fn read(&self, request: FileRequest) -> (FileEntry, Vec<u8>) {
        let mut operation = self.begin(request).await;
        let entry = operation.reply().await.unwrap();
        let mut content = Vec::new();
        loop {
            let frame = operation.next().await.expect("more content");
            match frame.kind {
                FrameKind::Content => {
                    content.extend_from_slice(&frame.payload);
                    let taken = u32::try_from(frame.payload.len()).unwrap();
                    operation.send(FrameKind::Taken, &taken.to_be_bytes()).await;
                }
                FrameKind::ContentEnd => return (entry, content),
                _ => panic!("{frame:?}"),
            }
        }
    }

    async fn write(&self, path: &str, content: &[u8]) -> Result<Written, Refusal> {
        self.write_with(write_request(path), content).await
    }

    async fn write_with(&self, request: FileRequest, content: &[u8]) -> Result<Written, Refusal> {
        let mut operation = self.begin(request).await;
        for part in content.chunks(64 << 10) {
            operation.send(FrameKind::Content, part).await;
        }
        operation.send(FrameKind::ContentEnd, b"").await;
        operation.reply().await
    }

    async fn create_watcher(&self, options: WatchOptions) -> String {
        self.call(FileRequest::CreateWatcher(options))
            .await
            .unwrap()
    }

    async fn take_events(&self, watcher: &str) -> Vec<FileEvent> {
        let watcher = watcher.to_owned();
        self.list(FileRequest::TakeEvents { watcher }).await
    }
}

impl Operation {
    async fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        let mut encoded = BytesMut::new();
        put_frame(&mut encoded, kind, payload).unwrap();
        self.send_bytes(encoded.freeze()).await;
    }

    async fn send_bytes(&mut self, bytes: Bytes) {
        // The server may have closed the channel.
        self.channel.data_bytes(bytes).await.ok();
    }

    async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(LONG, self.next_unlimited())
            .await
            .expect("the server does not answer")
    }

    async fn next_unlimited(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.received).unwrap() {
                return Some(frame);
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => self.received.extend_from_slice(&data),
                Some(ChannelMsg::Close) | None => {
                    assert!(self.received.is_empty());
                    return None;
                }
                Some(_) => {}
            }
        }
    }

    async fn reply<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let frame = self.next().await.expect("a reply");
        match frame.kind {
            FrameKind::Message => Ok(serde_json::from_slice(&frame.payload).unwrap()),
            FrameKind::Refusal => Err(serde_json::from_slice(&frame.payload).unwrap()),
            _ => panic!("{frame:?}"),
        }
    }
}

fn write_request(path: &str) -> FileRequest {
    FileRequest::Write {
        path: path.into(),
        attributes: Default::default(),
        replace_attributes: String::new(),
    }
}

fn read_request(path: &str, offset: u64, length: Option<u64>) -> FileRequest {
    FileRequest::Read {
        path: path.into(),
        offset,
        length,
    }
}

fn recursive(path: &str) -> WatchOptions {
    let mut options = WatchOptions::new(path);
    options.recursive = true;
    options
}

/// Events as text, which is easy to compare.
fn described(events: &[FileEvent]) -> Vec<String> {
    let describe = |event: &FileEvent| format!("{:?} {}", event.kind, event.name);
    events.iter().map(describe).collect()
}
