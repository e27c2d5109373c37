//! Secrets of the operator, which sandboxes use and never have: for an upstream that they reach by a name, and for a host that
//! they ask by its own. Both are a server of this machine.

use std::time::Duration;

use http::{Method, StatusCode};
use sandbox::{HostTransform, NamedUpstream};
use sandbox_gateway::{Gateway, GatewayConfig, GatewayError, Template};
use serde_json::{Value, json};

use crate::cases;
use crate::egress::put;
use crate::origin::{Origin, SECRET, has_secret, run};
use crate::support::World;

cases![
    an_upstream_is_used_without_its_secret,
    a_transform_is_used_without_its_secret,
    any_replica_serves_the_upstreams,
    any_replica_serves_the_transforms,
    what_waits_in_a_pool_has_the_upstreams,
    what_waits_in_a_pool_has_the_transforms,
    secrets_that_nothing_would_serve_are_refused,
];

/// How a sandbox uses a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Upstream,
    Transform,
}

impl Use {
    /// The field of a template that has them.
    fn field(self) -> &'static str {
        match self {
            Self::Upstream => "upstreams",
            Self::Transform => "transforms",
        }
    }

    /// The beginning of the variable that programs get.
    fn variable(self) -> &'static str {
        match self {
            Self::Upstream => "ADDRESS_OR_KEY=http://127.0.0.1:",
            Self::Transform => "ADDRESS_OR_KEY=sbx-placeholder-",
        }
    }

    /// The settings of a template with the origin. `more` has further fields.
    fn template(self, origin: &Origin, more: &str) -> String {
        let Origin {
            address,
            authority,
            secret,
            ..
        } = origin;
        let common =
            format!("variables: [ADDRESS_OR_KEY], ca: {authority}, secret: 'file:{secret}'");
        let named = match self {
            Self::Upstream => format!("models: {{url: 'https://{address}/v1', {common}}}"),
            Self::Transform => format!("'localhost:{}': {{{common}}}", address.port()),
        };
        // The address is not public, so a rule has to be about its network.
        let egress = format!(
            "{{allow: ['127.0.0.0/8:*'], {}: {{{named}}}}}",
            self.field()
        );
        format!("templates: {{base: {{egress: {egress}{more}}}}}")
    }

    /// Asks the origin in a sandbox, and returns what is printed.
    async fn ask(self, world: &World, id: &str, origin: &Origin) -> String {
        let (first, request) = match self {
            Self::Upstream => ("", r#"os.environ["ADDRESS_OR_KEY"] + "/chat""#.to_owned()),
            Self::Transform => (
                // Programs ask hosts of their own machine through no proxy.
                "os.environ.pop(\"NO_PROXY\", None), os.environ.pop(\"no_proxy\", None)",
                format!(
                    r#""https://localhost:{}/v1/chat", headers={{"Authorization": "Bearer " + os.environ["ADDRESS_OR_KEY"]}}"#,
                    origin.address.port()
                ),
            ),
        };
        let program = format!(
            r#"python3 -c '
import os, urllib.request
{first}
try:
    request = urllib.request.Request({request})
    print(urllib.request.urlopen(request, timeout=20).read().decode())
except KeyError:
    print("no variable")
except OSError as error:
    print("offline" if "refused" in str(error) or "reset" in str(error) else error)
' "#
        );
        run(world, id, &program).await
    }

    /// What a caller may ask for later, and whether that denies the origin. Who denies everything, or the host of a
    /// transform, denies it; who lists it has it again.
    fn wishes(self, origin: &Origin) -> Vec<(Value, bool)> {
        let all = ["0.0.0.0/0"];
        let host = format!("localhost:{}", origin.address.port());
        let mut wishes = vec![(json!({"denyOut": all}), true), (json!({}), false)];
        if self == Self::Transform {
            let listed = json!({"denyOut": all, "allowOut": [host, "127.0.0.0/8"]});
            wishes.extend([(json!({"denyOut": ["localhost"]}), true), (listed, false)]);
        }
        wishes
    }
}

async fn an_upstream_is_used_without_its_secret() {
    a_secret_is_used_and_not_had(Use::Upstream).await;
}

async fn a_transform_is_used_without_its_secret() {
    a_secret_is_used_and_not_had(Use::Transform).await;
}

