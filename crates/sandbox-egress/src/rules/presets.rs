//! Sets of rules with a name.

/// The names of the presets, from the most to the least strict.
pub const PRESETS: &[&str] = &["none", "packages", "internet", "open"];

/// Rules that allow what a preset is for.
pub(super) fn find_preset(name: &str) -> Option<(&'static str, &'static [&'static str])> {
    Some(match name {
        "none" => ("none", &[]),
        "packages" => ("packages", PACKAGES),
        "internet" => ("internet", INTERNET),
        "open" => ("open", OPEN),
        _ => return None,
    })
}

/// Names alone: an address has none that a denying rule could refuse.
const INTERNET: &[&str] = &["*"];

/// Everything that is not the client's own machine, its link, or a cloud's metadata service.
const OPEN: &[&str] = &[
    "*:*",
    "0.0.0.0/0:*",
    "[::/0]:*",
    "10.0.0.0/8:*",
    "100.64.0.0/10:*",
    "172.16.0.0/12:*",
    "192.168.0.0/16:*",
    "[fc00::/7]:*",
];

/// The indexes of packages that people use, with the hosts that serve the packages. Hosts at which anybody can store what
/// they like (GitHub, container registries, buckets) are not among them: they would be a way out for data.
const PACKAGES: &[&str] = &[
    // Python: https://warehouse.pypa.io/api-reference/
    "pypi.org",
    "files.pythonhosted.org",
    // JavaScript.
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    // Rust: https://doc.rust-lang.org/cargo/reference/registry-index.html
    "index.crates.io",
    "static.crates.io",
    // Go: https://proxy.golang.org/
    "proxy.golang.org",
    "sum.golang.org",
    // Ruby.
    "rubygems.org",
    "index.rubygems.org",
    // Java.
    "repo.maven.apache.org",
    "repo1.maven.org",
    // Debian.
    "deb.debian.org",
    "security.debian.org",
    // Ubuntu, with the mirrors of countries.
    "archive.ubuntu.com",
    "*.archive.ubuntu.com",
    "security.ubuntu.com",
    "ports.ubuntu.com",
    // Alpine.
    "dl-cdn.alpinelinux.org",
];

#[cfg(test)]
mod tests {
    use super::super::rule::Rule;
    use super::*;

    #[test]
    fn all_presets_exist_and_all_their_rules_can_be_read() {
        for name in PRESETS {
            let (found, rules) = find_preset(name).unwrap();
            assert_eq!(found, *name);
            for rule in rules {
                Rule::parse(rule).unwrap();
            }
        }
        assert!(find_preset("None").is_none());
    }
}
