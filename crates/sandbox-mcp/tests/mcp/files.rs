//! `file_read`, `file_write`, `file_edit`, `file_list`.

use serde_json::{Value, json};

use crate::support::World;

crate::cases![
    text_comes_back_as_it_was_written,
    binary_files_are_exact_in_base64,
    a_long_file_is_read_in_pieces,
    an_edit_changes_what_it_names,
    a_directory_is_listed,
    special_files_are_not_read,
    what_cannot_be_done_is_explained,
];

async fn text_comes_back_as_it_was_written() {
    let mut world = World::start().await;
    let text = "line 1\r\nzwei €\n\ttab \"quoted\" \\ \u{1f600}\n";
    let written = world
        .use_tool(
            "file_write",
            json!({"path": "deep/er/a file.txt", "content": text}),
        )
        .await;
    assert_eq!(written["bytes"], text.len());
    let read = world
        .use_tool("file_read", json!({"path": "deep/er/a file.txt"}))
        .await;
    assert_eq!(read["content"], text);
    assert_eq!(
        (&read["truncated"], &read["invalid_utf8"]),
        (&json!(false), &json!(false))
    );
    world
        .use_tool(
            "file_write",
            json!({"path": "deep/er/a file.txt", "content": "more", "append": true}),
        )
        .await;
    assert_eq!(world.run("tail -c 4 'deep/er/a file.txt'").await, "more");
    let empty = json!({"path": "empty", "content": ""});
    world.use_tool("file_write", empty).await;
    let read = world.use_tool("file_read", json!({"path": "empty"})).await;
    assert_eq!((&read["content"], &read["size"]), (&json!(""), &json!(0)));
    world.finish().await;
}

async fn binary_files_are_exact_in_base64() {
    let mut world = World::start().await;
    world.run("printf '\\000\\377\\376ok\\303' > bin").await;
    let text = world.use_tool("file_read", json!({"path": "bin"})).await;
    assert_eq!(text["content"], "\0\\xff\\xfeok\\xc3");
    assert_eq!(text["invalid_utf8"], true);
    let exact = world
        .use_tool("file_read", json!({"path": "bin", "encoding": "base64"}))
        .await;
    assert_eq!(
        (&exact["content"], &exact["invalid_utf8"]),
        (&json!("AP/+b2vD"), &json!(false))
    );
    let copy = json!({"path": "copy", "content": exact["content"], "encoding": "base64"});
    world.use_tool("file_write", copy).await;
    world.run("cmp bin copy").await;
    let bad = json!({"path": "copy", "content": "not base64!", "encoding": "base64"});
    assert!(world.fail("file_write", bad).await.contains("base64"));
    world.run("cmp bin copy").await;
    world.finish().await;
}

async fn a_long_file_is_read_in_pieces() {
    let mut world = World::start().await;
    // Characters of three bytes, so that pieces would cut them.
    world.run("yes '€€€' | head -n 10000 > long").await;
    let mut offset = json!(0);
    let mut content = String::new();
    for _ in 0..10 {
        let piece = world
            .use_tool("file_read", json!({"path": "long", "offset": offset}))
            .await;
        assert_eq!(piece["size"], 100_000);
        assert_eq!(piece["invalid_utf8"], false);
        content.push_str(piece["content"].as_str().unwrap());
        offset = piece["next_offset"].clone();
        if piece["truncated"] == false {
            break;
        }
    }
    assert_eq!(content, "€€€\n".repeat(10_000));
    let tiny = world
        .use_tool("file_read", json!({"path": "long", "limit": 1}))
        .await;
    assert_eq!(
        (&tiny["next_offset"], &tiny["content"]),
        (&json!(1), &json!("\\xe2"))
    );
    for bad in [
        json!({"path": "long", "offset": 100_001}),
        json!({"path": "long", "limit": 0}),
        json!({"path": "long", "limit": 1_000_000}),
    ] {
        world.fail("file_read", bad).await;
    }
    world.finish().await;
}

