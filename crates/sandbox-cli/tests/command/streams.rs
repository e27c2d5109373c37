//! The standard streams of the command and of the programs that it runs.

#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::support::{Cli, code, stderr, stdout};

#[test]
fn late_output_arrives_and_a_held_output_is_noted() {
    let cli = Cli::new();
    let id = cli.create();
    let late = "(sleep 0.3; echo late) & echo begun";
    let output = cli.run(["exec", "-n", &id, "--", "sh", "-c", late]);
    assert_eq!(
        (&*stdout(&output), &*stderr(&output)),
        ("begun\nlate\n", "")
    );

    let daemon = "sleep 1000 & echo $!";
    let args = [
        "exec",
        "-n",
        "--output-grace",
        "0s",
        &id,
        "--",
        "sh",
        "-c",
        daemon,
    ];
    let output = cli.run(args);
    assert_eq!(code(&output), 0);
    assert!(
        stderr(&output).starts_with(
            "sandbox: a process that the command has started still holds its output open"
        ),
        "{}",
        stderr(&output)
    );
    assert_eq!(stderr(&output).lines().count(), 1);
    let output = cli.run(["-q"].iter().chain(&args));
    assert_eq!((code(&output), &*stderr(&output)), (0, ""));
    let output = cli.run(["exec", &id, "--output-grace", "25h", "true"]);
    assert!(code(&output) == 125 && stderr(&output).contains("at most a day"));
}

/// Programs such as Node.js pass pipes on that are non-blocking.
#[test]
fn non_blocking_streams_lose_nothing_and_stay_as_they_are() {
    let cli = Cli::new();
    let id = cli.create();
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let non_blocking = |pipe: &OwnedFd| {
        let flags = rustix::fs::fcntl_getfl(pipe).unwrap();
        rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
    };
    let (sockets, pipes) = (true, false);
    for kind in [pipes, sockets] {
        let pair = || -> (OwnedFd, OwnedFd) {
            if kind == pipes {
                let (read, write) = std::io::pipe().unwrap();
                (read.into(), write.into())
            } else {
                let (read, write) = std::os::unix::net::UnixStream::pair().unwrap();
                (read.into(), write.into())
            }
        };
        for args in [
            vec!["exec", "-i", &id, "cat"],
            vec!["cp", "-", &*format!("{id}:data")],
            vec!["cp", &*format!("{id}:data"), "-"],
        ] {
            let ((input, to_input), (output, to_output)) = (pair(), pair());
            non_blocking(&input);
            non_blocking(&to_output);
            let kept = (input.try_clone().unwrap(), to_output.try_clone().unwrap());
            let mut child = cli
                .command(&args)
                .stdin(Stdio::from(input))
                .stdout(Stdio::from(to_output))
                .spawn()
                .unwrap();
            let sent = data.clone();
            let writing = std::thread::spawn(move || {
                // Not everything is there at once.
                let mut to_input = File::from(to_input);
                for piece in sent.chunks(500_000) {
                    if to_input.write_all(piece).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let status_and_flags = std::thread::spawn(move || {
                let status = child.wait().unwrap();
                let flags = [&kept.0, &kept.1].map(|pipe| rustix::fs::fcntl_getfl(pipe).unwrap());
                (status, flags)
            });
            // The reader is slower than the writer.
            std::thread::sleep(Duration::from_millis(300));
            let mut read = Vec::new();
            File::from(output).read_to_end(&mut read).unwrap();
            writing.join().unwrap();
            let (status, flags) = status_and_flags.join().unwrap();
            assert!(status.success(), "{args:?}");
            assert!(
                flags.iter().all(|flags| flags.contains(OFlags::NONBLOCK)),
                "{args:?}"
            );
            assert!(
                read == data || args[1] == "-",
                "{args:?}: {} bytes",
                read.len()
            );
        }
    }
}
