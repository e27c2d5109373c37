//! Processes of other users. Most of it needs root.

use std::os::unix::fs::PermissionsExt;

use nix::unistd::geteuid;
use sandbox_core::guest::{ProcessRequest, ProcessSpec, RefusalCode, TerminalSize};

use super::{PIPE, open_events, refusal, run, sh};
use crate::support::client::{TestSandbox, exec};

/// A user that every system has, who is not root.
const OTHER: &str = "nobody";

async fn refused_code(sandbox: &TestSandbox, user: &str) -> RefusalCode {
    let client = sandbox.connect(PIPE).await;
    let request = ProcessRequest::Start(Box::new(ProcessSpec::new("true").user(user)));
    refusal(open_events(&client, request).await.map(|_| ())).code
}

#[tokio::test]
async fn the_own_user_has_several_names_and_unknown_ones_are_refused() {
    let sandbox = TestSandbox::new(|config| config.with_user("me"));
    let client = sandbox.connect(PIPE).await;
    let own = exec(&client, "id -un; id -u").await.stdout;
    let own = String::from_utf8(own).unwrap();
    for user in own.lines().chain(["me"]) {
        let events = run(&client, sh("id -un; id -u").user(user)).await;
        assert_eq!(String::from_utf8(events.stdout).unwrap(), own, "{user}");
    }
    for user in ["no such user", "", "4294967295", "root:x"] {
        let code = refused_code(&sandbox, user).await;
        assert_eq!(code, RefusalCode::UnknownUser, "{user:?}");
    }
    if !geteuid().is_root() {
        let code = refused_code(&sandbox, OTHER).await;
        assert_eq!(code, RefusalCode::PermissionDenied);
    }
}

#[tokio::test]
async fn another_user_has_its_own_groups_home_and_terminal() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let sandbox = TestSandbox::new(|config| config);
    let home = sandbox.home.path();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let client = sandbox.connect(PIPE).await;
    let expected = exec(&client, format!("id {OTHER}")).await.stdout;
    let size = TerminalSize {
        columns: 80,
        rows: 24,
    };
    let script = "id; echo $USER $LOGNAME; [ \"$HOME\" = \"$(getent passwd nobody | cut -d: -f6)\" ] && echo home; \
        cat /proc/self/status | grep -E '^(Uid|Cap(Eff|Prm))'; kill -0 $PPID 2>&1 | grep -o permitted; : > /dev/tty && echo tty";
    for terminal in [None, Some(size)] {
        let mut spec = sh(script).user(OTHER);
        spec.terminal = terminal;
        let events = run(&client, spec).await;
        let stdout = String::from_utf8(events.stdout).unwrap() + &events.terminal;
        let stdout = stdout.replace('\r', "");
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(
            lines[0],
            String::from_utf8_lossy(&expected).trim(),
            "{stdout}"
        );
        assert_eq!(lines[1], "nobody nobody");
        assert_eq!(lines[2], "home");
        assert!(stdout.contains("CapEff:\t0000000000000000"), "{stdout}");
        assert!(stdout.contains("CapPrm:\t0000000000000000"), "{stdout}");
        assert_eq!(stdout.ends_with("tty\n"), terminal.is_some(), "{stdout}");
    }
    // The server itself is as before.
    assert_eq!(
        exec(&client, "id -u; id -G").await.stdout,
        exec(&client, "id -u; id -G").await.stdout
    );
    let own = run(&client, sh("id -u")).await;
    assert_eq!(own.stdout, b"0\n");
    // A directory that the user cannot enter is no refusal, as for any program that cannot be run.
    std::fs::create_dir(home.join("private")).unwrap();
    std::fs::set_permissions(home.join("private"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let spec = sh("pwd")
        .user(OTHER)
        .directory(home.join("private").as_path());
    let events = run(&client, spec).await;
    assert_eq!(
        events.end,
        Some(sandbox_core::guest::ProcessEnd::Exited(126)),
        "{events:?}"
    );
}
