//! Commands: their input, output, environment and end.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sandbox::{CommandCause, Error, ExecEvent, ExitStatus, RefusalCode, Signal};
use tokio::io::AsyncWriteExt;

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{wait_until_no_process, with_sandbox};

cases![
    output_and_exit_status_are_returned,
    a_missing_program_exits_with_127_and_a_plain_file_with_126,
    input_is_passed_to_its_end,
    output_is_streamed,
    signals_reach_the_process_group,
    a_timeout_kills_the_process_group,
    a_background_process_does_not_delay_the_end,
    a_terminal_has_a_size_that_can_change,
    environment_and_directory_are_set,
    a_command_runs_as_a_user_or_not_at_all,
    dropping_a_command_ends_its_processes,
    an_unread_process_blocks_no_other,
    many_commands_run_at_once,
    a_gibibyte_of_output_is_capped_in_little_memory,
];

async fn output_and_exit_status_are_returned(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let out = sbx.shell("echo out; echo err >&2; exit 3").output().await?;
        assert_eq!(out.status, ExitStatus::Code(3));
        assert_eq!(
            (out.stdout.as_ref(), out.stderr.as_ref()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert!(matches!(
            out.check(),
            Err(Error::Command {
                cause: CommandCause::Failed { .. },
                ..
            })
        ));
        assert_eq!(sbx.command("true").status().await?, ExitStatus::Code(0));
        assert_eq!(
            sbx.shell("kill -9 $$").status().await?,
            ExitStatus::Signal(Signal::Kill)
        );
        Ok(())
    })
    .await
}

async fn a_missing_program_exits_with_127_and_a_plain_file_with_126(
    backend: TestedBackend,
) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let missing = sbx.command("no-such-program").output().await?;
        assert_eq!(missing.status, ExitStatus::Code(127));
        assert!(
            missing.stderr_lossy().contains("no-such-program"),
            "{}",
            missing.stderr_lossy()
        );
        sbx.files().write("plain", "text").await?;
        assert_eq!(
            sbx.command("./plain").status().await?,
            ExitStatus::Code(126)
        );
        Ok(())
    })
    .await
}

async fn input_is_passed_to_its_end(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let input = vec![7_u8; 5 << 20];
        let out = sbx
            .command("cat")
            .stdin(input.clone())
            .output()
            .await?
            .check()?;
        assert!(
            out.stdout == input,
            "{} bytes were returned",
            out.stdout.len()
        );
        // A command without input reads an end of file at once.
        assert_eq!(sbx.command("cat").output().await?.check()?.stdout, "");
        // A command need not read its input.
        sbx.command("true")
            .stdin(vec![0; 1 << 20])
            .output()
            .await?
            .check()?;
        Ok(())
    })
    .await
}

async fn output_is_streamed(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let mut process = sbx.command("cat").stdin_piped().spawn().await?;
        let mut stdin = process.take_stdin().expect("stdin_piped was set");
        for word in ["one", "two"] {
            stdin.write_all(word.as_bytes()).await?;
            assert_eq!(
                process.next().await.unwrap()?,
                ExecEvent::Stdout(word.into())
            );
        }
        drop(stdin);
        assert_eq!(
            process.next().await.unwrap()?,
            ExecEvent::Exited(ExitStatus::Code(0))
        );
        assert!(process.next().await.is_none());
        Ok(())
    })
    .await
}

async fn signals_reach_the_process_group(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let mut process = sbx
            .shell("echo ready; sleep 1000 | sleep 1000")
            .spawn()
            .await?;
        assert_eq!(
            process.next().await.unwrap()?,
            ExecEvent::Stdout("ready\n".into())
        );
        process.control().signal(Signal::Term).await?;
        assert_eq!(process.wait().await?, ExitStatus::Signal(Signal::Term));
        wait_until_no_process(&sbx, "sleep").await
    })
    .await
}

async fn a_timeout_kills_the_process_group(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let started = Instant::now();
        let command = sbx
            .shell("trap '' TERM HUP; sleep 1000; sleep 1000")
            .timeout(Duration::from_millis(300));
        let error = command.output().await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Command {
                    cause: CommandCause::TimedOut { .. },
                    ..
                }
            ),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(20));
        wait_until_no_process(&sbx, "sleep").await
    })
    .await
}

async fn a_background_process_does_not_delay_the_end(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let started = Instant::now();
        let out = sbx.shell("sleep 1000 & echo $!").output().await?.check()?;
        assert!(started.elapsed() < Duration::from_secs(20));
        // It is still running.
        sbx.command("kill")
            .arg("-0")
            .arg(out.stdout_lossy().trim())
            .output()
            .await?
            .check()?;
        Ok(())
    })
    .await
}

async fn a_terminal_has_a_size_that_can_change(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let script = "stty size; until stty size | grep '20 50'; do sleep 0.1; done";
        let limit = Duration::from_secs(30);
        let mut process = sbx
            .shell(script)
            .pty(101, 37)
            .timeout(limit)
            .spawn()
            .await?;
        let mut screen = String::new();
        let mut is_resized = false;
        while let Some(event) = process.next().await {
            if let ExecEvent::Stdout(bytes) = event? {
                screen.push_str(&String::from_utf8_lossy(&bytes));
            }
            if screen.contains("37 101") && !std::mem::replace(&mut is_resized, true) {
                process
                    .control()
                    .resize(sandbox::PtySize {
                        columns: 50,
                        rows: 20,
                    })
                    .await?;
            }
        }
        assert!(screen.contains("20 50"), "{screen:?}");
        Ok(())
    })
    .await
}

