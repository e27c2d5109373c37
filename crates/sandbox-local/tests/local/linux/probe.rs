//! Attempts from inside a sandbox. Each prints `done` or `refused`, with the reason.
#![allow(unsafe_code, reason = "the probes make raw system calls")]

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Command, ExitCode};

use nix::libc;

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match attempt(&arguments) {
        Ok(done) => println!("done {done}"),
        Err(error) => println!("refused: {error}"),
    }
    ExitCode::SUCCESS
}

fn attempt(arguments: &[&str]) -> io::Result<String> {
    match *arguments {
        ["read", path] => {
            let mut bytes = vec![0; 64];
            fs::File::open(path)?
                .read(&mut bytes)
                .map(|count| format!("{count} bytes"))
        }
        ["list", path] => Ok(format!("{} entries", fs::read_dir(path)?.count())),
        ["write", path] => fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?
            .write(b"0\n")
            .map(|_| String::new()),
        ["link", path] => fs::read_link(path).map(|target| target.display().to_string()),
        ["tcp", address] => TcpStream::connect(address).map(|_| String::new()),
        ["udp", address] => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(address)?;
            // The second send returns the error of the first.
            socket.send(b"hello")?;
            std::thread::sleep(std::time::Duration::from_millis(50));
            socket.send(b"hello").map(|_| String::new())
        }
        ["unix", path] => UnixStream::connect(path).map(|_| String::new()),
        ["abstract", name] => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(|_| String::new())
        }
        ["pids"] => {
            let pids = fs::read_dir("/proc")?
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            Ok(pids
                .map(|pid| pid.to_string())
                .collect::<Vec<_>>()
                .join(" "))
        }
        ["kill", pid] => raw(
            libc::SYS_kill,
            &[
                pid.parse().map_err(io::Error::other)?,
                i64::from(libc::SIGKILL),
            ],
        ),
        ["chmod", path] => {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map(|()| String::new())
        }
        ["fchmod", path] => {
            use std::os::unix::fs::PermissionsExt;
            fs::File::open(path)?
                .set_permissions(fs::Permissions::from_mode(0o777))
                .map(|()| String::new())
        }
        ["touch", path] => {
            let path = CString::new(path)?;
            raw(
                libc::SYS_utimensat,
                &[i64::from(libc::AT_FDCWD), path.as_ptr() as i64, 0, 0],
            )
        }
        ["xattr", path] => {
            let (path, name) = (CString::new(path)?, c"user.sandbox");
            raw(
                libc::SYS_setxattr,
                &[
                    path.as_ptr() as i64,
                    name.as_ptr() as i64,
                    name.as_ptr() as i64,
                    1,
                    0,
                ],
            )
        }
        ["limit", pid] => {
            let limit = [10_u64, 10_u64];
            let pid = pid.parse().map_err(io::Error::other)?;
            raw(
                libc::SYS_prlimit64,
                &[pid, libc::RLIMIT_CPU as i64, limit.as_ptr() as i64, 0],
            )
        }
        ["renice", pid] => raw(
            libc::SYS_setpriority,
            &[0, pid.parse().map_err(io::Error::other)?, 10],
        ),
        ["descriptors"] => {
            let open = |fd: &i64| raw(libc::SYS_fcntl, &[*fd, i64::from(libc::F_GETFD)]).is_ok();
            Ok((0..1024)
                .filter(open)
                .map(|fd| fd.to_string())
                .collect::<Vec<_>>()
                .join(" "))
        }
        ["processes", count] => start_processes(count.parse().map_err(io::Error::other)?),
        ["memory", mib] => use_memory(mib.parse().map_err(io::Error::other)?),
        ["bomb"] => loop {
            // The loop continues whether or not the process started.
            drop(
                Command::new(std::env::current_exe()?)
                    .args(["probe", "bomb"])
                    .spawn(),
            );
        },
        ["threads"] => std::thread::Builder::new()
            .spawn(|| "one")
            .map(|thread| thread.join().unwrap_or("none").to_owned()),
        ["run", program, ref program_arguments @ ..] => {
            let ran = Command::new(program).args(program_arguments).output()?;
            let text = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
            if ran.status.success() {
                Ok(text)
            } else {
                Err(io::Error::other(
                    String::from_utf8_lossy(&ran.stderr).trim().to_owned(),
                ))
            }
        }
        ["call", name] => make_call(name),
        ["reach-kernel", ref numbers @ ..] => reach_kernel(numbers),
        _ => Err(io::Error::other(format!("unknown probe {arguments:?}"))),
    }
}

/// Starts processes up to the limit or an error, and ends them.
fn start_processes(limit: usize) -> io::Result<String> {
    let mut children = Vec::new();
    let result = loop {
        if children.len() == limit {
            break Ok(format!("{limit} processes"));
        }
        match Command::new("/bin/sleep").arg("60").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                break Err(io::Error::other(format!(
                    "after {}: {error}",
                    children.len()
                )));
            }
        }
    };
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    result
}

