//! Our server, and what a hostile client sends it.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::client::Client;
use crate::home::{self, Home};

/// The server has a thread of its own, for that gives its rights up.
struct Thread {
    home: Home,
    cases: SyncSender<Vec<u8>>,
    held: Receiver<bool>,
}

thread_local! {
    static THREAD: OnceCell<Thread> = const { OnceCell::new() };
}

/// No panic, one answer to each request, an end with the client, and nothing that the user of the
/// sandbox may not do.
pub(crate) fn target(bytes: &[u8]) {
    THREAD.with(|thread| {
        let thread = thread.get_or_init(Thread::new);
        thread.home.begin();
        thread.cases.send(bytes.to_vec()).unwrap();
        // The thread has said why not.
        assert!(
            thread.held.recv().unwrap(),
            "the server did what it must not do"
        );
        thread.home.check();
    });
}

impl Thread {
    fn new() -> Self {
        let home = Home::new();
        let (cases, next) = sync_channel::<Vec<u8>>(0);
        let (done, held) = sync_channel(1);
        // Of the same directory, which is removed by this thread.
        let path = home.path();
        std::thread::spawn(move || {
            home::give_up_rights();
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
        Self { home, cases, held }
    }
}
