//! The end of a sandbox with Landlock, whose processes no pid namespace ends.

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use sandbox_core::{DeleteOptions, SandboxBackend};
use sandbox_local::IsolationLevel;

use crate::linux::support::{Result, World, count_processes, detached_spec, trials, wait_until};

pub(crate) fn trials() -> Vec<Trial> {
    trials![landlock_ends_all_processes,]
}

async fn landlock_ends_all_processes() -> Result {
    for (number, end) in [
        "delete",
        "kill the supervisor",
        "kill the keeper",
        "kill both",
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::with_options(|options| options.isolation = IsolationLevel::Landlock)?;
        let info = world.backend.create(detached_spec()).await?;
        let mark = format!("6{number}{:05}.25", std::process::id() % 100_000);
        let script = format!(
            "for i in 1 2 3; do setsid sh -c 'sleep {mark} & sleep {mark}' > /dev/null 2>&1 < /dev/null & done; echo started"
        );
        assert_eq!(world.run(&info, &script).await?.stdout, "started\n");
        wait_until("all processes run", || count_processes(&mark) >= 6).await?;
        let record = std::fs::read_to_string(world.state(&info).join("record.json"))?;
        let record: serde_json::Value = serde_json::from_str(&record)?;
        let keeper = record["server"]["pid"]
            .as_i64()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .ok_or("no keeper")?;
        let supervisor = world.supervisor_pid(&info)?;
        match end {
            "delete" => {
                world
                    .backend
                    .delete(&info.id, DeleteOptions::default())
                    .await?
            }
            "kill the supervisor" => {
                kill_process(supervisor, Signal::KILL)?;
                // They end without a sweep.
                wait_until("no process runs", || count_processes(&mark) == 0).await?;
            }
            "kill the keeper" => {
                kill_process(keeper, Signal::KILL)?;
                wait_until("nothing is left", || !world.state(&info).exists()).await?;
            }
            // Without a control group, nothing can find these processes.
            _ if record["cgroups"].as_array().is_none_or(Vec::is_empty) => continue,
            _ => {
                kill_process(supervisor, Signal::KILL)?;
                kill_process(keeper, Signal::KILL)?;
            }
        }
        world
            .backend
            .delete(&info.id, DeleteOptions::default())
            .await?;
        assert_eq!(count_processes(&mark), 0, "{end}: a process is left");
        world.assert_nothing_left(&info).await?;
    }
    Ok(())
}
