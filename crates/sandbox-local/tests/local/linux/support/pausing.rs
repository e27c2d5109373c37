//! Pausing a sandbox over SSH, and whether the machine has a freezer for it.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use rustix::fs::{Access, access};
use sandbox_core::guest::{
    FrameKind, GuestRequest, PauseState, SandboxRequest, put_frame, take_frame,
};
use sandbox_core::protocol::GUEST_SUBSYSTEM;
use sandbox_core::{SandboxBackend, SandboxInfo};

use super::shell::Shell;
use super::trial::Result;
use super::world::World;

impl World {
    pub(crate) async fn pause(&self, info: &SandboxInfo) -> Result<PauseState> {
        self.ask(info, SandboxRequest::Pause).await
    }

    pub(crate) async fn resume(&self, info: &SandboxInfo) -> Result<PauseState> {
        self.ask(info, SandboxRequest::Resume { ttl_seconds: None })
            .await
    }

    /// Sends a request about the sandbox as a whole. A refusal is an error with its text.
    async fn ask(&self, info: &SandboxInfo, request: SandboxRequest) -> Result<PauseState> {
        let shell = Shell::open(&self.backend.access(&info.id).await?).await?;
        let mut channel = shell.channel().await?;
        channel.request_subsystem(true, GUEST_SUBSYSTEM).await?;
        let mut sent = BytesMut::new();
        let request = serde_json::to_vec(&GuestRequest::Sandbox(request))?;
        put_frame(&mut sent, FrameKind::Message, &request)?;
        channel.data(&sent[..]).await?;
        let mut received = BytesMut::new();
        while let Some(message) = channel.wait().await {
            if let russh::ChannelMsg::Data { data } = message {
                received.extend_from_slice(&data);
            }
            if let Some(frame) = take_frame(&mut received)? {
                if frame.kind == FrameKind::Message {
                    return Ok(serde_json::from_slice(&frame.payload)?);
                }
                return Err(String::from_utf8_lossy(&frame.payload).into());
            }
        }
        Err("the channel was closed without a reply".into())
    }
}

/// Whether this process may create groups with a freezer.
pub(crate) fn has_freezer() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mounts");
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let at = fields.next()?;
        (fields.next()? == "cgroup2").then_some(at)
    });
    let groups = read("/proc/self/cgroup");
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let group = mount
        .zip(group)
        .map(|(at, group)| Path::new(at).join(group));
    group.is_some_and(|group| access(group.join("cgroup.procs"), Access::WRITE_OK).is_ok())
}

/// Finds the group of what is frozen of a sandbox.
pub(crate) fn frozen_group(uid: &str) -> Option<PathBuf> {
    let mut stack = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name() == "paused" && entry.path().to_string_lossy().contains(uid) {
                return Some(entry.path());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                stack.push(entry.path());
            }
        }
    }
    None
}
