//! Against our own server.

mod support;

use sandbox_core::{DownloadRequest, ExecRequest, ExitStatus, UploadRequest};
use support::Ours;

#[tokio::test]
async fn a_command_runs_and_files_go_both_ways() {
    let ours = Ours::new();
    let session = ours.session().await;
    let output = session.output(ExecRequest::argv(["echo", "hello"]), 100).await.unwrap();
    assert_eq!((output.status, &output.stdout[..]), (ExitStatus::Code(0), &b"hello\n"[..]));

    let process = session.exec(ExecRequest::shell("echo out; echo err >&2; exit 3")).await.unwrap();
    let output = process.output(100).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));

    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let written =
        session.upload(UploadRequest::new("f"), Box::new(std::io::Cursor::new(data.clone()))).await.unwrap();
    assert_eq!(written, 3_000_000);
    let (mut far, near) = tokio::io::duplex(1 << 20);
    let read = tokio::spawn(async move {
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut far, &mut all).await.unwrap();
        all
    });
    session.download(DownloadRequest::new("f"), Box::new(near)).await.unwrap();
    assert!(read.await.unwrap() == data);
    assert_eq!(session.list(".").await.unwrap().len(), 1);
}
