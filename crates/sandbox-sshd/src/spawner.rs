//! A thread that starts all commands, confined further than the rest of the server.

use std::io;
use std::sync::mpsc::{Sender, channel};

use crate::config::SpawnSetup;

/// What is to be done there, told whether the thread is as it should be.
type Work = Box<dyn FnOnce(&io::Result<()>) + Send>;

/// The thread; it ends when this is dropped.
pub(crate) struct Spawner(Sender<Work>);

impl Spawner {
    /// Starts the thread, and runs `setup` there before anything else.
    pub(crate) fn new(setup: SpawnSetup) -> Self {
        let (to, from) = channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let ready = setup();
                from.into_iter().for_each(|work| work(&ready));
            });
        if let Err(error) = thread {
            // Nothing is started without it.
            tracing::error!(%error, "the thread for commands cannot be started");
        }
        Self(to)
    }

    /// Runs this there, and waits for it. Within a runtime, which is that of the work, too.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let ended = || io::Error::other("the thread that starts commands has ended");
        let runtime = tokio::runtime::Handle::current();
        let (to, from) = channel();
        let work = move |ready: &io::Result<()>| {
            let _runtime = runtime.enter();
            let result = match ready {
                Ok(()) => work(),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // Whoever asked waits for it.
            drop(to.send(result));
        };
        self.0.send(Box::new(work)).map_err(|_| ended())?;
        from.recv().map_err(|_| ended())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn everything_runs_on_one_thread_that_was_set_up() {
        thread_local!(static SET_UP: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        let spawner = Spawner::new(Arc::new(|| {
            SET_UP.set(true);
            Ok(())
        }));
        let look = || {
            spawner
                .run(|| Ok((SET_UP.get(), std::thread::current().id())))
                .unwrap()
        };
        assert_eq!(look(), look());
        assert!(look().0 && !SET_UP.get());
    }

    #[tokio::test]
    async fn nothing_runs_on_one_that_was_not() {
        let spawner = Spawner::new(Arc::new(|| Err(io::Error::other("no confinement"))));
        let error = spawner.run(|| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "no confinement");
    }
}
