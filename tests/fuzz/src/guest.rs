//! The operations of the guest protocol, answered by a hostile server.

use sandbox::{AttachedProcess, InputTarget, ProcessSpec, Result, Sandbox, Signal, WatchOptions};

use crate::world::{World, check_error};

/// The most of a file that is asked for.
const LENGTH: u64 = 1000;

/// Every call returns; no more content is returned than was asked for, no name leads out of its directory, and no error
/// has control characters.
pub(crate) fn target(bytes: &[u8]) {
    World::run(bytes, |case, world| async move {
        let sandbox = world.sandbox(true).await;
        let operation = case.lock().unwrap().input.choice(16);
        if let Err(error) = operate(&sandbox, operation).await {
            check_error(&error);
        }
    });
}

async fn operate(sandbox: &Sandbox, operation: u8) -> Result<()> {
    let files = sandbox.guest_files();
    let processes = sandbox.processes();
    match operation {
        0 => drop(files.stat("f").await?),
        1 | 2 => {
            for entry in files.list("d", 3).await? {
                let name = entry.name.as_bytes();
                assert!(is_component(name), "{:?}", entry.name);
                assert!(entry.path.as_bytes().ends_with(name), "{:?}", entry.path);
            }
        }
        3 | 4 => {
            let mut reader = files.read("f", 0, Some(LENGTH)).await?;
            let mut read = 0;
            while let Some(part) = reader.next().await? {
                read += part.len() as u64;
                assert!(read <= LENGTH, "{read} bytes");
            }
        }
        5 => drop(files.write("f", vec![1; 300_000]).await?),
        6 => files.remove("d").await?,
        7 | 8 => {
            let mut events = files.watch(WatchOptions::new("d")).await?;
            while let Some(event) = events.next().await? {
                check_event(event.name.as_bytes());
            }
        }
        9 => {
            for event in files.take_events("watcher").await? {
                check_event(event.name.as_bytes());
            }
        }
        10 => drop(files.create_watcher(WatchOptions::new("d")).await?),
        11 => drop((sandbox.usage().await?, sandbox.environment().await)),
        12 => drop((sandbox.pause_state().await?, files.rename("a", "b").await)),
        13 => drop(processes.list().await?),
        14 => read_to_end(processes.attach(7).await?).await?,
        _ => {
            read_to_end(processes.start(ProcessSpec::new("true")).await?).await?;
            processes.write_input(7, InputTarget::Stdin, b"x").await?;
            processes.signal("tag", Signal::Term).await?;
        }
    }
    Ok(())
}

async fn read_to_end(mut attached: AttachedProcess) -> Result<()> {
    while let Some(event) = attached.next().await {
        event?;
    }
    Ok(())
}

fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

/// An event is about the directory itself, or about something in it.
fn check_event(name: &[u8]) {
    let is_inside = name.split(|byte| *byte == b'/').all(is_component);
    assert!(name.is_empty() || is_inside, "{name:?}");
}
