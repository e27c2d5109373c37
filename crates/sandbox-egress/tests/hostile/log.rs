//! What is logged.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

thread_local! {
    /// What this thread has logged, while somebody wants to know.
    static LOGGED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Runs something twice, and returns what the second run returns and logs. It needs a runtime of one thread.
///
/// All tests share one subscriber: whether a place in the code logs is decided once, by whoever reaches it first, and with
/// subscribers of single threads that may be a thread without one. The first run reaches every place after it is installed.
pub(crate) async fn collect<R>(run: impl AsyncFn() -> R) -> (R, String) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Collector)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    run().await;
    LOGGED.replace(Some(Vec::new()));
    let result = run().await;
    let logged = LOGGED.take().unwrap();
    (result, String::from_utf8(logged).unwrap())
}

struct Collector;

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| {
            if let Some(logged) = logged {
                logged.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
