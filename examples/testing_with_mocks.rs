//! Testing code that uses sandboxes without any sandbox: `cargo test --example testing_with_mocks`.
//! With a real sandbox: `cargo run --example testing_with_mocks`.
//!
//! The feature `mock` of the crate `sandbox` has a mockall mock for each trait. Enable it in
//! `[dev-dependencies]`, so that your program is built without it.

use sandbox::prelude::*;

/// The code under test: counts the lines of a file inside, and tries another command if the first
/// one is missing.
async fn count_lines(sbx: &Sandbox, path: &str) -> Result<Option<u64>> {
    for argv in [
        ["wc", "-l", path].as_slice(),
        ["grep", "-c", "", path].as_slice(),
    ] {
        let out = sbx.command(argv[0]).args(&argv[1..]).output().await?;
        if out.status == ExitStatus::Code(127) {
            continue;
        }
        let out = out.check()?;
        let text = out.stdout_lossy();
        return Ok(text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok()));
    }
    Ok(None)
}

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    let sbx = client.sandbox().create().await?;
    sbx.files().write("poem", "roses\nare\nred\n").await?;
    match count_lines(&sbx, "poem").await? {
        Some(lines) => println!("{lines} lines"),
        None => println!("no program inside can count lines"),
    }
    sbx.delete().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use sandbox::{
        Access, Defaults, Endpoint, ExecRequest, Isolation, KeyPair, MockSandboxBackend,
        MockSession, MockSessionSource, Program, SandboxState, Uid,
    };

    use super::*;

    /// Creates a sandbox whose commands are answered by `session`.
    async fn sandbox_with(session: MockSession) -> Sandbox {
        let id: SandboxId = "sbx-mocked".parse().unwrap();
        let info = SandboxInfo {
            id: id.clone(),
            uid: Uid::new("uid-1"),
            backend: "mock".into(),
            state: SandboxState::Running,
            address: None,
            port: None,
            user: "sandbox".into(),
            home: None,
            image: None,
            labels: Default::default(),
            annotations: Default::default(),
            created_at: SystemTime::now(),
            expires_at: None,
            on_expiry: Default::default(),
            is_marked_paused: false,
            isolation: Isolation {
                kind: "none".into(),
                applied: Vec::new(),
            },
            limits: Vec::new(),
            end: None,
            pool: None,
        };
        let mut backend = MockSandboxBackend::new();
        backend.expect_get().return_once(move |_, _| Ok(info));
        backend.expect_access().return_once(|id| {
            let keys = KeyPair::generate()?;
            Ok(Access {
                id: id.clone(),
                uid: Uid::new("uid-1"),
                user: "sandbox".into(),
                host_key: keys.public,
                client_key: keys.private,
                endpoint: Endpoint::Memory("mock".into()),
            })
        });
        let mut sessions = MockSessionSource::new();
        sessions
            .expect_session()
            .return_once(move |_, _| Ok(Arc::new(session)));
        let client = Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default());
        client.connect(&id).await.unwrap()
    }

    fn is_program(request: &ExecRequest, program: &str) -> bool {
        matches!(&request.program, Program::Argv(argv) if argv[0] == program.as_bytes())
    }

    #[tokio::test]
    async fn wc_counts_lines() {
        let mut session = MockSession::new();
        session
            .expect_output()
            .withf(|request, _| is_program(request, "wc"))
            .times(1)
            .returning(|_, _| Ok(Output::new(ExitStatus::Code(0), "3 poem\n", "")));
        assert_eq!(
            count_lines(&sandbox_with(session).await, "poem")
                .await
                .unwrap(),
            Some(3)
        );
    }

    #[tokio::test]
    async fn grep_counts_if_wc_is_missing() {
        let mut session = MockSession::new();
        session
            .expect_output()
            .withf(|request, _| is_program(request, "wc"))
            .returning(|_, _| Ok(Output::new(ExitStatus::Code(127), "", "wc: not found\n")));
        session
            .expect_output()
            .withf(|request, _| is_program(request, "grep"))
            .returning(|_, _| Ok(Output::new(ExitStatus::Code(0), "3\n", "")));
        assert_eq!(
            count_lines(&sandbox_with(session).await, "poem")
                .await
                .unwrap(),
            Some(3)
        );
    }
}
