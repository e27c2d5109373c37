//! Commands as other users of the sandbox. Most of it needs root.

use std::os::unix::fs::PermissionsExt;

use nix::unistd::{geteuid, getuid};
use sandbox_core::guest::RefusalCode;
use sandbox_core::{AttachOptions, Error, ExecRequest, JobId, Pty, PtySize};

use crate::support::contract::CAP;
use crate::support::{self, InProcessSshd};

/// A user that every system has, who is not root.
const OTHER: &str = "nobody";

fn request(line: &str, user: &str) -> ExecRequest {
    let mut request = ExecRequest::from_shell(line);
    request.user = Some(user.to_owned());
    request
}

#[tokio::test]
async fn the_own_user_runs_commands_and_unknown_ones_are_refused() {
    let name = support::user();
    let sshd = InProcessSshd::with_config(|config| config.with_user(name.clone()));
    let session = sshd.session().await;
    let own = getuid().to_string();
    for user in [&name, &own] {
        let output = session.output(request("pwd; id -u", user), CAP).await;
        let home = sshd.home.path().display();
        let expected = format!("{home}\n{own}\n");
        assert_eq!(output.unwrap().stdout_lossy(), expected, "{user}");
    }
    for user in ["no such user", "4294967295"] {
        let refused = session.output(request("touch ran", user), CAP).await;
        let Err(Error::Refused(refusal)) = refused else {
            panic!("{user}: {refused:?}");
        };
        assert_eq!(refusal.code, RefusalCode::UnknownUser);
        assert!(refusal.message.contains(user), "{refusal}");
    }
    for user in ["", "root:x", "a\n"] {
        let invalid = session.exec(request("touch ran", user)).await;
        assert!(matches!(invalid, Err(Error::Invalid { .. })), "{user:?}");
    }
    if !geteuid().is_root() {
        let unsupported = session.exec(request("touch ran", OTHER)).await;
        assert!(matches!(unsupported, Err(Error::Unsupported(_))));
    }
    assert!(!sshd.home.path().join("ran").exists());
}

#[tokio::test]
async fn another_user_runs_commands_terminals_and_jobs() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let own = session.output(ExecRequest::from_shell(format!("id {OTHER}")), CAP);
    let identity = own.await.unwrap().stdout_lossy();

    // Variables of the request are stronger than those of the user.
    let mut command = request(
        "id; pwd; echo $USER $LOGNAME $GIVEN; : > /dev/tty && echo tty",
        OTHER,
    );
    command.env.set("LOGNAME", "given").unwrap();
    command.env.set("GIVEN", "too").unwrap();
    let output = session.output(command.clone(), CAP).await.unwrap();
    let expected = format!("{identity}/\nnobody given too\n");
    assert_eq!(output.stdout_lossy(), expected);
    let size = PtySize {
        columns: 80,
        rows: 24,
    };
    command.pty = Some(Pty {
        term: "dumb".into(),
        size,
    });
    let output = session.output(command, CAP).await.unwrap();
    let text = output.stdout_lossy().replace('\r', "");
    assert_eq!(text, format!("{expected}tty\n"));

    // A job, whose log belongs to the server.
    let id = JobId::generate().unwrap();
    let job = request("id", OTHER);
    session.start_job(&id, job).await.unwrap();
    let log = session.attach_job(&id, AttachOptions::follow()).await;
    let log = log.unwrap().output(CAP).await.unwrap();
    assert_eq!(log.stdout_lossy(), identity);

    // A directory that the user cannot enter.
    let mut command = request("pwd", OTHER);
    let private = sshd.home.path().join("private");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).unwrap();
    command.directory = Some(private.to_str().unwrap().into());
    let output = session.output(command, CAP).await.unwrap();
    assert_eq!(output.status.code(), Some(126), "{output:?}");
}
