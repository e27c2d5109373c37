//! What holds against every server.

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    CommandCause, DownloadRequest, Error, ExecEvent, ExecRequest, ExitStatus, FileKind, Pty, PtySize,
    Session, Signal, TransferReason, UploadRequest,
};
use tokio::io::AsyncWriteExt;

/// Makes tests of some functions here, each with a server of its own.
#[macro_export]
macro_rules! contract {
    ($start:expr; $($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let Some(server) = $start else { return };
            $crate::support::contract::$name(&server.session().await).await;
        }
    )*};
}

type Any = Arc<dyn Session>;

const CAP: usize = 1 << 20;

/// Runs a shell line to its end.
pub(crate) async fn sh(session: &Any, line: &str) -> String {
    let output = session.output(ExecRequest::shell(line), CAP).await.unwrap();
    assert!(output.status.success(), "{line}: {:?} {}", output.status, output.stderr_lossy());
    output.stdout_lossy()
}

pub(crate) async fn put(session: &Any, path: &str, data: &[u8]) -> u64 {
    let from = Box::new(std::io::Cursor::new(data.to_vec()));
    session.upload(UploadRequest::new(path), from).await.unwrap()
}

pub(crate) async fn get(session: &Any, path: &str) -> Result<Vec<u8>, Error> {
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let mut data = Vec::new();
    let (downloaded, read) = tokio::join!(
        session.download(DownloadRequest::new(path), Box::new(near)),
        tokio::io::AsyncReadExt::read_to_end(&mut far, &mut data)
    );
    read.unwrap();
    let count = downloaded?;
    assert_eq!(count, data.len() as u64);
    Ok(data)
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

pub(crate) fn reason(error: &Error) -> TransferReason {
    match error {
        Error::Transfer(error) => error.reason,
        other => panic!("not a transfer error: {other:?}"),
    }
}

pub(crate) async fn exit_codes_are_data(session: &Any) {
    for code in [0, 1, 42, 255] {
        let output = session.output(ExecRequest::shell(format!("exit {code}")), CAP).await.unwrap();
        assert_eq!(output.status, ExitStatus::Code(code));
        let process = session.exec(ExecRequest::shell(format!("exit {code}"))).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), ExitStatus::Code(code));
    }
    let output = session.output(ExecRequest::shell("kill -TERM $$"), CAP).await.unwrap();
    assert_eq!(output.status, ExitStatus::Signal(Signal::Term));
}

pub(crate) async fn the_streams_are_told_apart(session: &Any) {
    let output = session.output(ExecRequest::shell("printf out; printf err >&2"), CAP).await.unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out"[..], &b"err"[..]));
}

pub(crate) async fn arguments_arrive_as_they_are(session: &Any) {
    let odd: Vec<&[u8]> = vec![
        b"",
        b" a  b ",
        b"it's",
        b"\"$HOME\" `id` $(id) \\",
        b"new\nline\ttab",
        b"-n",
        b"--",
        b"*?[x]{a,b}~",
        b"!event",
        b"\xff\xfe not utf-8 \x80",
        b"\x01\x1b[31m",
    ];
    let argv = [&b"printf"[..], b"%s\\0"].into_iter().chain(odd.iter().copied());
    let output = session.output(ExecRequest::argv(argv), CAP).await.unwrap();
    let expected: Vec<u8> = odd.iter().flat_map(|arg| arg.iter().copied().chain([0])).collect();
    assert_eq!(output.stdout, expected, "{}", output.stderr_lossy());
}

pub(crate) async fn nul_is_refused(session: &Any) {
    for request in [ExecRequest::argv(["a\0b"]), ExecRequest::argv(["a", "\0"]), ExecRequest::shell("a\0")] {
        let error = session.output(request.clone(), CAP).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(matches!(session.exec(request).await.unwrap_err(), Error::Invalid { .. }));
    }
}

pub(crate) async fn a_directory_is_entered(session: &Any) {
    sh(session, "mkdir -p 'a dir/it'\"'\"'s'").await;
    let mut request = ExecRequest::argv(["pwd"]);
    request.directory = Some(b"a dir/it's".to_vec());
    let output = session.output(request, CAP).await.unwrap();
    assert!(output.stdout_lossy().ends_with("/a dir/it's\n"), "{}", output.stdout_lossy());
}

