//! An SSH server for one sandbox, as one binary for any image.

mod arguments;
mod everywhere;
mod install;
mod keys;

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use sandbox_sshd::{OWN_VARIABLES, Server, ServerConfig, find_home, hide_memory};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Action, Listen, Options};

/// An error for people: one sentence.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut message = failure.to_string();
            let mut source = failure.source();
            while let Some(error) = source {
                message.push_str(&format!(": {error}"));
                source = error.source();
            }
            eprintln!("sandbox-sshd: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    // First of all: from here on nobody reads this memory.
    hide_memory()?;
    close_inherited();
    match arguments::parse(std::env::args_os().skip(1))? {
        Action::Help => print!("{}", arguments::HELP),
        Action::Version => println!("sandbox-sshd {}", env!("CARGO_PKG_VERSION")),
        Action::Install(directory) => install::install(&directory)?,
        Action::Serve(options) => serve(*options)?,
    }
    Ok(())
}

/// What was left open by who started this program must not come to the commands; sshd does the
/// same. Nothing has been opened here yet.
fn close_inherited() {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    });
    for descriptor in listed.unwrap_or_else(|_| (3..256).collect::<Vec<i32>>()) {
        if descriptor > 2 {
            // Most of the guessed ones, and the listing's own, are not open.
            nix::unistd::close(descriptor).ok();
        }
    }
}

fn serve(options: Options) -> Result<(), Failure> {
    let keys = keys::obtain(&options)?;
    // Without it every connection would fail; better to say so now.
    getrandom::fill(&mut [0; 1]).map_err(|error| {
        format!("there is no randomness here: mount /dev/urandom, or build with --cfg getrandom_backend=\"linux_raw\" ({error})")
    })?;
    log();
    let home = match &options.home {
        Some(home) => home.clone(),
        None => find_home(std::env::var_os("HOME").map(PathBuf::from).as_deref())
            .map_err(|error| format!("no home directory can be made: {error}"))?,
    };
    let ours = |name: &OsString| {
        name.as_encoded_bytes()
            .starts_with(OWN_VARIABLES.as_bytes())
    };
    let first = std::process::id() == 1;
    if !first {
        // So that a process whose parent has gone is ours to end, as it would be for PID 1.
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    let mut config = ServerConfig::new(keys.host_key, keys.authorized_keys, home)
        .with_env(std::env::vars_os().filter(|(name, _)| !ours(name)))
        .with_idle_limit(options.idle)
        .with_attach_limit(options.attached)
        .with_ttl(options.ttl)
        .with_max_lifetime(options.max_lifetime)
        .with_reap_orphans(true);
    if let Some(user) = &options.user {
        config = config.with_user(user);
    }
    let workers = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?;
    let result = runtime.block_on(listen(&options, config));
    // A thread that waits for a dead disk must not keep the sandbox.
    runtime.shutdown_background();
    result
}

async fn listen(options: &Options, config: ServerConfig) -> Result<(), Failure> {
    let server = Server::new(config)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    match &options.listen {
        Listen::Tcp(address) => {
            let listener = everywhere::bind(*address)
                .await
                .map_err(|error| cannot_listen(address, &error))?;
            // With port 0 this is how the port is known.
            tracing::info!(address = %listener.local_addr()?, "listening");
            eprintln!("sandbox-sshd: listening on {}", listener.local_addr()?);
            server.serve_tcp(listener, shutdown).await;
        }
        Listen::Unix(path) => {
            let listener =
                UnixListener::bind(path).map_err(|error| cannot_listen(&path.display(), &error))?;
            eprintln!("sandbox-sshd: listening on {}", path.display());
            server.serve_unix(listener, shutdown).await;
            std::fs::remove_file(path).ok();
        }
        Listen::Stdio => {
            let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            let served: Pin<Box<dyn Future<Output = ()>>> = Box::pin(server.serve_stream(stream));
            tokio::select! {
                () = served => {}
                _ = server.ended() => {}
                () = shutdown => {}
            }
            server.terminate().await;
        }
    }
    Ok(())
}

fn cannot_listen(address: &dyn std::fmt::Display, error: &std::io::Error) -> Failure {
    format!("cannot listen on {address}: {error}").into()
}

/// To standard error, at the level of `SANDBOX_SSHD_LOG` (see tracing-subscriber's filters).
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANDBOX_SSHD_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
