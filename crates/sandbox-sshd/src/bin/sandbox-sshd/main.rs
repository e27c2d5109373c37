//! An SSH server for one sandbox, as one binary for any image.

mod arguments;
mod connect;
mod end;
mod error;
mod install;
mod keys;

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use sandbox_sshd::{EndReason, RESERVED_ENV_PREFIX, Server, ServerConfig, find_home, hide_memory};
use tokio::net::UnixListener;

use arguments::{Action, Listen, Options};
use end::End;
use error::Error;

fn main() -> ExitCode {
    match run() {
        Ok(end) => end.exit_code(),
        Err(error) => {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                message.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            eprintln!("sandbox-sshd: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<End, Error> {
    // This comes first, before any key is in memory.
    hide_memory()?;
    close_inherited();
    match arguments::parse(std::env::args_os().skip(1))? {
        Action::Help => print!("{}", arguments::HELP),
        Action::Version => println!("sandbox-sshd {}", env!("CARGO_PKG_VERSION")),
        Action::Install(directory) => install::install(&directory)?,
        Action::Connect(target) => connect::connect(&target)?,
        Action::Serve(options) => return serve(*options),
    }
    Ok(End::Done)
}

/// Closes descriptors that this program inherited, so that commands do not inherit them. sshd does
/// the same. This program has opened none yet.
fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    });
    for descriptor in open.unwrap_or_else(|_| (3..256).collect::<Vec<i32>>()) {
        if descriptor > 2 {
            // This fails for the descriptor of the listing, and for guessed ones that are not open.
            nix::unistd::close(descriptor).ok();
        }
    }
}

fn serve(options: Options) -> Result<End, Error> {
    let first_login = options.first_login_timeout()?;
    let keys = keys::load(&options)?;
    // Without randomness every connection would fail, so this is checked first.
    getrandom::fill(&mut [0; 1]).map_err(|error| {
        format!(
            "no source of randomness: mount /dev/urandom, \
             or build with --cfg getrandom_backend=\"linux_raw\" ({error})"
        )
    })?;
    init_logging();
    let home = match &options.home {
        Some(home) => home.clone(),
        None => find_home(std::env::var_os("HOME").map(PathBuf::from).as_deref())
            .map_err(|error| format!(
                "no home directory can be created: {error}; set HOME to a directory that can be written, or mount a \
                 volume at /tmp"
            ))?,
    };
    let is_reserved = |name: &OsString| {
        name.as_encoded_bytes()
            .starts_with(RESERVED_ENV_PREFIX.as_bytes())
    };
    if std::process::id() != 1 {
        // This process adopts orphans, as PID 1 does, so that it can end them.
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    let mut config = ServerConfig::new(keys.host_key, keys.authorized_keys, home)
        .with_env(std::env::vars_os().filter(|(name, _)| !is_reserved(name)))
        .with_idle_timeout(options.idle)
        .with_attach_timeout(options.attached)
        .with_first_login_timeout(first_login)
        .with_ttl(options.ttl)
        .with_max_lifetime(options.max_lifetime)
        .with_on_expiry(options.on_expiry)
        .with_claimable(options.is_claimable())
        .with_reap_orphans(true);
    if let Some(user) = &options.user {
        config = config.with_user(user);
    }
    let workers = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?;
    let end = runtime.block_on(listen(&options, config));
    // This does not wait for threads, one of which may be blocked by a broken disk.
    runtime.shutdown_background();
    let end = end?;
    end.report(&options.termination_log);
    Ok(end)
}

async fn listen(options: &Options, config: ServerConfig) -> Result<End, Error> {
    let server = Server::new(config)?;
    let signals = end::listen_for_signals()?;
    let mut signal = None;
    let shutdown = async { signal = Some(signals.await) };
    let reason = match &options.listen {
        Listen::Tcp(address) => {
            let listener = sandbox_net::bind(*address)
                .await
                .map_err(|error| cannot_listen(address, &error))?;
            tracing::info!(address = %listener.local_addr()?, "listening");
            // A caller that chose port 0 reads the port from this line.
            eprintln!("sandbox-sshd: listening on {}", listener.local_addr()?);
            server.serve_tcp(listener, shutdown).await
        }
        Listen::Unix(path) => {
            let listener =
                UnixListener::bind(path).map_err(|error| cannot_listen(&path.display(), &error))?;
            eprintln!("sandbox-sshd: listening on {}", path.display());
            let reason = server.serve_unix(listener, shutdown).await;
            std::fs::remove_file(path).ok();
            reason
        }
        Listen::Stdio => {
            let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            let served: Pin<Box<dyn Future<Output = ()>>> = Box::pin(server.serve_stream(stream));
            let reason = tokio::select! {
                () = served => None,
                reason = server.wait_for_end() => Some(reason),
                () = shutdown => Some(EndReason::Terminated),
            };
            server.terminate().await;
            match reason {
                Some(reason) => reason,
                None => return Ok(End::Done),
            }
        }
    };
    Ok(signal.unwrap_or(End::Server(reason)))
}

fn cannot_listen(address: &dyn std::fmt::Display, error: &std::io::Error) -> Error {
    format!("cannot listen on {address}: {error}").into()
}

/// Logs to standard error, with the filter in `SANDBOX_SSHD_LOG` (see tracing-subscriber).
fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANDBOX_SSHD_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
