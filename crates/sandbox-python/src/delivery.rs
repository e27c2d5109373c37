//! The one thread that enters the interpreter on its own: it hands results to event loops, and log records to
//! `logging`. So no thread of the runtime ever waits for the interpreter's lock.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;

use crate::runtime;

/// Work that needs the interpreter.
pub(crate) type Errand = Box<dyn FnOnce(Python<'_>) + Send>;

/// How much is done before other threads get a turn.
const BATCH: usize = 256;
/// How long the exit of the interpreter waits for an errand that is being done.
const EXIT_WAIT: Duration = Duration::from_secs(2);

struct Deliverer {
    errands: Sender<Message>,
    ended: Mutex<Receiver<()>>,
    _thread: JoinHandle<()>,
}

enum Message {
    Errand(Errand),
    Stop,
}

static DELIVERER: OnceLock<Option<Deliverer>> = OnceLock::new();

/// Has `errand` done soon, in the order of the calls. When the interpreter exits, errands are dropped.
pub(crate) fn deliver(errand: Errand) {
    let deliverer = DELIVERER.get_or_init(start);
    if let Some(deliverer) = deliverer {
        // The thread has ended, because the interpreter exits.
        drop(deliverer.errands.send(Message::Errand(errand)));
    }
}

/// Ends the thread, if it runs. Called without the interpreter's lock, before the interpreter is finalised: a thread that
/// enters it later would be ended by force.
pub(crate) fn stop() {
    if let Some(Some(deliverer)) = DELIVERER.get() {
        drop(deliverer.errands.send(Message::Stop));
        let ended = deliverer
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match ended.recv_timeout(EXIT_WAIT) {
            Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
    }
}

fn start() -> Option<Deliverer> {
    let (errands, received) = std::sync::mpsc::channel();
    let (report_end, ended) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("sandbox-sdk-deliverer".to_owned())
        .spawn(move || run(&received, &report_end));
    match thread {
        Ok(thread) => Some(Deliverer {
            errands,
            ended: Mutex::new(ended),
            _thread: thread,
        }),
        Err(_) => None,
    }
}

fn run(received: &Receiver<Message>, report_end: &SyncSender<()>) {
    while let Ok(Message::Errand(first)) = received.recv() {
        if runtime::is_exiting() {
            break;
        }
        let mut is_stopped = false;
        let entered = Python::try_attach(|py| {
            first(py);
            for _ in 1..BATCH {
                match received.try_recv() {
                    Ok(Message::Errand(errand)) => errand(py),
                    Ok(Message::Stop) => {
                        is_stopped = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
        });
        if entered.is_none() || is_stopped {
            break;
        }
    }
    match report_end.try_send(()) {
        Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
    }
}
