//! What the cases share: a stopped clock, the two servers, and the connections to them, for a new
//! handshake for each case would take most of the time.

use std::cell::RefCell;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{Access, Client, Defaults, Endpoint, Error, Sandbox, SandboxBackend, Uid};
use sandbox_core::{KeyPair, SessionSource};
use sandbox_ssh::{SshOptions, SshSessions};
use sandbox_testkit::OneServer;
use tokio::runtime::Runtime;

use crate::input::Input;
use crate::peer::{Case, Peer};

/// Of the stopped clock: a call that waits longer waits for ever.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

const ID: &str = "sbx-hostile";

pub(crate) struct World {
    /// Of our server, and of another.
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
        let client = |ours| {
            let keys = KeyPair::generate().unwrap();
            let mut peer = Peer::new(&keys, ours);
            peer.case = Arc::clone(&case);
            let sessions = SshSessions::new(Arc::new(peer), SshOptions::default());
            let backend = Arc::new(OneServer::new(&access(keys, &uid))) as Arc<dyn SandboxBackend>;
            (
                Client::with_parts(backend, Arc::new(sessions.clone()), Defaults::default()),
                sessions,
            )
        };
        let ((ours, our_sessions), (other, other_sessions)) = (client(true), client(false));
        Self {
            clients: [ours, other],
            sessions: [our_sessions, other_sessions],
            uid,
            case,
        }
    }

    /// Runs one case to its end.
    pub(crate) fn run<F: Future<Output = ()>>(
        bytes: &[u8],
        work: impl FnOnce(Arc<Mutex<Case>>, Arc<Self>) -> F,
    ) {
        WORLD.with_borrow_mut(|kept| {
            let (runtime, world) = kept.get_or_insert_with(|| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().start_paused(true).build().unwrap();
                (runtime, Arc::new(Self::new()))
            });
            // A case that panicked may have left it locked, and ended the fuzzing.
            *world.case.lock().unwrap() = Case {
                input: Input::new(bytes),
                ..Case::default()
            };
            let work = work(Arc::clone(&world.case), Arc::clone(world));
            runtime
                .block_on(async { tokio::time::timeout(FOR_EVER, work).await.expect("it ends") });
        });
    }

    /// A sandbox of which nothing is left from the case before, for the server says what it can do
    /// at the beginning of a session.
    pub(crate) async fn new_sandbox(&self, ours: bool) -> Sandbox {
        self.sessions[usize::from(!ours)].evict(&self.uid).await;
        self.sandbox(ours).await
    }

    /// A connected sandbox.
    pub(crate) async fn sandbox(&self, ours: bool) -> Sandbox {
        let client = &self.clients[usize::from(!ours)];
        client
            .connect(&ID.parse().unwrap())
            .await
            .expect("the handshake is honest")
    }
}

/// The keys are the server's, and the client's as well.
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

/// Nothing of what a message repeats may steer a terminal, nor those of its causes.
pub(crate) fn check_error(error: &Error) {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        check_message(&error.to_string());
        next = error.source();
    }
}

fn check_message(text: &str) {
    let steers = |character: char| {
        character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(steers), "{text:?}");
    assert!(
        text.len() < 20_000,
        "a message of {} bytes: {text:?}",
        text.len()
    );
}