/// Allocates and writes memory.
fn use_memory(mib: usize) -> io::Result<String> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mib {
        let mut piece = Vec::new();
        piece.try_reserve_exact(1 << 20).map_err(io::Error::other)?;
        piece.resize(1 << 20, 1);
        pieces.push(piece);
    }
    Ok(format!("{} MiB", pieces.len()))
}

/// Makes these calls with invalid arguments, and returns those that did not fail with EPERM.
fn reach_kernel(numbers: &[&str]) -> io::Result<String> {
    let mut reached = Vec::new();
    for text in numbers {
        let number = text.parse().map_err(io::Error::other)?;
        let error = raw(number, &[-1; 5])
            .err()
            .and_then(|error| error.raw_os_error());
        if error != Some(libc::EPERM) {
            reached.push(*text);
        }
    }
    Ok(reached.join(" "))
}

fn make_call(name: &str) -> io::Result<String> {
    let path = |text: &str| {
        CString::new(text)
            .map(|text| text.into_raw() as i64)
            .map_err(io::Error::other)
    };
    let user = i64::from(libc::CLONE_NEWUSER);
    let net = i64::from(libc::CLONE_NEWNET);
    let buffer = vec![0_u64; 512].leak().as_mut_ptr() as i64;
    match name {
        "mount" => raw(
            libc::SYS_mount,
            &[path("none")?, path("/tmp")?, path("tmpfs")?, 0, 0],
        ),
        "remount" => raw(
            libc::SYS_mount,
            &[
                0,
                path("/usr")?,
                0,
                (libc::MS_REMOUNT | libc::MS_BIND) as i64,
                0,
            ],
        ),
        "umount" => raw(
            libc::SYS_umount2,
            &[path("/proc/sys")?, i64::from(libc::MNT_DETACH)],
        ),
        "open_tree" => raw(
            libc::SYS_open_tree,
            &[i64::from(libc::AT_FDCWD), path("/usr")?, 1],
        ),
        "unshare-user" => raw(libc::SYS_unshare, &[user]),
        "unshare-net" => raw(libc::SYS_unshare, &[net]),
        "clone-user" => raw_fork(
            libc::SYS_clone,
            &[user | i64::from(libc::SIGCHLD), 0, 0, 0, 0],
        ),
        "clone3" => raw_fork(libc::SYS_clone3, &[buffer, 64]),
        "setns" => raw(libc::SYS_setns, &[0, 0]),
        "ptrace" => raw(libc::SYS_ptrace, &[i64::from(libc::PTRACE_ATTACH), 1, 0, 0]),
        "process_vm_readv" => {
            // Without a length, the kernel does not check the access.
            let vector = Box::leak(Box::new([buffer, 8])).as_ptr() as i64;
            raw(libc::SYS_process_vm_readv, &[1, vector, 1, vector, 1, 0])
        }
        "trace-child" => trace_child(),
        "limit-server" => raw(
            libc::SYS_prlimit64,
            &[1, i64::from(libc::RLIMIT_NOFILE), buffer, 0],
        ),
        "schedule-server" => raw(libc::SYS_sched_setscheduler, &[1, 5, buffer]),
        "pin-server" => raw(libc::SYS_sched_setaffinity, &[1, 8, buffer]),
        "renice-server" => raw(libc::SYS_setpriority, &[0, 1, 19]),
        "renice-user" => raw(libc::SYS_setpriority, &[2, 0, 19]),
        "io-priority-server" => raw(libc::SYS_ioprio_set, &[1, 1, 3 << 13]),
        "io_setup" => raw(libc::SYS_io_setup, &[1, buffer]),
        "line-discipline" => raw(libc::SYS_ioctl, &[0, 0x5423, buffer]),
        "sctp-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_INET), 1, 132]),
        "mptcp-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_INET6), 1, 262]),
        "seqpacket-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_INET), 5, 0]),
        "pidfd_getfd" => raw(libc::SYS_pidfd_getfd, &[0, 0, 0]),
        "keyctl" => raw(libc::SYS_keyctl, &[0, -3, 1]),
        "add_key" => raw(
            libc::SYS_add_key,
            &[path("user")?, path("k")?, path("v")?, 1, -3],
        ),
        "bpf" => raw(libc::SYS_bpf, &[0, buffer, 128]),
        "perf_event_open" => raw(libc::SYS_perf_event_open, &[buffer, 0, -1, -1, 0]),
        "io_uring_setup" => raw(libc::SYS_io_uring_setup, &[8, buffer]),
        "userfaultfd" => raw(libc::SYS_userfaultfd, &[1]),
        "name_to_handle_at" => raw(
            libc::SYS_name_to_handle_at,
            &[i64::from(libc::AT_FDCWD), path("/usr")?, buffer, buffer, 0],
        ),
        "open_by_handle_at" => raw(
            libc::SYS_open_by_handle_at,
            &[i64::from(libc::AT_FDCWD), buffer, 0],
        ),
        "reboot" => raw(libc::SYS_reboot, &[0, 0, 0, 0]),
        "settimeofday" => raw(libc::SYS_settimeofday, &[buffer, 0]),
        "finit_module" => raw(libc::SYS_finit_module, &[0, buffer, 0]),
        "kexec_load" => raw(libc::SYS_kexec_load, &[0, 0, 0, 0]),
        "syslog" => raw(libc::SYS_syslog, &[3, buffer, 4096]),
        "chroot" => raw(libc::SYS_chroot, &[path("/")?]),
        "packet-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_PACKET), 3, 0]),
        "vsock-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_VSOCK), 1, 0]),
        "alg-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_ALG), 5, 0]),
        "raw-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_INET), 3, 1]),
        "uevent-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_NETLINK), 3, 15]),
        "route-socket" => raw(libc::SYS_socket, &[i64::from(libc::AF_NETLINK), 3, 0]),
        "type-into-terminal" => raw(libc::SYS_ioctl, &[0, libc::TIOCSTI as i64, buffer]),
        // The kernel cuts the request to 32 bits; a filter that compares 64 does not see it.
        "type-into-terminal-64" => raw(
            libc::SYS_ioctl,
            &[0, libc::TIOCSTI as i64 | 1 << 40, buffer],
        ),
        "socket-unix" => raw(libc::SYS_socket, &[i64::from(libc::AF_UNIX), 1, 0]),
        "socket-inet" => raw(libc::SYS_socket, &[i64::from(libc::AF_INET), 1, 0]),
        "socket-inet6" => raw(libc::SYS_socket, &[i64::from(libc::AF_INET6), 2, 0]),
        "datagram-pair" => raw(
            libc::SYS_socketpair,
            &[i64::from(libc::AF_UNIX), 2, 0, buffer],
        ),
        "datagram-pair-flags" => {
            let kind = i64::from(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
            raw(
                libc::SYS_socketpair,
                &[i64::from(libc::AF_UNIX), kind, 0, buffer],
            )
        }
        "raw-pair" => raw(
            libc::SYS_socketpair,
            &[i64::from(libc::AF_UNIX), 3, 0, buffer],
        ),
        "stream-pair" => raw(
            libc::SYS_socketpair,
            &[i64::from(libc::AF_UNIX), 1, 0, buffer],
        ),
        "connect" => raw(libc::SYS_connect, &[0, buffer, 16]),
        "bind" => raw(libc::SYS_bind, &[0, buffer, 16]),
        "shmget" => raw(libc::SYS_shmget, &[0, 4096, 0o1600]),
        "shmat" => raw(libc::SYS_shmat, &[0, 0, 0]),
        "semget" => raw(libc::SYS_semget, &[0, 1, 0o1600]),
        "msgget" => raw(libc::SYS_msgget, &[0, 0o1600]),
        "mq_open" => raw(libc::SYS_mq_open, &[path("q")?, 0o102, 0o600, 0]),
        "inotify_add_watch" => raw(libc::SYS_inotify_add_watch, &[0, path("/root")?, 0xfff]),
        "setuid-root" => raw(libc::SYS_setuid, &[0]),
        "future-call" => raw(470, &[0]),
        #[cfg(target_arch = "x86_64")]
        "x32-getpid" => raw(0x4000_0000 + libc::SYS_getpid, &[]),
        #[cfg(target_arch = "x86_64")]
        "x32-ptrace" => raw(
            0x4000_0000 + 521,
            &[i64::from(libc::PTRACE_ATTACH), 1, 0, 0],
        ),
        _ => Err(io::Error::other(format!("unknown call {name}"))),
    }
}

/// Attaches to a child as a debugger does, and ends it.
fn trace_child() -> io::Result<String> {
    let mut child = Command::new("sleep").arg("60").spawn()?;
    let attached = raw(
        libc::SYS_ptrace,
        &[i64::from(libc::PTRACE_ATTACH), i64::from(child.id()), 0, 0],
    );
    child.kill()?;
    child.wait()?;
    attached
}

/// Makes a system call.
fn raw(number: libc::c_long, arguments: &[i64]) -> io::Result<String> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: pointers among the arguments come from memory that is never freed, and is larger
    // than what these calls write.
    let result = unsafe {
        libc::syscall(
            number,
            argument(0),
            argument(1),
            argument(2),
            argument(3),
            argument(4),
            0_i64,
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result.to_string())
    }
}

/// Makes a call that returns twice unless it is refused.
fn raw_fork(number: libc::c_long, arguments: &[i64]) -> io::Result<String> {
    let result = raw(number, arguments)?;
    if result == "0" {
        std::process::exit(0);
    }
    Ok(result)
}
