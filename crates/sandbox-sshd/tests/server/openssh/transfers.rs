//! Bulk data and files: cat, scp, sftp and rsync.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};

use sandbox_testkit::peers::{OPENSSH, RSYNC};

use crate::support::{Process, noise, text};

#[test]
fn bulk_data_arrives_unchanged_in_both_directions() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let data = noise(256 << 20, 1);
    let source = server.directory.path().join("source");
    std::fs::write(&source, &data).unwrap();

    // Both directions at once, each on its own connection.
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| {
            let mut ssh = server.client("ssh");
            ssh.args(["me@127.0.0.1", "cat > up"])
                .stdin(std::fs::File::open(&source).unwrap());
            assert!(ssh.status().unwrap().success());
        });
        let mut ssh = server.client("ssh");
        ssh.args(["me@127.0.0.1", "exec 'cat' '../source'"])
            .stdout(Stdio::piped());
        let mut child = ssh.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
        loop {
            let read = stdout.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            assert!(
                data[at..at + read] == buffer[..read],
                "wrong bytes after {at}"
            );
            at += read;
        }
        assert_eq!(at, data.len());
        assert!(child.wait().unwrap().success());
        upload.join().unwrap();
    });
    assert!(std::fs::read(server.home().join("up")).unwrap() == data);
    std::fs::remove_file(server.home().join("up")).unwrap();

    // scp uses SFTP.
    let status = server
        .client("scp")
        .arg("-q")
        .arg(&source)
        .arg("me@127.0.0.1:copy")
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(server.home().join("copy")).unwrap() == data);
    std::fs::remove_file(&source).unwrap();
    let status = server
        .client("scp")
        .args(["-q", "me@127.0.0.1:copy"])
        .arg(&source)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(&source).unwrap() == data);
}

#[test]
fn the_commands_of_sftp_work() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    std::fs::write(server.directory.path().join("local file"), "content").unwrap();
    let batch = "mkdir d\nput 'local file' 'd/a b'\nrename 'd/a b' d/c\nchmod 640 d/c\nsymlink c d/link\n\
                 ls -la d\nget d/link back\nmkdir -p\nrm d/c\nrm d/link\nrmdir d\ndf\npwd\n-rm none\n-put 'local file' /none/x\n";
    let mut sftp = server.client("sftp");
    sftp.args(["-q", "-b", "-", "me@127.0.0.1"])
        .current_dir(server.directory.path());
    let mut child = sftp
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(batch.replace("mkdir -p\n", "").as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let (shown, errors) = (text(&out.stdout), text(&out.stderr));
    assert!(
        shown.contains("-rw-r-----") && shown.contains("lrwxrwxrwx"),
        "{shown}"
    );
    assert!(
        shown.contains(&format!(
            "working directory: {}",
            server.home().canonicalize().unwrap().display()
        )),
        "{shown}"
    );
    assert!(errors.contains("No such file"), "{errors}");
    assert_eq!(
        std::fs::read_to_string(server.directory.path().join("back")).unwrap(),
        "content"
    );
    assert_eq!(std::fs::read_dir(server.home()).unwrap().count(), 0);
}

#[test]
fn rsync_copies_a_tree_there_and_back() {
    require!(OPENSSH, RSYNC);
    let server = Process::start(&[]);
    let tree = server.directory.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b c")).unwrap();
    std::fs::write(tree.join("a/b c/data"), noise(3 << 20, 5)).unwrap();
    std::fs::write(tree.join("a/it's \"quoted\""), "x").unwrap();
    std::os::unix::fs::symlink("b c/data", tree.join("a/link")).unwrap();
    let remote = format!("ssh -p {} {}", server.port, server.options().join(" "));
    let rsync = |from: &str, to: &str| {
        let mut rsync = Command::new("rsync");
        assert!(
            rsync
                .args(["-a", "-e", &remote, from, to])
                .status()
                .unwrap()
                .success()
        );
    };
    rsync(&format!("{}/", tree.display()), "me@127.0.0.1:copy/");
    let back = server.directory.path().join("back");
    rsync("me@127.0.0.1:copy/", &format!("{}/", back.display()));
    let same = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(&tree)
        .arg(&back)
        .status()
        .unwrap();
    assert!(same.success());
}

/// A name in Latin-1, which is not UTF-8.
const LATIN1: &[u8] = b"caf\xe9";

#[test]
fn scp_copies_names_that_are_not_utf8() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let name = OsStr::from_bytes(LATIN1);
    let up = server.directory.path().join("up");
    std::fs::create_dir_all(up.join(name)).unwrap();
    std::fs::write(up.join(name).join(name), "x").unwrap();
    let scp = |from: &OsStr, to: &OsStr| {
        let mut scp = server.client("scp");
        let out = scp.args(["-q", "-r"]).args([from, to]).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
    };
    let remote = |name: &[u8]| OsString::from_vec([b"me@127.0.0.1:", name].concat());

    scp(up.as_os_str(), &remote(b"tree"));
    let there = server.home().join("tree").join(name).join(name);
    assert_eq!(std::fs::read(there).unwrap(), b"x");

    let back = server.directory.path().join("back");
    scp(&remote(b"tree"), back.as_os_str());
    assert_eq!(std::fs::read(back.join(name).join(name)).unwrap(), b"x");

    // As arguments.
    let one = server.directory.path().join("one");
    scp(
        &remote(&[b"tree/", LATIN1, b"/", LATIN1].concat()),
        one.as_os_str(),
    );
    scp(one.as_os_str(), &remote(b"\xff"));
    let there = server.home().join(OsStr::from_bytes(b"\xff"));
    assert_eq!(std::fs::read(there).unwrap(), b"x");
}

#[test]
fn the_commands_of_sftp_accept_names_that_are_not_utf8() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    std::fs::write(server.directory.path().join("local"), "content").unwrap();
    let batch = b"mkdir caf\xe9\nput local caf\xe9/\xfe\nrename caf\xe9/\xfe caf\xe9/\xff\n\
                  chmod 640 caf\xe9/\xff\nsymlink \xff caf\xe9/link\nls -la caf\xe9\n\
                  get caf\xe9/link back\ncd caf\xe9\npwd\nget \xff\n";
    let mut sftp = server.client("sftp");
    sftp.args(["-q", "-b", "-", "me@127.0.0.1"])
        .current_dir(server.directory.path());
    let mut child = sftp
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(batch).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let errors = text(&out.stderr);
    assert!(errors.is_empty(), "{errors}");
    assert!(text(&out.stdout).contains("-rw-r-----"), "{out:?}");
    let file = |name: &[u8]| server.directory.path().join(OsStr::from_bytes(name));
    for name in [&b"back"[..], b"\xff"] {
        assert_eq!(std::fs::read(file(name)).unwrap(), b"content");
    }
    let link = server.home().join(OsStr::from_bytes(b"caf\xe9/link"));
    assert_eq!(
        link.read_link().unwrap().as_os_str(),
        OsStr::from_bytes(b"\xff")
    );
}
