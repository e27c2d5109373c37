//! Pauses by this client, while the watch lags.

use super::*;

#[test]
fn an_own_pause_is_visible_until_the_watch_shows_what_followed() {
    let paused = |version: &str| PodView {
        is_marked_paused: true,
        ..a(version, "Running")
    };
    let mut run = Run::with_pods([a("1", "Running")]);
    run.record_write(paused("3"));
    assert!(run.view("sbx-a").is_marked_paused);
    // What the kubelet reported before is shown only now.
    run.apply(Event::Apply(PodView {
        address: Some([10, 0, 0, 1].into()),
        ..a("2", "Running")
    }));
    let view = run.view("sbx-a");
    assert!(view.is_marked_paused && view.address.is_some());
    // It is resumed before the watch has shown the pause.
    run.record_write(a("4", "Running"));
    assert!(!run.view("sbx-a").is_marked_paused);
    run.apply(Event::Apply(paused("3")));
    assert!(!run.view("sbx-a").is_marked_paused);
    run.apply(Event::Apply(a("4", "Running")));
    assert!(!run.view("sbx-a").is_marked_paused);
    // From now on the watch decides.
    run.apply(Event::Apply(paused("5")));
    assert!(run.view("sbx-a").is_marked_paused);
}
