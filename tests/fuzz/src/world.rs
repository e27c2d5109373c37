//! The state that all cases share: a paused clock, two servers, and the connections to them,
//! because a handshake in each case would take most of the time.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{Access, Client, Defaults, Endpoint, Error, Sandbox, SandboxBackend, Uid};
use sandbox_core::{KeyPair, SessionSource};
use sandbox_ssh::{SshOptions, SshSessions};
use sandbox_testkit::SingleSandboxBackend;
use tokio::runtime::Runtime;

use crate::input::Input;
use crate::peer::{Case, Peer};

/// A call that takes longer on the paused clock never returns.
const CALL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

const ID: &str = "sbx-hostile";

pub(crate) struct World {
    /// Clients of a server that identifies itself as sandbox-sshd, and of another.
    clients: [Client; 2],
    sessions: [SshSessions; 2],
    uid: Uid,
    case: Arc<Mutex<Case>>,
}

thread_local! {
    static WORLD: RefCell<Option<(Runtime, Arc<World>)>> = const { RefCell::new(None) };
}

impl World {
    fn new() -> Self {
        let case = Arc::default();
        let uid = Uid::generate().unwrap();
        let client = |is_sandbox_sshd| {
            let keys = KeyPair::generate().unwrap();
            let mut peer = Peer::new(&keys, is_sandbox_sshd);
            peer.case = Arc::clone(&case);
            let sessions = SshSessions::new(Arc::new(peer), SshOptions::default());
            let backend =
                Arc::new(SingleSandboxBackend::new(&access(keys, &uid))) as Arc<dyn SandboxBackend>;
            (
                Client::with_parts(backend, Arc::new(sessions.clone()), Defaults::default()),
                sessions,
            )
        };
        let (own_client, own_sessions) = client(true);
        let (other_client, other_sessions) = client(false);
        Self {
            clients: [own_client, other_client],
            sessions: [own_sessions, other_sessions],
            uid,
            case,
        }
    }

    /// Runs one case to its end, with these bytes as its input.
    pub(crate) fn run<F: Future<Output = ()>>(
        bytes: &[u8],
        work: impl FnOnce(Arc<Mutex<Case>>, Arc<Self>) -> F,
    ) {
        WORLD.with_borrow_mut(|world| {
            let (runtime, world) = world.get_or_insert_with(|| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().start_paused(true).build().unwrap();
                (runtime, Arc::new(Self::new()))
            });
            *world.case.lock().unwrap() = Case {
                input: Input::new(bytes),
                ..Case::default()
            };
            let work = work(Arc::clone(&world.case), Arc::clone(world));
            runtime.block_on(async {
                tokio::time::timeout(CALL_TIMEOUT, work)
                    .await
                    .expect("every call returns")
            });
        });
    }

    /// A sandbox with a new connection. The server announces its extensions at the beginning of a
    /// connection, so a case that depends on them needs a new one.
    pub(crate) async fn new_sandbox(&self, is_sandbox_sshd: bool) -> Sandbox {
        self.sessions[usize::from(!is_sandbox_sshd)]
            .evict(&self.uid)
            .await;
        self.sandbox(is_sandbox_sshd).await
    }

    /// A connected sandbox.
    pub(crate) async fn sandbox(&self, is_sandbox_sshd: bool) -> Sandbox {
        let client = &self.clients[usize::from(!is_sandbox_sshd)];
        client
            .connect(&ID.parse().unwrap())
            .await
            .expect("the handshake is correct")
    }
}

/// Server and client use the same key pair.
fn access(keys: KeyPair, uid: &Uid) -> Access {
    Access {
        id: ID.parse().unwrap(),
        uid: uid.clone(),
        user: "user".into(),
        host_key: keys.public,
        client_key: keys.private,
        endpoint: Endpoint::Memory("hostile".into()),
    }
}

/// Asserts that the messages of an error and of its sources have no terminal control characters.
pub(crate) fn check_error(error: &Error) {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        check_message(&error.to_string());
        next = error.source();
    }
}

fn check_message(text: &str) {
    let is_control = |character: char| {
        character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(is_control), "{text:?}");
    assert!(
        text.len() < 20_000,
        "a message of {} bytes: {text:?}",
        text.len()
    );
}

/// A temporary directory, in memory if possible.
pub(crate) fn temporary_directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(parent).unwrap()
}