async fn a_secret_is_used_and_not_had(by: Use) {
    let origin = Origin::start().await;
    let world = World::start_with(&by.template(&origin, "")).await;
    let id = world.create(json!({})).await;
    assert_eq!(by.ask(&world, &id, &origin).await, "hello\n");
    assert_eq!(origin.count_requests(), 1);
    let everything = "env; cat /proc/[0-9]*/environ .sandbox/* 2>/dev/null";
    let visible = run(&world, &id, everything).await;
    assert!(
        visible.contains(by.variable()) && !visible.contains(SECRET),
        "{visible}"
    );
    assert!(!has_secret(&world.state_dir()));
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await;
    assert!(!format!("{info:?}").contains(SECRET), "{info:?}");

    let mut answered = 1;
    for (wish, is_denied) in by.wishes(&origin) {
        replace(&world, &id, wish).await;
        let said = by.ask(&world, &id, &origin).await;
        if is_denied {
            assert!(said.contains("403"), "{said}");
        } else {
            assert_eq!(said, "hello\n");
            answered += 1;
        }
    }

    // One that was created with nothing can have it later.
    let offline = world.create(json!({"allow_internet_access": false})).await;
    assert_eq!(by.ask(&world, &offline, &origin).await, "no variable\n");
    replace(&world, &offline, json!({})).await;
    assert_eq!(by.ask(&world, &offline, &origin).await, "hello\n");

    // A caller names none.
    let field = by.field();
    let own = json!({"network": {field: {"x.example": {"secret": "none"}}}});
    let refused = world
        .send(Method::POST, "/v2/sandboxes", Some(own))
        .await
        .error(400);
    assert!(refused.contains(&format!("network.{field}")), "{refused}");
    assert_eq!(origin.count_requests(), answered + 1);
    world.clean_up().await;
}

async fn replace(world: &World, id: &str, network: Value) {
    let replaced = put(world, id, network).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
}

async fn any_replica_serves_the_upstreams() {
    let origin = any_replica_serves(Use::Upstream).await;
    assert_eq!(origin.count_requests(), 2);
}

/// The placeholders of another replica are others: what is asked while it begins may have the former one.
async fn any_replica_serves_the_transforms() {
    any_replica_serves(Use::Transform).await;
}

async fn any_replica_serves(by: Use) -> Origin {
    let origin = Origin::start().await;
    let yaml = by.template(&origin, "");
    let mut world = World::start_with(&yaml).await;
    let id = world.create(json!({})).await;
    assert_eq!(by.ask(&world, &id, &origin).await, "hello\n");
    world.stop().await.unwrap();
    assert_eq!(by.ask(&world, &id, &origin).await, "offline\n");
    // Another one serves what it finds, without a request about it.
    world.add_replica(&yaml).await;
    let mut said = String::new();
    for _ in 0..100 {
        said = by.ask(&world, &id, &origin).await;
        if origin.count_requests_with_secret() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(said, "hello\n");
    world.clean_up().await;
    origin
}

async fn what_waits_in_a_pool_has_the_upstreams() {
    what_waits_in_a_pool_has(Use::Upstream).await;
}

async fn what_waits_in_a_pool_has_the_transforms() {
    what_waits_in_a_pool_has(Use::Transform).await;
}

async fn what_waits_in_a_pool_has(by: Use) {
    let origin = Origin::start().await;
    let world = World::start_with(&by.template(&origin, ", pool: {size: 1}")).await;
    let id = world.create(json!({})).await;
    assert_eq!(by.ask(&world, &id, &origin).await, "hello\n");
    let denied = world.create(json!({"allow_internet_access": false})).await;
    let said = by.ask(&world, &denied, &origin).await;
    assert!(said.contains("403") || said == "no variable\n", "{said}");
    assert_eq!(origin.count_requests(), 1);
    world.clean_up().await;
}

/// A file of settings has no words for this, but a program has.
async fn secrets_that_nothing_would_serve_are_refused() {
    let world = World::start().await;
    let mut with_upstream = Template::default();
    with_upstream.backend_network = true;
    with_upstream.upstreams = vec![NamedUpstream::new("models", "https://models.example").unwrap()];
    let mut with_transform = Template::default();
    with_transform.backend_network = true;
    with_transform.transforms = vec![HostTransform::new("models.example").unwrap()];
    for template in [with_upstream, with_transform] {
        let mut config = GatewayConfig::new(([127, 0, 0, 1], 0).into(), world.keys_file());
        config.templates.insert("base".to_owned(), template);
        let refused = Gateway::bind(config, world.client().await).await;
        let Err(GatewayError::Config(mistakes)) = refused else {
            panic!("{refused:?}");
        };
        let [mistake] = mistakes.as_slice() else {
            panic!("{mistakes:?}");
        };
        assert!(
            mistake.starts_with("templates.base: its upstreams"),
            "{mistake}"
        );
    }
}
