//! Questions about names that no rule decides about.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_egress::{Answer, Ask, EgressOutcome, Limits};

use super::support::World;

/// Gives the answers of the test, and nothing else.
#[derive(Debug, Default)]
struct Answers {
    answers: HashMap<&'static str, Answer>,
    questions: Mutex<Vec<String>>,
    open: AtomicUsize,
}

/// A question that waits for its answer.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Answers {
    fn new(answers: &[(&'static str, Answer)]) -> Arc<Self> {
        Arc::new(Self {
            answers: answers.iter().copied().collect(),
            ..Self::default()
        })
    }

    fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

#[async_trait]
impl Ask for Answers {
    async fn ask(&self, host: &str, port: u16) -> Answer {
        self.questions
            .lock()
            .unwrap()
            .push(format!("{host}:{port}"));
        assert_eq!(self.open.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
        let _open = Open(&self.open);
        tokio::time::sleep(Duration::from_millis(20)).await;
        match self.answers.get(host) {
            Some(answer) => *answer,
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn answers_are_remembered_except_for_one_connection() {
    let world = World::new();
    let answers = Answers::new(&[
        ("once.example", Answer::Once),
        ("always.example", Answer::Always),
        ("never.example", Answer::Never),
    ]);
    for (name, address) in [
        ("once.example", "93.184.216.34"),
        ("always.example", "93.184.216.35"),
        ("never.example", "93.184.216.36"),
    ] {
        world.name(name, &[address]);
    }
    let _once = world.serve("93.184.216.34:22", b"hello").await;
    let _always = world.serve("93.184.216.35:22", b"hello").await;
    let ask = Arc::clone(&answers) as Arc<dyn Ask>;
    let mut proxy = world.proxy_that_asks("none", Limits::default(), ask);
    for (target, status, rule) in [
        ("ONCE.example.:22", "200", "asked: once"),
        ("once.example:22", "200", "asked: once"),
        ("always.example:22", "200", "asked: always"),
        ("Always.example:22", "200", "asked: always"),
        ("never.example:22", "403", "asked: no"),
        ("never.example:22", "403", "the answer was no"),
    ] {
        let (mut inside, line) = proxy.tunnel(target).await;
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status}")),
            "{target}: {line}"
        );
        if status == "200" {
            inside.send(b"hi").await;
            assert_eq!(inside.read(5).await, b"hello");
        }
        let event = proxy.event().await;
        let texts = [event.rule.clone(), event.reason.clone()].map(Option::unwrap_or_default);
        assert!(texts.iter().any(|text| text == rule), "{event:?}");
        drop(inside);
        if event.outcome == EgressOutcome::Opened {
            assert_eq!(proxy.event().await.outcome, EgressOutcome::Closed);
        }
    }
    assert_eq!(
        answers.questions(),
        [
            "once.example:22",
            "once.example:22",
            "always.example:22",
            "never.example:22"
        ]
    );
    // Another port is another question.
    let (_inside, _) = proxy.tunnel("never.example:2222").await;
    assert_eq!(answers.questions().len(), 5);
}

#[tokio::test]
async fn only_a_rule_that_is_missing_is_asked_for() {
    let world = World::new();
    let answers = Answers::new(&[("private.example", Answer::Always)]);
    world.name("private.example", &["10.0.0.1"]);
    let ask = Arc::clone(&answers) as Arc<dyn Ask>;
    let mut proxy = world.proxy_that_asks(
        "none +good.example:443 -*.evil.example within internet",
        Limits::default(),
        ask,
    );
    for target in [
        "a.evil.example:443",
        "10.0.0.1:443",
        "1.1.1.1:443",
        "2130706433:80",
        "a%1b[2J.example:443",
        // The limit does not allow this port, whatever is answered.
        "b.example:22",
    ] {
        let (_inside, line) = proxy.tunnel(target).await;
        assert!(line.starts_with("HTTP/1.1 40"), "{target}: {line}");
    }
    assert!(answers.questions().is_empty(), "{:?}", answers.questions());
    // An answer makes up for a rule about the name, and not for one about its address.
    let (_inside, line) = proxy.tunnel("private.example:443").await;
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
    let event = loop {
        let event = proxy.event().await;
        if event.host == "private.example" {
            break event;
        }
    };
    assert!(event.reason.unwrap().contains("private address"));
    assert!(world.dials.lock().unwrap().is_empty());
}

#[tokio::test]
async fn connections_for_one_name_are_one_question_and_too_many_are_refused() {
    let world = World::new();
    let answers = Answers::new(&[("always.example", Answer::Always)]);
    world.name("always.example", &["93.184.216.35"]);
    let _server = world.serve("93.184.216.35:22", b"hello").await;
    let mut limits = Limits::default();
    limits.ask = Duration::from_millis(500);
    let ask = Arc::clone(&answers) as Arc<dyn Ask>;
    let proxy = world.proxy_that_asks("none", limits, ask);
    let connect = |target: &str| {
        let (target, inside) = (target.to_owned(), proxy.connect());
        async move {
            let mut inside = inside;
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            inside.send(request.as_bytes()).await;
            (inside.head().await, inside)
        }
    };
    let (one, two, three) = tokio::join!(
        connect("always.example:22"),
        connect("always.example:22"),
        connect("always.example:22")
    );
    for (head, _) in [&one, &two, &three] {
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    assert_eq!(answers.questions(), ["always.example:22"]);

    // No answer is given about these. They wait for their turn, and are refused when their time is over.
    let flood = futures(40, |number| connect(&format!("n{number}.example:443"))).await;
    for head in &flood {
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    }
    assert!(answers.questions().len() < 5, "{:?}", answers.questions());
    // A rule needs no question.
    proxy
        .proxy
        .update("none +always.example:22".parse().unwrap())
        .unwrap();
    let (head, _) = connect("always.example:22").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // What was allowed by an answer ends when a rule denies it.
    proxy
        .proxy
        .update("none -always.example".parse().unwrap())
        .unwrap();
    let (_, mut inside) = one;
    inside.rest_bytes().await;
    let (head, _) = connect("always.example:22").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

/// Runs `count` futures at once, and returns the heads that they got.
async fn futures<F, T>(count: usize, start: impl Fn(usize) -> F) -> Vec<String>
where
    F: Future<Output = (String, T)> + Send + 'static,
    T: Send + 'static,
{
    let running: Vec<_> = (0..count)
        .map(|number| tokio::spawn(start(number)))
        .collect();
    let mut heads = Vec::new();
    for one in running {
        heads.push(one.await.unwrap().0);
    }
    heads
}