async fn environment_and_directory_are_set(backend: TestedBackend) -> Outcome {
    let sbx = backend
        .sandbox()
        .env("PLAIN", "a 'b' c")
        .secret_env("HIDDEN", "s3cret")
        .create()
        .await?;
    let outcome = async {
        let show = "echo $PLAIN-$HIDDEN-$OWN";
        assert_eq!(
            sbx.shell(show).env("OWN", "o").output().await?.stdout,
            "a 'b' c-s3cret-o\n"
        );
        // Another client gets the variables that are not secret.
        let out = backend
            .new_client()
            .connect(sbx.id())
            .await?
            .shell(show)
            .output()
            .await?;
        assert_eq!(out.stdout, "a 'b' c--\n");
        assert_eq!(
            sbx.command("pwd")
                .current_dir("/tmp")
                .output()
                .await?
                .stdout,
            "/tmp\n"
        );
        let home = sbx
            .shell("pwd; echo $HOME")
            .output()
            .await?
            .check()?
            .stdout_lossy();
        let lines: Vec<_> = home.lines().collect();
        assert_eq!(lines[0], lines[1]);
        let missing = sbx
            .command("pwd")
            .current_dir("no/such/directory")
            .output()
            .await?;
        assert!(
            !missing.status.success() && missing.stderr_lossy().contains("no/such/directory"),
            "{missing:?}"
        );
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn a_command_runs_as_a_user_or_not_at_all(backend: TestedBackend) -> Outcome {
    let has_sandbox_sshd = backend.new_client().capabilities().sandbox_sshd;
    with_sandbox(backend, move |sbx| async move {
        let own = sbx.command("id").arg("-u").output().await?.check()?;
        let own = own.stdout_lossy().trim().to_owned();
        let id = || sbx.shell("id -u; touch ran");
        if !has_sandbox_sshd {
            let refused = id().user(own).output().await;
            assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
            return Ok(());
        }
        let out = id().user(&own).output().await?.check()?;
        assert_eq!(out.stdout_lossy().trim(), own);
        sbx.files().remove_file("ran").await?;
        let refused = id().user("no such user").output().await;
        assert!(
            matches!(&refused, Err(Error::Refused(refusal)) if refusal.code == RefusalCode::UnknownUser),
            "{refused:?}"
        );
        let invalid = id().user("").spawn().await;
        assert!(matches!(invalid, Err(Error::Invalid { .. })), "{invalid:?}");
        // Another user, if the image has one and the server may become it.
        match id().user("nobody").current_dir("/").output().await {
            Ok(out) => assert_ne!(out.stdout_lossy().trim(), own),
            Err(Error::Unsupported(_)) => {}
            Err(Error::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::UnknownUser),
            Err(error) => return Err(error.into()),
        }
        assert!(!sbx.files().exists("ran").await?);
        Ok(())
    })
    .await
}

async fn dropping_a_command_ends_its_processes(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let mut process = sbx.shell("echo up; exec sleep 4242").spawn().await?;
        assert_eq!(
            process.next().await.unwrap()?,
            ExecEvent::Stdout("up\n".into())
        );
        drop(process);
        let output = sbx.shell("exec sleep 4242").output();
        assert!(
            tokio::time::timeout(Duration::from_millis(500), output)
                .await
                .is_err()
        );
        wait_until_no_process(&sbx, "sleep").await
    })
    .await
}

async fn an_unread_process_blocks_no_other(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let unread = sbx.command("yes").spawn().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..20 {
            assert_eq!(sbx.command("echo").arg("on").output().await?.stdout, "on\n");
        }
        unread.control().signal(Signal::Kill).await?;
        assert_eq!(unread.wait().await?, ExitStatus::Signal(Signal::Kill));
        Ok(())
    })
    .await
}

async fn many_commands_run_at_once(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let commands = (0..64_u32).map(|number| {
            let sbx = sbx.clone();
            async move {
                let out = sbx
                    .shell(format!("echo {number}; exit {number}"))
                    .output()
                    .await?;
                assert_eq!(
                    (out.status.clone(), out.stdout_lossy()),
                    (ExitStatus::Code(number), format!("{number}\n"))
                );
                Ok::<_, Error>(())
            }
        });
        try_join_all(commands).await?;
        Ok(())
    })
    .await
}

async fn a_gibibyte_of_output_is_capped_in_little_memory(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let before = peak_memory();
        let out = sbx
            .command("head")
            .args(["-c", "1073741824", "/dev/zero"])
            .output_cap(1000)
            .output()
            .await?
            .check()?;
        assert_eq!(
            (out.stdout.len(), out.stdout_dropped),
            (1000, (1 << 30) - 1000)
        );
        assert!(out.is_truncated());
        let grown = peak_memory().saturating_sub(before);
        assert!(grown < 256 << 10, "memory grew by {grown} KiB");
        Ok(())
    })
    .await
}

/// The largest size that this process had in memory, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
