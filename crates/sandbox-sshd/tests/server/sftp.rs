//! The SFTP subsystem with russh-sftp's client: requests that OpenSSH's clients never send.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};

use crate::support::client::{Client, TestSandbox, open};
use crate::support::noise;

const PIPE: usize = 64 << 10;

async fn session(client: &Client) -> RawSftpSession {
    let channel = open(client, &[]).await;
    channel.request_subsystem(true, "sftp").await.unwrap();
    let session = RawSftpSession::new(channel.into_stream());
    let version = session.init().await.unwrap();
    for extension in [
        "posix-rename@openssh.com",
        "fsync@openssh.com",
        "limits@openssh.com",
        "statvfs@openssh.com",
    ] {
        assert!(version.extensions.contains_key(extension), "{extension}");
    }
    session
}

/// Returns the code and the message of a failed request.
#[track_caller]
fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> (StatusCode, String) {
    match result {
        Err(Error::Status(status)) => (status.status_code, status.error_message),
        other => panic!("the request succeeded: {other:?}"),
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

#[tokio::test]
async fn files_are_read_and_written_at_any_offset() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let sftp = session(&client).await;
    let attributes = FileAttributes {
        permissions: Some(0o600),
        ..FileAttributes::empty()
    };
    let flags = OpenFlags::CREATE | OpenFlags::READ | OpenFlags::WRITE;
    let handle = sftp.open("data", flags, attributes).await.unwrap().handle;
    assert!(handle.is_ascii());
    let data = noise(600_000, 4);
    for (n, part) in data.chunks(100_000).enumerate().rev() {
        sftp.write(&*handle, n as u64 * 100_000, part.to_vec())
            .await
            .unwrap();
    }
    let read = sftp.read(&*handle, 1000, 1 << 20).await.unwrap().data;
    assert!(
        read == data[1000..1000 + 261_120],
        "as much as one packet holds: {}",
        read.len()
    );
    assert_eq!(
        failure(sftp.read(&*handle, 600_000, 10).await).0,
        StatusCode::Eof
    );
    let limits = sftp.limits().await.unwrap();
    assert_eq!(
        (
            limits.max_packet_len,
            limits.max_read_len,
            limits.max_write_len
        ),
        (262_144, 261_120, 261_120)
    );
    sftp.fsync(&*handle).await.unwrap();
    assert_eq!(
        sftp.fstat(&*handle).await.unwrap().attrs.size,
        Some(600_000)
    );
    sftp.close(&*handle).await.unwrap();
    assert!(
        failure(sftp.read(&*handle, 0, 10).await)
            .1
            .contains("no such handle")
    );

    let path = sandbox.home.path().join("data");
    assert!(std::fs::read(&path).unwrap() == data);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let wanted = FileAttributes {
        size: Some(7),
        permissions: Some(0o751),
        atime: Some(1_000_000),
        mtime: Some(1_000_001),
        ..FileAttributes::empty()
    };
    sftp.setstat("data", wanted).await.unwrap();
    let found = path.metadata().unwrap();
    assert_eq!(
        (
            found.len(),
            found.mode() & 0o7777,
            found.mtime(),
            found.atime()
        ),
        (7, 0o751, 1_000_001, 1_000_000)
    );
}

#[tokio::test]
async fn failures_have_the_status_and_message_of_the_system() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let sftp = session(&client).await;
    let none = FileAttributes::empty;
    std::fs::write(sandbox.home.path().join("there"), "x").unwrap();
    std::fs::create_dir(sandbox.home.path().join("full")).unwrap();
    std::fs::write(sandbox.home.path().join("full/of"), "x").unwrap();
    nix::unistd::mkfifo(
        &sandbox.home.path().join("fifo"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();

    assert_eq!(
        failure(sftp.open("none", OpenFlags::READ, none()).await).0,
        StatusCode::NoSuchFile
    );
    assert_eq!(
        failure(sftp.stat("there/below").await).0,
        StatusCode::NoSuchFile
    );
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
    for (found, message) in [
        (
            failure(sftp.open("there", exclusive, none()).await),
            "File exists",
        ),
        (failure(sftp.rename("there", "full").await), "File exists"),
        (failure(sftp.mkdir("there", none()).await), "File exists"),
        (failure(sftp.rmdir("full").await), "not empty"),
        (
            failure(sftp.open("full", OpenFlags::READ, none()).await),
            "directory",
        ),
        (failure(sftp.remove("full").await), "directory"),
        // Opening a FIFO without O_NONBLOCK would block.
        (
            failure(sftp.open("fifo", OpenFlags::READ, none()).await),
            "FIFO",
        ),
        (
            failure(
                sftp.open("fifo", OpenFlags::READ | OpenFlags::WRITE, none())
                    .await,
            ),
            "FIFO",
        ),
        (
            failure(sftp.open("a\0b", OpenFlags::READ, none()).await),
            "NUL",
        ),
        (failure(sftp.symlink("a\0b", "link").await), "NUL"),
    ] {
        assert!(
            found.0 == StatusCode::Failure && found.1.contains(message),
            "{found:?} does not contain {message}"
        );
    }
    assert!(sftp.open("fifo", OpenFlags::WRITE, none()).await.is_err());
    // A full disk.
    let full = sftp
        .open("/dev/full", OpenFlags::WRITE, none())
        .await
        .unwrap()
        .handle;
    let found = failure(sftp.write(&*full, 0, b"x".to_vec()).await);
    assert_eq!(
        found,
        (StatusCode::Failure, "No space left on device".into())
    );
    let unknown = sftp.extended("what@example.org", Vec::new()).await.unwrap();
    assert!(
        matches!(unknown, Packet::Status(status) if status.status_code == StatusCode::OpUnsupported)
    );
}

#[tokio::test]
async fn links_and_renames_work_as_in_openssh() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let sftp = session(&client).await;
    let path = |name: &str| sandbox.home.path().join(name);
    std::fs::write(path("a"), "a").unwrap();
    std::fs::write(path("b"), "b").unwrap();
    // The target comes first, although the draft and russh-sftp name it second.
    sftp.symlink("a", "link").await.unwrap();
    assert_eq!(path("link").read_link().unwrap().to_str(), Some("a"));
    assert_eq!(sftp.readlink("link").await.unwrap().files[0].filename, "a");
    let kind = |attrs: FileAttributes| attrs.permissions.unwrap() >> 12;
    assert_eq!(kind(sftp.lstat("link").await.unwrap().attrs), 0o12);
    assert_eq!(kind(sftp.stat("link").await.unwrap().attrs), 0o10);

    let request = [string(b"a"), string(b"b")].concat();
    sftp.extended("posix-rename@openssh.com", request)
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(path("b")).unwrap(), "a");
    sftp.hardlink("b", "c").await.unwrap();
    assert_eq!(path("c").metadata().unwrap().nlink(), 2);
    let real = sftp.realpath("./x/../new").await;
    assert_eq!(
        failure(real).0,
        StatusCode::NoSuchFile,
        "a parent directory is missing"
    );
    let home = sandbox.home.path().canonicalize().unwrap();
    assert_eq!(
        sftp.realpath("").await.unwrap().files[0].filename,
        home.to_str().unwrap()
    );
    assert_eq!(
        sftp.realpath("new").await.unwrap().files[0].filename,
        home.join("new").to_str().unwrap()
    );
    assert!(sftp.statvfs(".").await.unwrap().blocks > 0);
}

#[tokio::test]
async fn handles_have_a_limit_and_are_distinct() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let sftp = session(&client).await;
    let mut handles = Vec::new();
    let full = loop {
        let name = format!("f{}", handles.len());
        std::fs::write(sandbox.home.path().join(&name), &name).unwrap();
        match sftp
            .open(&*name, OpenFlags::READ, FileAttributes::empty())
            .await
        {
            Ok(opened) => handles.push(opened.handle),
            error => break failure(error),
        }
    };
    assert!(full.1.contains("too many open handles"), "{full:?}");
    assert!(handles.len() > 128);
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(
            sftp.read(&**handle, 0, 10).await.unwrap().data,
            format!("f{n}").into_bytes()
        );
    }
    sftp.close(&*handles[7]).await.unwrap();
    sftp.open("f9", OpenFlags::READ, FileAttributes::empty())
        .await
        .unwrap();
}