pub(crate) async fn input_is_read_to_its_end(session: &Any) {
    let mut request = ExecRequest::argv(["cat"]);
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let data = pattern(3 << 20);
    let sent = data.clone();
    let writing = tokio::spawn(async move {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let output = process.output(8 << 20).await.unwrap();
    writing.await.unwrap();
    assert!(output.status.success() && output.stdout == data);

    // Without input, a command reads the end of file at once.
    assert_eq!(sh(session, "cat").await, "");
}

pub(crate) async fn a_command_that_does_not_read_can_end(session: &Any) {
    let mut request = ExecRequest::shell("exit 7");
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let writing = tokio::spawn(async move { while stdin.write_all(&[0; 65536]).await.is_ok() {} });
    assert_eq!(process.output(CAP).await.unwrap().status, ExitStatus::Code(7));
    writing.await.unwrap();
}

pub(crate) async fn a_terminal_has_a_size(session: &Any) {
    // Input and sizes go different ways.
    let line = "stty size; until stty size | grep 132; do sleep 0.01; done; read line; \
                printf '%s' \"$TERM $line\"; exit 4";
    let mut request = ExecRequest::shell(line);
    let size = |columns, rows| PtySize { columns, rows };
    request.pty = Some(Pty { term: "xterm-256color".into(), size: size(80, 24) });
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("24 80") {
        match process.next().await.unwrap().unwrap() {
            ExecEvent::Stdout(bytes) => seen.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    process.control().resize(size(132, 43)).await.unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    let output = process.output(CAP).await.unwrap();
    let text = output.stdout_lossy();
    assert_eq!(output.status, ExitStatus::Code(4));
    assert!(text.contains("43 132") && text.contains("xterm-256color typed"), "{text:?}");
}

pub(crate) async fn much_output_is_capped_and_flagged(session: &Any) {
    const MUCH: u64 = 256 << 20;
    let before = resident();
    let request = ExecRequest::shell(format!("head -c {MUCH} /dev/zero; echo err >&2"));
    let output = session.output(request, 1000).await.unwrap();
    assert!(output.status.success() && output.is_truncated());
    assert_eq!((output.stdout.len(), output.stdout_dropped), (1000, MUCH - 1000));
    assert_eq!(&output.stderr[..], b"err\n");
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{} MiB more", grown >> 20);
}

/// Bytes of memory in use.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

pub(crate) async fn a_background_process_does_not_hold_up(session: &Any) {
    let wait = Duration::from_secs(15);
    let run = session.output(ExecRequest::shell("echo begun; sleep 30 & exit 5"), CAP);
    let output = tokio::time::timeout(wait, run).await.expect("it waits for the sleep").unwrap();
    assert_eq!((output.status, &output.stdout[..]), (ExitStatus::Code(5), &b"begun\n"[..]));

    let process = session.exec(ExecRequest::shell("sleep 30 & echo begun")).await.unwrap();
    let output = tokio::time::timeout(wait, process.output(CAP)).await.expect("it waits").unwrap();
    assert_eq!(output.stdout_lossy(), "begun\n");
}

pub(crate) async fn a_command_runs_into_its_time_out(session: &Any) {
    let mut request = ExecRequest::shell("sleep 60 & sleep 60");
    request.timeout = Some(Duration::from_millis(300));
    let error = session.output(request.clone(), CAP).await.unwrap_err();
    assert!(matches!(error, Error::Command { cause: CommandCause::TimedOut { .. }, .. }), "{error}");
    let error = session.exec(request).await.unwrap().wait().await.unwrap_err();
    assert!(matches!(error, Error::Command { cause: CommandCause::TimedOut { .. }, .. }), "{error}");
    assert_eq!(sh(session, "echo on").await, "on\n");
}

pub(crate) async fn an_unread_stream_holds_up_nothing_else(session: &Any) {
    let mut unread = session.exec(ExecRequest::argv(["yes"])).await.unwrap();
    assert!(matches!(unread.next().await, Some(Ok(ExecEvent::Stdout(_)))));
    // Long enough for every queue on the way to fill.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        assert_eq!(sh(session, "echo on").await, "on\n");
    }
    let before = resident();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(resident().saturating_sub(before) < 64 << 20, "what is not read is not collected either");
    drop(unread);
    assert_eq!(
        session.exec(ExecRequest::argv(["true"])).await.unwrap().wait().await.unwrap(),
        ExitStatus::Code(0)
    );
}

pub(crate) async fn files_go_both_ways(session: &Any) {
    for length in [0, 1, 32 << 10, 3_000_001] {
        let data = pattern(length);
        assert_eq!(put(session, "a file", &data).await, length as u64);
        assert!(get(session, "a file").await.unwrap() == data, "{length}");
    }
    let mut request = UploadRequest::new("a file");
    request.mode = Some(0o4750);
    let hour = Duration::from_secs(3600);
    let modified = std::time::SystemTime::UNIX_EPOCH + hour;
    request.modified = Some(modified);
    session.upload(request, Box::new(&b"other"[..])).await.unwrap();
    let info = session.stat("a file", true).await.unwrap();
    assert_eq!((info.kind, info.size, info.mode), (FileKind::File, 5, 0o750));
    assert_eq!(info.modified, Some(modified));
    let names: Vec<_> = session.list(".").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(
        names.contains(&"a file".to_owned()) && !names.iter().any(|name| name.contains("sandbox-")),
        "{names:?}"
    );
}

pub(crate) async fn names_may_be_odd(session: &Any) {
    for name in ["-rf", "it's", "a\nb", "ü ✓", "~", "*", "\"q\" \\"] {
        let name = format!("odd/{name}");
        session.create_dir("odd", true).await.unwrap();
        put(session, &name, name.as_bytes()).await;
        assert_eq!(get(session, &name).await.unwrap(), name.as_bytes());
    }
    assert_eq!(session.list("odd").await.unwrap().len(), 7);
    for name in ["", "a\0b", "a\u{fffd}b"] {
        let error = session.upload(UploadRequest::new(name), Box::new(&b""[..])).await.unwrap_err();
        assert_eq!(reason(&error), TransferReason::BadName, "{error}");
        assert_eq!(reason(&get(session, name).await.unwrap_err()), TransferReason::BadName);
    }
    // A name that is not UTF-8 is refused by name, not mangled.
    let bytes = std::ffi::OsString::from_vec(b"odd/\xff".to_vec());
    session.output(ExecRequest::argv([b"touch".to_vec(), bytes.into_vec()]), CAP).await.unwrap();
    assert_eq!(reason(&session.list("odd").await.unwrap_err()), TransferReason::BadName);
}

pub(crate) async fn file_errors_have_reasons(session: &Any) {
    assert_eq!(reason(&get(session, "missing").await.unwrap_err()), TransferReason::NotFound);
    let error = session.upload(UploadRequest::new("no/such/dir"), Box::new(&b"x"[..])).await.unwrap_err();
    assert_eq!(reason(&error), TransferReason::NotFound, "{error}");
    session.create_dir("dir", false).await.unwrap();
    assert_eq!(reason(&session.create_dir("dir", false).await.unwrap_err()), TransferReason::AlreadyExists);
    get(session, "dir").await.unwrap_err();
    put(session, "large", &pattern(1000)).await;
    let mut request = DownloadRequest::new("large");
    request.max_size = Some(999);
    let error = session.download(request, Box::new(tokio::io::sink())).await.unwrap_err();
    assert_eq!(reason(&error), TransferReason::TooLarge);

    // Fewer and more bytes than announced; what was there stays.
    for announced in [999, 1001] {
        let mut request = UploadRequest::new("large");
        request.size = Some(announced);
        let error = session.upload(request, Box::new(std::io::Cursor::new(vec![0; 1000]))).await.unwrap_err();
        assert_eq!(reason(&error), TransferReason::SizeChanged);
    }
    assert!(get(session, "large").await.unwrap() == pattern(1000));
    no_temporary_files(session).await;
}

/// A failed upload is tidied up by a task that nobody waits for.
pub(crate) async fn no_temporary_files(session: &Any) {
    for _ in 0..100 {
        let entries = session.list(".").await.unwrap();
        if !entries.iter().any(|entry| entry.name.contains(".sandbox-")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a temporary file is left");
}

pub(crate) async fn files_are_changed(session: &Any) {
    session.create_dir("x/y/z", true).await.unwrap();
    session.create_dir("x/y/z", true).await.unwrap();
    put(session, "x/one", b"1").await;
    put(session, "x/two", b"2").await;
    session.rename("x/one", "x/two").await.unwrap();
    assert_eq!(get(session, "x/two").await.unwrap(), b"1");
    session.set_mode("x/two", 0o600).await.unwrap();
    assert_eq!(session.stat("x/two", true).await.unwrap().mode, 0o600);
    session.symlink("two", "x/link").await.unwrap();
    assert_eq!(session.read_link("x/link").await.unwrap(), "two");
    assert_eq!(sh(session, "readlink x/link").await, "two\n");
    assert_eq!(session.stat("x/link", false).await.unwrap().kind, FileKind::Symlink);
    assert_eq!(session.stat("x/link", true).await.unwrap().kind, FileKind::File);
    assert!(session.canonicalize(".").await.unwrap().starts_with('/'));
    session.remove_file("x/link").await.unwrap();
    session.remove_file("x/two").await.unwrap();
    session.remove_dir("x/y").await.unwrap_err();
    session.remove_dir("x/y/z").await.unwrap();
    assert_eq!(reason(&session.remove_file("x/two").await.unwrap_err()), TransferReason::NotFound);
}

pub(crate) async fn a_port_is_reached(session: &Any) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut stream = session.open_stream("127.0.0.1", port).await.unwrap();
    stream.write_all(b"there and back").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert_eq!(answer, "there and back");
    echo.await.unwrap();
    drop(stream);
    let Err(error) = session.open_stream("127.0.0.1", port).await else { panic!("nothing listens there") };
    assert!(matches!(error, Error::Connection(_)), "{error}");
}

/// Futures dropped after a while, of every length, leave the server usable.
pub(crate) async fn cancelled_calls_leak_no_channel(session: &Any) {
    for round in 0..200_u64 {
        let limit = Duration::from_micros(round * round % 7919);
        let request = ExecRequest::shell("echo x; sleep 0.002");
        match round % 2 {
            0 => drop(tokio::time::timeout(limit, session.output(request, CAP)).await),
            _ => drop(tokio::time::timeout(limit, session.exec(request)).await),
        }
    }
    let all = (0..20).map(|_| session.output(ExecRequest::argv(["true"]), CAP));
    for output in futures_util::future::join_all(all).await {
        assert!(output.unwrap().status.success());
    }
}

pub(crate) async fn cancelled_transfers_leave_nothing(session: &Any) {
    put(session, "kept", b"kept").await;
    for round in 0..150_u64 {
        let limit = Duration::from_micros(round * round % 7919);
        let from = Box::new(std::io::Cursor::new(vec![1; 200_000]));
        match round % 3 {
            0 => drop(tokio::time::timeout(limit, session.list(".")).await),
            1 => drop(tokio::time::timeout(limit, get(session, "kept")).await),
            _ => drop(tokio::time::timeout(limit, session.upload(UploadRequest::new("new"), from)).await),
        }
    }
    // Each open file would count: there are 64 handles.
    for _ in 0..70 {
        assert!(get(session, "kept").await.unwrap() == b"kept");
    }
    no_temporary_files(session).await;
    // It came whole or not at all.
    match get(session, "new").await {
        Ok(data) => assert!(data == vec![1; 200_000]),
        Err(error) => assert_eq!(reason(&error), TransferReason::NotFound),
    }
}

pub(crate) async fn many_callers_share(session: &Any) {
    let run = |n: u32| async move {
        let output =
            session.output(ExecRequest::argv(["echo".to_owned(), n.to_string()]), CAP).await.unwrap();
        assert_eq!(output.stdout_lossy(), format!("{n}\n"));
    };
    futures_util::future::join_all((0..64).map(run)).await;
}
