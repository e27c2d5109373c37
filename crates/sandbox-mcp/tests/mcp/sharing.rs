//! What reaches this machine: `upload`, `download`, `port_url`.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::World;

crate::cases![
    files_go_in_and_out,
    nothing_outside_is_reached,
    a_port_is_opened_here
];

async fn share() -> World {
    let world = World::start_with(|config, dir| {
        std::fs::create_dir(dir.join("share")).unwrap();
        std::fs::write(dir.join("secret"), "hush-hush").unwrap();
        config.share = Some(dir.join("share"));
    })
    .await;
    std::os::unix::fs::symlink("../secret", world.dir.path().join("share/link")).unwrap();
    std::os::unix::fs::symlink("..", world.dir.path().join("share/up")).unwrap();
    world
}

async fn files_go_in_and_out() {
    let mut world = share().await;
    let directory = world.dir.path().join("share");
    std::fs::create_dir(directory.join("sub")).unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(directory.join("sub/in.bin"), &content).unwrap();
    let up = world
        .use_tool(
            "upload",
            json!({"shared_path": "sub/in.bin", "path": "in.bin"}),
        )
        .await;
    assert_eq!(up["bytes"], content.len());
    let down = json!({"path": "in.bin", "shared_path": "sub/out.bin"});
    world.use_tool("download", down.clone()).await;
    assert_eq!(
        std::fs::read(directory.join("sub/out.bin")).unwrap(),
        content
    );
    let exists = world.fail("download", down).await;
    assert!(exists.contains("exists"), "{exists}");
    world.run("echo new > small").await;
    world
        .use_tool(
            "download",
            json!({"path": "small", "shared_path": "sub/out.bin", "replace": true}),
        )
        .await;
    assert_eq!(
        std::fs::read(directory.join("sub/out.bin")).unwrap(),
        b"new\n"
    );
    world.finish().await;
}

async fn nothing_outside_is_reached() {
    let mut world = share().await;
    let secret = world.dir.path().join("secret").display().to_string();
    world.run("echo evil > evil").await;
    for path in [
        "../secret",
        "link",
        "up/secret",
        "up/../secret",
        "/etc/passwd",
        &secret,
        "",
        ".",
        "up",
        "a\u{0}b",
    ] {
        let message = world
            .fail("upload", json!({"shared_path": path, "path": "stolen"}))
            .await;
        assert!(!message.contains("hush"), "{message}");
        for replace in [false, true] {
            let arguments = json!({"path": "evil", "shared_path": path, "replace": replace});
            world.fail("download", arguments).await;
        }
    }
    for (path, target) in [
        ("missing", "new"),
        ("/dev/zero", "new"),
        (".", "new"),
        ("evil", "no/such/dir"),
    ] {
        let arguments = json!({"path": path, "shared_path": target});
        world.fail("download", arguments).await;
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "hush-hush");
    assert_eq!(world.run("ls").await, "evil\n");
    let mut left: Vec<_> = std::fs::read_dir(world.dir.path().join("share"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["link", "up"]);
    world.finish().await;
}

async fn a_port_is_opened_here() {
    let mut world = World::start_with(|config, _| config.preview = true).await;
    let refused = world.fail("port_url", json!({"port": 8000})).await;
    assert!(refused.contains("start the server"), "{refused}");
    world.fail("port_url", json!({"port": 0})).await;
    world.fail("port_url", json!({"port": 70000})).await;
    world.run("echo hello > index.html").await;
    world
        .use_tool(
            "command_run",
            json!({"command": "exec python3 -m http.server 8000 --bind 127.0.0.1", "wait_seconds": 0}),
        )
        .await;
    let mut answer = world.call("port_url", json!({"port": 8000})).await;
    while answer.is_error {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = world.call("port_url", json!({"port": 8000})).await;
    }
    let url = answer.data["url"].as_str().unwrap().to_owned();
    assert_eq!(
        world.use_tool("port_url", json!({"port": 8000})).await["url"],
        url.as_str()
    );
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let fetch = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok::<_, std::io::Error>(page)
    };
    let page = tokio::task::spawn_blocking(fetch.clone())
        .await
        .unwrap()
        .unwrap();
    assert!(page.ends_with("hello\n"), "{page}");
    world.finish().await;
    assert!(tokio::task::spawn_blocking(fetch).await.unwrap().is_err());
}
