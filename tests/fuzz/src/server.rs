//! sandbox-sshd, and the requests of a hostile client.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::client::Client;
use crate::home::{self, Home};

/// The thread of the server, which has given up root's permissions.
struct ServerThread {
    home: Home,
    cases: SyncSender<Vec<u8>>,
    has_passed: Receiver<bool>,
}

thread_local! {
    static THREAD: OnceCell<ServerThread> = const { OnceCell::new() };
}

/// The server does not panic, sends one response to each request, ends the session with the client,
/// and does nothing that the user of the sandbox may not do.
pub(crate) fn target(bytes: &[u8]) {
    THREAD.with(|thread| {
        let thread = thread.get_or_init(ServerThread::new);
        thread.home.reset();
        thread.cases.send(bytes.to_vec()).unwrap();
        // The thread has printed the reason.
        assert!(
            thread.has_passed.recv().unwrap(),
            "the server did something that it must not do"
        );
        thread.home.check();
    });
}

impl ServerThread {
    fn new() -> Self {
        let home = Home::new();
        let (cases, next) = sync_channel::<Vec<u8>>(0);
        let (done, has_passed) = sync_channel(1);
        // Only the path is moved: this thread deletes the directory.
        let path = home.path();
        std::thread::spawn(move || {
            home::give_up_permissions();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let client = runtime.block_on(Client::new(&path));
            while let Ok(case) = next.recv() {
                let run = || runtime.block_on(client.run(&case));
                if done
                    .send(catch_unwind(AssertUnwindSafe(run)).is_ok())
                    .is_err()
                {
                    return;
                }
            }
        });
        Self {
            home,
            cases,
            has_passed,
        }
    }
}
