//! The names by which ssh reaches sandboxes. Ids are unique in one place only: a namespace of a cluster, or a state
//! directory. So the name `<id>.sandbox` is used while only one sandbox with this id is known, and is refused
//! otherwise.

/// A sandbox whose block is written.
pub(super) struct NamedSandbox {
    pub(super) id: String,
    pub(super) uid: String,
    /// The variables of the client, as in the block.
    pub(super) environment: String,
}

/// The length of the beginning of a uid that distinguishes sandboxes.
const SHORT_UID: usize = 8;

/// Variables that do not say where a sandbox is.
const TRANSPORT: &str = "SANDBOX_TRANSPORT";

/// Returns the names of each of these sandboxes, which have the same id. The first name is the one to recommend.
pub(super) fn choose_names(sandboxes: &[NamedSandbox]) -> Vec<Vec<String>> {
    if let [only] = sandboxes {
        let mut names = vec![host_name(&only.id)];
        // A command that says in which namespace stays right when there is another sandbox.
        names.extend(
            find_variable(&only.environment, "SANDBOX_NAMESPACE")
                .map(|_| qualified_names(only).swap_remove(0)),
        );
        return vec![names];
    }
    let candidates: Vec<Vec<String>> = sandboxes.iter().map(qualified_names).collect();
    let is_unique = |name: &String, index: usize| {
        let mut others = candidates.iter().enumerate();
        !others.any(|(other, names)| other != index && names.contains(name))
    };
    let names = candidates.iter().enumerate().map(|(index, names)| {
        let unique = names.iter().filter(|name| is_unique(name, index));
        unique.cloned().collect()
    });
    names.collect()
}

/// The name of a sandbox without its place.
pub(crate) fn host_name(id: &str) -> String {
    format!("{id}.sandbox")
}

/// Returns whether two environments find the same sandboxes.
pub(super) fn is_same_place(one: &str, other: &str) -> bool {
    let words = |environment: &str| -> Vec<String> {
        let start = format!("{TRANSPORT}=");
        let all = environment
            .split(' ')
            .filter(|word| !word.starts_with(&start));
        all.map(str::to_owned).collect()
    };
    words(one) == words(other)
}

/// Returns names that say where a sandbox is, the shortest one first. The last one is unique.
fn qualified_names(sandbox: &NamedSandbox) -> Vec<String> {
    let NamedSandbox {
        id,
        uid,
        environment,
    } = sandbox;
    let variable = |name: &str| {
        find_variable(environment, name)
            .map(to_label)
            .filter(|label| !label.is_empty())
    };
    let mut places = Vec::new();
    match variable("SANDBOX_NAMESPACE") {
        Some(namespace) => {
            let context = variable("SANDBOX_KUBE_CONTEXT");
            let with_context = context.map(|context| format!("{namespace}.{context}"));
            places.push(namespace);
            places.extend(with_context);
        }
        None => places.extend(variable("SANDBOX_BACKEND")),
    }
    let short: String = uid.chars().take(SHORT_UID).collect();
    places.push(to_label(&short));
    if short != *uid {
        places.push(to_label(uid));
    }
    places
        .iter()
        .map(|place| format!("{id}.{place}.sandbox"))
        .collect()
}

/// Reads a value that is quoted as a string literal, without replacing its escapes.
fn find_variable<'a>(environment: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}=\"");
    let words = environment.strip_prefix(&start);
    let rest = words.or_else(|| {
        environment
            .split_once(&format!(" {start}"))
            .map(|(_, rest)| rest)
    })?;
    rest.split('"').next()
}

/// Makes a part of a host name from any text, for example from a context such as `arn:aws:eks:…:cluster/prod`.
fn to_label(text: &str) -> String {
    let character = |character: char| match character {
        'a'..='z' | '0'..='9' => character,
        'A'..='Z' => character.to_ascii_lowercase(),
        _ => '-',
    };
    let label: String = text.chars().map(character).collect();
    label.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_cluster(namespace: &str, context: &str, uid: &str) -> NamedSandbox {
        NamedSandbox {
            id: "web".into(),
            uid: uid.into(),
            environment: format!(
                "SANDBOX_BACKEND=\"k8s\" SANDBOX_NAMESPACE={namespace:?} SANDBOX_TRANSPORT=\"auto\" \
                 SANDBOX_KUBE_CONTEXT={context:?}"
            ),
        }
    }

    fn on_machine(directory: &str, uid: &str) -> NamedSandbox {
        NamedSandbox {
            id: "web".into(),
            uid: uid.into(),
            environment: format!("SANDBOX_BACKEND=\"local\" SANDBOX_STATE_DIR={directory:?}"),
        }
    }

    fn names(sandboxes: &[NamedSandbox]) -> Vec<String> {
        choose_names(sandboxes)
            .iter()
            .map(|names| names.join(" "))
            .collect()
    }

    #[test]
    fn one_sandbox_has_the_short_name() {
        assert_eq!(names(&[on_machine("/s", "u")]), ["web.sandbox"]);
        assert_eq!(
            names(&[on_cluster("one", "kind", "u")]),
            ["web.sandbox web.one.sandbox"]
        );
    }

    #[test]
    fn names_of_several_say_what_distinguishes_them() {
        assert_eq!(
            names(&[
                on_cluster("one", "kind", "0123456789"),
                on_cluster("two", "kind", "abcdefghij")
            ]),
            [
                "web.one.sandbox web.one.kind.sandbox web.01234567.sandbox web.0123456789.sandbox",
                "web.two.sandbox web.two.kind.sandbox web.abcdefgh.sandbox web.abcdefghij.sandbox"
            ]
        );
        let contexts = names(&[
            on_cluster("one", "arn:aws:eks:eu:1:cluster/Prod", "0123456789"),
            on_cluster("one", "", "abcdefghij"),
        ]);
        assert!(contexts[0].starts_with("web.one.arn-aws-eks-eu-1-cluster-prod.sandbox "));
        assert!(contexts[1].starts_with("web.abcdefgh.sandbox "));
        let machines = names(&[
            on_machine("/a", "same-begin-1"),
            on_machine("/b", "same-begin-2"),
        ]);
        assert_eq!(
            machines,
            ["web.same-begin-1.sandbox", "web.same-begin-2.sandbox"]
        );
        let both = names(&[on_machine("/a", "u"), on_cluster("local", "", "v")]);
        assert_eq!(both, ["web.u.sandbox", "web.v.sandbox"]);
    }

    #[test]
    fn the_transport_does_not_say_where_a_sandbox_is() {
        let one = on_cluster("one", "kind", "u").environment;
        assert!(is_same_place(&one, &one.replace("auto", "direct")));
        assert!(!is_same_place(
            &one,
            &on_cluster("two", "kind", "u").environment
        ));
        assert!(!is_same_place(
            &one,
            &on_cluster("one", "other", "u").environment
        ));
        assert!(!is_same_place(
            &on_machine("/a", "u").environment,
            &on_machine("/b", "u").environment
        ));
    }
}
