//! The server's requests to freeze and thaw its sandbox, which the supervisor carries out.
//!
//! No process inside may write to a control group, the server included. A request is one byte, and its reply one line:
//! empty, or why it failed.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Pid;
use sandbox_sshd::FreezerRequest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::descendants::parent_of;
use crate::linux::cgroup::Freezer;

const FREEZE: u8 = b'f';
const THAW: u8 = b't';
/// The longest reply that is read, in bytes.
const MAX_REPLY: u64 = 4096;

/// The supervisor's side.
pub(super) struct PauseRequests {
    freezer: Freezer,
    stream: UnixStream,
    /// The process that the supervisor started: the server, or its keeper.
    child: Pid,
}

/// The server's side.
#[derive(Clone)]
pub(super) struct Requester(Arc<UnixStream>);

/// Creates both sides. The second one is for a server that is started as `child` or by it.
pub(super) fn connect(
    freezer: Freezer,
) -> io::Result<(Requester, impl FnOnce(Pid) -> PauseRequests)> {
    let (stream, requester) = UnixStream::pair()?;
    // The supervisor never waits for the server.
    stream.set_nonblocking(true)?;
    requester.set_nonblocking(true)?;
    let requests = move |child| PauseRequests {
        freezer,
        stream,
        child,
    };
    Ok((Requester(Arc::new(requester)), requests))
}

impl PauseRequests {
    /// Becomes readable when there is a request.
    pub(super) fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Carries out one request. Returns whether there may be others: `false` once the server has ended, or if it does
    /// not read the replies.
    pub(super) fn serve_one(&self) -> bool {
        let mut request = [0];
        match (&self.stream).read(&mut request) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Ok(_) | Err(_) => return false,
        }
        let result = match request {
            [FREEZE] => self.find_server().and_then(|pid| self.freezer.freeze(pid)),
            [THAW] => self.freezer.thaw(),
            _ => Err(io::Error::other("unknown request")),
        };
        let mut reply = result.map_or_else(|error| error.to_string(), |()| String::new());
        reply.push('\n');
        (&self.stream).write_all(reply.as_bytes()).is_ok()
    }

    fn find_server(&self) -> io::Result<Pid> {
        let members = self.freezer.members()?;
        if members.contains(&self.child) {
            return Ok(self.child);
        }
        // The keeper is no member, and its only child is the server: orphans become the server's children.
        members
            .into_iter()
            .find(|member| parent_of(*member) == Some(self.child))
            .ok_or_else(|| io::Error::other("the server is not in the control group"))
    }
}

impl Requester {
    /// The descriptor that the server process inherits.
    pub(super) fn stream(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Sends a request, and waits until it was carried out.
    pub(super) fn request(
        &self,
        request: FreezerRequest,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let stream = Arc::clone(&self.0);
        async move {
            let mut stream = tokio::net::UnixStream::from_std(stream.try_clone()?)?;
            let byte = match request {
                FreezerRequest::Freeze => FREEZE,
                FreezerRequest::Thaw => THAW,
            };
            stream.write_all(&[byte]).await?;
            let mut reply = String::new();
            let mut lines = BufReader::new(stream.take(MAX_REPLY));
            lines.read_line(&mut reply).await?;
            match reply.strip_suffix('\n') {
                Some("") => Ok(()),
                Some(problem) => Err(io::Error::other(problem.to_owned())),
                None => Err(io::Error::other("the sandbox's supervisor does not answer")),
            }
        }
    }
}
