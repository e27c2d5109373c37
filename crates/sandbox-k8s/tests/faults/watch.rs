//! The shared watch: callers get the true state of a sandbox, whatever happens to the watch.

use std::time::Duration;

use sandbox_core::{Error, Freshness, ListFilter, SandboxBackend, SandboxEventKind, SandboxState};
use sandbox_testkit::apiserver::Fault;

use crate::support::{
    Warnings, backend, collect_steps_until, create_running, create_sandbox, observe_steps_until,
    server, start_watch,
};
use SandboxEventKind::{Addressed, Created, Deleted, Failed, Scheduled, Started};

#[tokio::test(start_paused = true)]
async fn each_step_is_reported_once_whatever_happens_to_the_watch() {
    for fault in [
        Fault::CutLine(0),
        Fault::CutLine(1),
        Fault::EndAfter(0),
        Fault::EndAfter(1),
        Fault::DelayEvents(Duration::from_secs(3)),
        Fault::RepeatEvents,
        Fault::ExpireWatch,
        Fault::expired(),
        Fault::too_many_requests(2),
        Fault::unavailable(),
        Fault::CutBefore,
        Fault::DelayResponse(Duration::from_secs(3)),
        Fault::Delay(Duration::from_secs(60)),
    ] {
        for times in [1, 5] {
            let server = server();
            server.inject_times("watch pods", times, fault.clone());
            let backend = backend(&server);
            let id = create_sandbox(&backend).await.id;
            let life = async {
                for change in 0..3 {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    match change {
                        0 => server.run_pod(id.as_str()),
                        // An event of another Pod comes in between.
                        1 => drop(create_running(&server).await),
                        _ => drop(server.remove("pods", id.as_str())),
                    }
                }
            };
            let (steps, ()) = tokio::join!(observe_steps_until(&backend, &id, Deleted), life);
            let expected = [Created, Scheduled, Started, Addressed, Deleted];
            // Of several steps that pass without a watch, only the last is reported.
            let in_order = expected
                .iter()
                .filter(|step| steps.contains(step))
                .eq(steps.iter());
            assert!(
                in_order && steps.last() == Some(&Deleted),
                "{fault:?} {times}: {steps:?}"
            );
            if times == 1 {
                assert_eq!(steps, expected, "{fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_reveals_a_deletion_that_the_watch_missed() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    server.run_pod(info.id.as_str());
    observe_steps_until(&backend, &info.id, Addressed).await;
    let events = backend.events(&info.id).await.unwrap();
    server.inject("watch pods", Fault::Delay(Duration::from_secs(5)));
    server.cut_watches();
    server.remove("pods", info.id.as_str());
    server.compact_history();
    collect_steps_until(events, Deleted).await;
    assert_eq!(server.count_requests("list pods"), 2);
    assert!(
        backend
            .list(ListFilter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn another_instance_of_the_name_ends_the_wait_for_the_first() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    start_watch(&server, &backend).await;
    let events = backend.events(&info.id).await.unwrap();
    let mut other = server.remove("pods", info.id.as_str()).unwrap();
    other["metadata"]["uid"] = "another".into();
    server.insert("pods", other);
    assert_eq!(
        collect_steps_until(events, Deleted).await,
        [Created, Deleted]
    );
    assert_eq!(
        backend
            .get(&info.id, Freshness::Cached)
            .await
            .unwrap()
            .uid
            .as_str(),
        "another"
    );
}

#[tokio::test(start_paused = true)]
async fn without_permission_to_watch_each_sandbox_is_requested_and_one_warning_logged() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    for refused in ["watch pods", "list pods"] {
        let before = warnings.count();
        let server = server();
        server.inject_always(refused, Fault::Forbidden);
        let backend = backend(&server);
        let info = create_sandbox(&backend).await;
        server.wait_for_requests(refused, 2).await;
        let life = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.run_pod(info.id.as_str());
        };
        tokio::join!(observe_steps_until(&backend, &info.id, Addressed), life);
        server.clear_requests();
        for _ in 0..3 {
            assert_eq!(
                backend
                    .get(&info.id, Freshness::Cached)
                    .await
                    .unwrap()
                    .state,
                SandboxState::Running
            );
        }
        assert_eq!(server.count_requests("get pods"), 3, "{refused}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(warnings.count() - before, 1, "{refused}");
        // The watch is retried now and then.
        assert!(
            (15..25).contains(&server.count_requests(refused)),
            "{refused}: {}",
            server.count_requests(refused)
        );
        server.clear_faults();
        let seen = server.count_requests("watch pods");
        server.wait_for_requests("watch pods", seen + 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.clear_requests();
        backend.get(&info.id, Freshness::Cached).await.unwrap();
        assert_eq!(
            server.count_requests("get pods"),
            0,
            "{refused}: the watch has restarted"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_to_list_is_named() {
    let server = server();
    server.inject_always("list pods", Fault::Forbidden);
    let error = backend(&server)
        .list(ListFilter::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no permission to list pods in the namespace boxes"),
        "{error}"
    );
    assert!(matches!(
        error,
        Error::Backend {
            transient: false,
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_restarted_slowly() {
    for fault in [
        Fault::EndAfter(0),
        Fault::CutLine(0),
        Fault::ExpireWatch,
        Fault::expired(),
    ] {
        let server = server();
        let backend = backend(&server);
        start_watch(&server, &backend).await;
        server.inject_always("watch pods", fault.clone());
        server.cut_watches();
        server.clear_requests();
        tokio::time::sleep(Duration::from_secs(300)).await;
        let asked = server.count_requests("watch pods") + server.count_requests("list pods");
        assert!(asked < 100, "{fault:?}: {asked} requests in five minutes");
        // An expired version stays expired, so it takes a new list.
        let expired = matches!(fault, Fault::ExpireWatch | Fault::Refuse(_));
        assert_eq!(server.count_requests("list pods") > 1, expired, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_etcd_is_noticed() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    create_running(&server).await;
    start_watch(&server, &backend).await;
    let events = backend.events(&info.id).await.unwrap();
    let lists = server.count_requests("list pods");
    server.cut_watches();
    server.restore_backup(3);
    server.run_pod(info.id.as_str());
    assert_eq!(
        collect_steps_until(events, Addressed).await,
        [Created, Scheduled, Started, Addressed]
    );
    assert_eq!(server.count_requests("list pods"), lists + 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_version_is_given_up_unless_a_new_list_returned_it() {
    for fault in [
        Fault::refuse(400, "BadRequest", "invalid resource version"),
        Fault::refuse(422, "Invalid", "resourceVersion: Invalid value"),
        Fault::refuse(504, "Timeout", "Too large resource version: 9, current: 5"),
    ] {
        let server = server();
        let backend = backend(&server);
        let info = create_sandbox(&backend).await;
        start_watch(&server, &backend).await;
        server.inject_always("watch pods", fault.clone());
        server.clear_requests();
        server.cut_watches();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(server.count_requests("list pods"), 1, "{fault:?}");
        server.clear_requests();
        backend.get(&info.id, Freshness::Cached).await.unwrap();
        assert_eq!(
            server.count_requests("get pods"),
            1,
            "{fault:?}: a client without a watch sends a lookup"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_api_server_is_waited_for() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    start_watch(&server, &backend).await;
    let away = async {
        for what in ["watch pods", "list pods", "get pods"] {
            server.inject_always(what, Fault::CutBefore);
        }
        server.cut_watches();
        tokio::time::sleep(Duration::from_secs(20)).await;
        // The cached state is still returned.
        assert_eq!(
            backend.get(&info.id, Freshness::Cached).await.unwrap().uid,
            info.uid
        );
        server.run_pod(info.id.as_str());
        server.compact_history();
        server.clear_faults();
    };
    let (steps, ()) = tokio::join!(observe_steps_until(&backend, &info.id, Addressed), away);
    assert_eq!(steps, [Created, Scheduled, Started, Addressed]);
    assert_eq!(warnings.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_final_state_ends_the_wait_with_the_reason() {
    for (end, expected) in [
        ("evicted", "evicted: The node was low"),
        ("oom", "memory"),
        ("crash", "exit code 3"),
    ] {
        let server = server();
        let backend = backend(&server);
        let info = create_sandbox(&backend).await;
        server.run_pod(info.id.as_str());
        let fails = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match end {
                "evicted" => {
                    server.evict_pod(info.id.as_str(), "The node was low on resource: memory.")
                }
                "oom" => server.end_pod(info.id.as_str(), 137, "OOMKilled"),
                _ => server.end_pod(info.id.as_str(), 3, "Error"),
            }
        };
        tokio::join!(observe_steps_until(&backend, &info.id, Failed), fails);
        let diagnosis = backend.diagnose(&info.id).await.unwrap();
        assert!(
            diagnosis.is_final && diagnosis.summary.contains(expected),
            "{}",
            diagnosis.summary
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_list_is_retried() {
    for fault in [
        Fault::expired(),
        Fault::too_many_requests(2),
        Fault::unavailable(),
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::DelayResponse(Duration::from_secs(40)),
        Fault::refuse(500, "InternalError", "etcdserver: request timed out"),
    ] {
        let server = server();
        let id = create_running(&server).await.id;
        server.clear_requests();
        // One list is the call's, one the watch's.
        server.inject_times("list pods", 2, fault.clone());
        let backend = backend(&server);
        assert_eq!(
            backend.list(ListFilter::default()).await.unwrap().len(),
            1,
            "{fault:?}"
        );
        server.wait_for_requests("watch pods", 1).await;
        observe_steps_until(&backend, &id, Addressed).await;
        server.clear_requests();
        backend.list(ListFilter::default()).await.unwrap();
        assert_eq!(
            server.count_requests("list pods"),
            0,
            "{fault:?}: the list is cached"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_older_than_a_write_of_this_client_does_not_undo_it() {
    let server = server();
    server.inject("list pods", Fault::DelayResponse(Duration::from_secs(5)));
    // Without the delay, the watch would report the sandbox at once.
    server.inject("watch pods", Fault::DelayEvents(Duration::from_secs(1000)));
    let backend = backend(&server);
    // The delayed list shows the state of this moment, before the sandbox exists.
    assert!(backend.events(&"sbx-none".parse().unwrap()).await.is_err());
    server.wait_for_requests("list pods", 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let info = create_sandbox(&backend).await;
    server.wait_for_requests("watch pods", 1).await;
    assert_eq!(backend.list(ListFilter::default()).await.unwrap().len(), 1);
    assert_eq!(
        backend.get(&info.id, Freshness::Cached).await.unwrap().uid,
        info.uid
    );
}