async fn an_edit_changes_what_it_names() {
    let mut world = World::start().await;
    world
        .run("printf 'one\\ntwo\\ntwo\\n' > list; chmod 750 list; ln -s list link")
        .await;
    let twice = world
        .fail(
            "file_edit",
            json!({"path": "list", "old": "two", "new": "x"}),
        )
        .await;
    assert!(twice.contains("2 times"), "{twice}");
    let missing = world
        .fail(
            "file_edit",
            json!({"path": "list", "old": "three", "new": "x"}),
        )
        .await;
    assert!(missing.contains("not in it"), "{missing}");
    assert_eq!(world.run("cat list").await, "one\ntwo\ntwo\n");
    world
        .use_tool(
            "file_edit",
            json!({"path": "link", "old": "one\ntwo", "new": "1\n2"}),
        )
        .await;
    let all = json!({"path": "list", "old": "two", "new": "", "replace_all": true});
    assert_eq!(world.use_tool("file_edit", all).await["replacements"], 1);
    assert_eq!(
        world.run("cat list; stat -c %a list; test -L link").await,
        "1\n2\n\n750\n"
    );
    // Edits at once do not undo each other.
    world.run("seq 1 20 | sed 's/.*/<&>/' > many").await;
    let mut ids = Vec::new();
    for n in 1..=20 {
        let edit = json!({"path": "many", "old": format!("<{n}>"), "new": format!("[{n}]")});
        ids.push(world.begin_call("file_edit", edit).await);
    }
    for id in ids {
        let response = world.response(id).await;
        assert_eq!(response["result"]["isError"], false, "{response}");
    }
    assert_eq!(world.run("grep -c '^\\[' many").await, "20\n");
    world.finish().await;
}

async fn a_directory_is_listed() {
    let mut world = World::start().await;
    world
        .run("mkdir d; cd d; touch b 'a\\c' \"$(printf 'caf\\351')\"; mkdir sub; ln -s nowhere l; mkfifo f")
        .await;
    let listed = world.use_tool("file_list", json!({"path": "d"})).await;
    let entries = listed["entries"].as_array().unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry["name"].as_str().unwrap(),
                entry["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a\\\\c", "file"),
            ("b", "file"),
            ("caf\\xe9", "file"),
            ("f", "other"),
            ("l", "symlink"),
            ("sub", "directory"),
        ]
    );
    // Names can be used as they are listed.
    for name in ["a\\\\c", "caf\\xe9"] {
        let path = format!("d/{name}");
        world
            .use_tool("file_write", json!({"path": path, "content": "x"}))
            .await;
    }
    assert_eq!(world.run("ls d | wc -l").await, "6\n");
    world
        .run("mkdir many; cd many; seq 1 3000 | xargs touch")
        .await;
    let many = world.use_tool("file_list", json!({"path": "many"})).await;
    assert_eq!(many["entries"].as_array().map(Vec::len), Some(1000));
    assert_eq!(
        (&many["truncated"], &many["total"]),
        (&json!(true), &json!(3000))
    );
    let home = world.use_tool("file_list", json!({})).await;
    assert!(
        home["total"].as_u64().is_some_and(|total| total >= 2),
        "{home}"
    );
    world.finish().await;
}

async fn special_files_are_not_read() {
    let mut world = World::start().await;
    world
        .run("mkfifo fifo; mkdir dir; ln -s fifo link; ln -s loop loop")
        .await;
    for path in ["fifo", "dir", "link", "/dev/zero", "loop", "/dev/stdin"] {
        for tool in ["file_read", "file_edit", "file_write"] {
            let arguments = match tool {
                "file_read" => json!({"path": path}),
                "file_edit" => json!({"path": path, "old": "a", "new": "b"}),
                _ => json!({"path": path, "content": "x"}),
            };
            world.fail(tool, arguments).await;
        }
    }
    world.finish().await;
}

async fn what_cannot_be_done_is_explained() {
    let mut world = World::start().await;
    let message = world.fail("file_read", json!({"path": "missing"})).await;
    assert!(message.contains("missing"), "{message}");
    for (tool, arguments) in [
        ("file_read", json!({"path": ""})),
        ("file_read", json!({"path": "a\\b"})),
        ("file_read", json!({"path": "a\u{0}b"})),
        ("file_read", json!({"path": null})),
        ("file_read", json!({"path": "x".repeat(10_000)})),
        ("file_write", json!({"path": "missing"})),
        (
            "file_write",
            json!({"path": "/proc/nothing/here", "content": "x"}),
        ),
        (
            "file_write",
            json!({"path": "big", "content": "x".repeat(5 << 20)}),
        ),
        (
            "file_edit",
            json!({"path": "missing", "old": "a", "new": "b"}),
        ),
        (
            "file_edit",
            json!({"path": "missing", "old": "", "new": "b"}),
        ),
        ("file_list", json!({"path": "missing"})),
        ("file_list", json!({"path": "/etc/passwd"})),
    ] {
        let message = world.fail(tool, arguments).await;
        assert!(message.chars().count() <= 2001, "{tool}: {}", message.len());
    }
    let home = world.use_tool("file_list", json!({})).await;
    let names: Vec<&Value> = home["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["name"])
        .collect();
    assert!(!names.contains(&&json!("big")), "{names:?}");
    world.finish().await;
}
