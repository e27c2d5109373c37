//! Reads the templates of the file.

use std::collections::BTreeSet;

use sandbox::{Egress, HostTransform, NamedUpstream, PoolName};
use serde_json::Value;

use super::reader::Fields;
use super::transform_fields::read_transforms;
use super::upstream_fields::read_upstreams;
use super::{GatewayConfig, Template, TemplatePool};

/// What stands for the network of the backend, in place of rules.
const BACKEND: &str = "backend";

/// Reads `templates`. Those that the file does not name stay as they are.
pub(super) fn read_templates(root: &mut Fields<'_>, config: &mut GatewayConfig) {
    for (name, value) in root.entries("templates") {
        let path = format!("templates.{name}");
        if !is_template_name(&name) {
            root.mistakes().add(
                &path,
                "use letters, digits, dashes, dots, slashes and underscores in the name",
            );
        }
        let template = read_template(Fields::new(path, value, root.mistakes()));
        config.templates.insert(name, template);
    }
    // A name stands for one template only.
    let mut names: BTreeSet<String> = config.templates.keys().cloned().collect();
    for (name, template) in &config.templates {
        for alias in &template.aliases {
            if !is_template_name(alias) || !names.insert(alias.clone()) {
                let mistake = format!("{alias:?} is invalid, or already the name of a template");
                root.mistakes()
                    .add(&format!("templates.{name}.aliases"), &mistake);
            }
        }
    }
}

fn read_template(mut fields: Fields<'_>) -> Template {
    let default = Template::default();
    let (mut egress, mut backend_network) = (None, false);
    match fields.take("egress") {
        None => {}
        Some(Value::String(word)) => {
            if word != BACKEND {
                let mistake =
                    format!("{word:?} is neither a mapping with rules nor the word {BACKEND}");
                fields.refuse::<()>("egress", &mistake);
            }
            backend_network = true;
        }
        Some(value) => {
            let path = fields.place("egress");
            egress = Some(read_egress(Fields::new(path, value, fields.mistakes())));
        }
    }
    let (egress, upstreams, transforms) = match egress {
        None => (None, Vec::new(), Vec::new()),
        Some((rules, upstreams, transforms)) => (Some(rules), upstreams, transforms),
    };
    let template = Template {
        image: fields.text("image"),
        cpu: fields.parsed("cpu"),
        memory: fields.parsed("memory"),
        disk: fields.parsed("disk"),
        pids: fields.count("pids"),
        env: fields.text_map("env").unwrap_or_default(),
        user: fields.text("user"),
        egress,
        backend_network,
        upstreams,
        transforms,
        timeout: fields.duration("timeout").unwrap_or(default.timeout),
        max_lifetime: fields
            .duration("max-lifetime")
            .unwrap_or(default.max_lifetime),
        pool: read_pool(&mut fields),
        aliases: fields.texts("aliases").unwrap_or_default(),
        kubernetes: fields.take("kubernetes"),
    };
    if template.timeout > template.max_lifetime {
        fields.refuse::<()>(
            "timeout",
            "it exceeds max-lifetime; shorten it, or raise max-lifetime",
        );
    }
    if template.egress.is_some() && matches!(template.pool, Some(TemplatePool::Shared { .. })) {
        fields.refuse::<()>(
            "egress",
            "sandboxes of a pool with a name have no rules of the gateway; leave out egress, or use pool: {size: N}",
        );
    }
    if let Err(error) = check_env(&template) {
        fields.refuse::<()>("env", &error.to_string());
    }
    if template
        .kubernetes
        .as_ref()
        .is_some_and(|options| !options.is_object())
    {
        fields.refuse::<()>("kubernetes", "it must be a mapping of names to values");
    }
    fields.finish();
    template
}

/// Reads a preset with rules that allow and deny, upstreams and transforms. Without a preset, only these rules allow anything.
fn read_egress(mut egress: Fields<'_>) -> (Egress, Vec<NamedUpstream>, Vec<HostTransform>) {
    let preset = egress.text("preset");
    let mut rules = match preset.as_deref().map(Egress::from_preset) {
        None => Egress::none(),
        Some(Ok(rules)) => rules,
        Some(Err(error)) => {
            egress.refuse::<()>("preset", &error.to_string());
            Egress::none()
        }
    };
    type Add = fn(Egress, &str) -> sandbox::Result<Egress>;
    for (name, add) in [
        ("allow", Egress::allow as Add),
        ("deny", Egress::deny as Add),
    ] {
        for rule in egress.texts(name).unwrap_or_default() {
            match add(rules.clone(), &rule) {
                Ok(more) => rules = more,
                Err(error) => {
                    egress.refuse::<()>(name, &error.to_string());
                }
            }
        }
    }
    let upstreams = read_upstreams(&mut egress);
    let transforms = read_transforms(&mut egress, &rules, &upstreams);
    egress.finish();
    (rules, upstreams, transforms)
}

fn read_pool(fields: &mut Fields<'_>) -> Option<TemplatePool> {
    let mut pool = fields.fields("pool")?;
    let size = pool.count("size");
    let name: Option<PoolName> = pool.parsed("name");
    let read = match (size, name) {
        (Some(size), None) => Some(TemplatePool::Own {
            size: size as usize,
        }),
        (None, Some(name)) => Some(TemplatePool::Shared {
            name: name.to_string(),
        }),
        (Some(_), Some(_)) => pool.refuse(
            "size",
            "the pool has a name, too: sandbox pool run sets the size of a shared pool",
        ),
        (None, None) => pool.refuse(
            "size",
            "set the size of a pool of this gateway, or the name of a shared one",
        ),
    };
    pool.finish();
    read
}

fn check_env(template: &Template) -> sandbox::Result<()> {
    let mut env = sandbox::Env::default();
    template
        .env
        .iter()
        .try_for_each(|(name, value)| env.set(name, value))
}

fn is_template_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._/:".contains(&byte))
}
