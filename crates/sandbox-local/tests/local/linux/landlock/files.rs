//! Files outside, as a sandbox with Landlock reaches them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use libtest_mimic::Trial;
use sandbox_local::IsolationLevel;

use crate::linux::support::{Result, World, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        landlock_denies_files_outside,
        landlock_prevents_changes_outside,
    ]
}

async fn landlock_denies_files_outside() -> Result {
    let (world, info) = World::with_landlock().await?;
    let secret = world.path().join("secret");
    std::fs::write(&secret, "secret")?;
    // The permissions of the file system allow every access.
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755))?;
    let public = world.path().join("public");
    std::fs::write(&public, "public")?;
    let home = std::env::var("HOME").unwrap_or("/root".into());
    let state = world.state(&info);
    let mut paths = vec![format!("{home}/."), home];
    paths.extend(
        [
            &secret,
            &public,
            &state,
            &state.join("record.json"),
            &state.join("client_key"),
        ]
        .map(|path| path.display().to_string()),
    );
    paths.extend(
        [
            "/",
            "/etc",
            "/etc/passwd",
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/ssh",
            "/etc/kubernetes",
            "/etc/machine-id",
            "/etc/ssl/private",
            "/root",
            "/home",
            "/tmp",
            "/var",
            "/var/tmp",
            "/run",
            "/sys",
            "/sys/kernel",
            "/boot",
            "/dev",
            "/dev/shm",
            "/dev/mem",
            "/dev/kmsg",
            "/dev/vda",
            "/dev/fuse",
            "/dev/kvm",
            "/proc",
            "/proc/1",
            "/proc/1/environ",
            "/proc/self/status",
            "/proc/self/mounts",
            "/proc/cpuinfo",
            "/proc/kcore",
            "/proc/1/root/etc/shadow",
            "/proc/self/root/etc/shadow",
            "/proc/self/cwd/../../record.json",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        world.assert_refused(&info, &format!("read {path}")).await?;
        world.assert_refused(&info, &format!("list {path}")).await?;
    }
    // Links and copies do not help.
    let ran = world
        .run(
            &info,
            &format!(
                "ln -s {0} soft; cat soft; ln {0} hard; cat hard; cp {0} copy; mv {0} moved; ls -A",
                public.display()
            ),
        )
        .await?;
    assert_eq!(ran.stdout, "soft\n", "{ran:?}");
    assert_eq!(std::fs::read_to_string(public)?, "public");
    Ok(())
}

async fn landlock_prevents_changes_outside() -> Result {
    let readable = tempfile::NamedTempFile::new()?;
    let world = World::with_options(|options| {
        options.isolation = IsolationLevel::Landlock;
        options.read_only_paths.push(readable.path().to_owned());
    })?;
    let info = world.create().await?;
    std::fs::set_permissions(readable.path(), std::fs::Permissions::from_mode(0o644))?;
    assert!(
        world
            .probe(&info, &format!("read {}", readable.path().display()))
            .await?
            .starts_with("done")
    );
    for probe in ["write", "chmod", "fchmod"] {
        world
            .assert_refused(&info, &format!("{probe} {}", readable.path().display()))
            .await?;
    }
    assert_eq!(readable.as_file().metadata()?.mode() & 0o7777, 0o644);
    let program = std::env::current_exe()?;
    let dir = world.path().join("writable-by-all");
    std::fs::create_dir(&dir)?;
    for path in [world.path(), &dir] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    }
    let file = dir.join("file");
    std::fs::write(&file, "")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let dir = dir.display();
    for path in [
        "/usr/bin/new",
        "/etc/new",
        "/new",
        "/dev/new",
        "/dev/shm/new",
        "/tmp/new",
        "/var/tmp/new",
        "/run/new",
        &program.display().to_string(),
        &format!("{dir}/file"),
        &format!("{dir}/new"),
        "/proc/sys/kernel/core_pattern",
        "/proc/self/oom_score_adj",
        "/proc/self/uid_map",
        "/sys/fs/cgroup/new",
    ] {
        world
            .assert_refused(&info, &format!("write {path}"))
            .await?;
    }
    // Landlock does not restrict these; the system call filter does.
    let before = std::fs::metadata(&file)?;
    for probe in ["chmod", "touch", "xattr"] {
        world
            .assert_refused(&info, &format!("{probe} {dir}/file"))
            .await?;
    }
    let ran = world.run(&info, &format!("mkdir {dir}/d; ln -s x {dir}/l; mkfifo {dir}/p; rm {dir}/file; chgrp 0 {dir}/file; echo {dir}/*")).await?;
    let after = std::fs::metadata(&file)?;
    let attributes = |meta: &std::fs::Metadata| {
        (
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.ctime_nsec(),
        )
    };
    assert_eq!(attributes(&before), attributes(&after), "{ran:?}");
    assert_eq!(std::fs::read_dir(dir.to_string())?.count(), 1, "{ran:?}");
    Ok(())
}
