use super::*;
use proptest::prelude::*;

fn check_name(egress: &Egress, name: &str, port: u16) -> Result<String, String> {
    let name = HostName::parse(name).unwrap();
    let checked = egress.check_name(&name, port);
    checked
        .map(|rule| rule.to_string())
        .map_err(|refusal| refusal.reason)
}

fn is_allowed(egress: &Egress, address: &str, port: u16) -> bool {
    let address = address.parse().unwrap();
    egress.check_literal(address, port, &[]).is_ok()
}

fn is_allowed_for_a_name(egress: &Egress, address: &str) -> bool {
    egress
        .check_resolved(address.parse().unwrap(), 443, &[])
        .is_ok()
}

fn read(text: &str) -> Egress {
    text.parse().unwrap()
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    let none = Egress::none();
    assert!(none.is_none());
    assert_eq!(
        check_name(&none, "example.com", 443).unwrap_err(),
        "no rule allows it (preset none)"
    );
    assert!(!is_allowed(&none, "1.1.1.1", 443));
}

#[test]
fn names_are_allowed_exactly_or_below_a_domain() {
    let egress = read("none +example.com +*.example.org:8443");
    assert_eq!(
        check_name(&egress, "example.com", 443).unwrap(),
        "allow example.com"
    );
    for (name, port) in [
        ("www.example.com", 443),
        ("example.com", 8443),
        ("example.org", 8443),
        ("a.example.org", 443),
        ("notexample.com", 443),
        ("example.com.evil.example", 443),
    ] {
        assert!(check_name(&egress, name, port).is_err(), "{name}:{port}");
    }
    assert!(check_name(&egress, "a.b.example.org", 8443).is_ok());
}

#[test]
fn a_rule_that_denies_wins() {
    let egress = read("internet -*.evil.example -10.0.0.0/8 -1.1.1.0/24 +1.1.1.1 +10.0.0.1");
    assert!(check_name(&egress, "good.example", 443).is_ok());
    assert_eq!(
        check_name(&egress, "a.evil.example", 443).unwrap_err(),
        "the rule \"deny *.evil.example\" denies it"
    );
    assert!(!is_allowed(&egress, "1.1.1.1", 443));
    assert!(!is_allowed(&egress, "10.0.0.1", 443));
    assert!(!is_allowed_for_a_name(&egress, "1.1.1.1"));
}

#[test]
fn an_address_needs_a_rule_about_its_network() {
    assert!(!is_allowed(&Egress::internet(), "1.1.1.1", 443));
    let egress = read("none +1.1.1.0/24");
    assert!(is_allowed(&egress, "1.1.1.1", 443));
    assert!(is_allowed(&egress, "::ffff:1.1.1.1", 443));
    assert!(!is_allowed(&egress, "1.1.1.1", 53));
    assert!(!is_allowed(&egress, "1.1.2.1", 443));
}

#[test]
fn special_addresses_need_a_rule_about_a_part_of_their_network() {
    let all = read("none +* +0.0.0.0/0:* +::/0");
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1",
    ] {
        assert!(!is_allowed_for_a_name(&all, address), "{address}");
        assert!(!is_allowed(&all, address, 443), "{address}");
    }
    assert!(is_allowed_for_a_name(&all, "64:ff9b::101:101"));
    let private = read("none +10.1.0.0/16 +127.0.0.1");
    assert!(is_allowed_for_a_name(&private, "10.1.2.3"));
    assert!(is_allowed_for_a_name(&private, "::ffff:10.1.2.3"));
    assert!(!is_allowed_for_a_name(&private, "10.2.2.3"));
    assert!(is_allowed_for_a_name(&private, "127.0.0.1"));
    assert!(!is_allowed_for_a_name(&private, "127.0.0.2"));
}

#[test]
fn open_allows_private_networks_but_not_the_own_machine() {
    let open = Egress::open();
    for address in [
        "10.0.0.1",
        "192.168.1.1",
        "1.1.1.1",
        "fd00::1",
        "100.64.0.1",
        "2606:4700::1",
    ] {
        assert!(is_allowed(&open, address, 5432), "{address}");
    }
    for address in [
        "127.0.0.1",
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "::1",
        "0.0.0.0",
    ] {
        assert!(!is_allowed(&open, address, 80), "{address}");
    }
    assert!(is_allowed(
        &read("open +169.254.169.254"),
        "169.254.169.254",
        80
    ));
}

#[test]
fn further_addresses_need_a_rule_of_their_own() {
    let server: IpAddr = "10.0.0.1".parse().unwrap();
    let check = |egress: Egress| egress.check_literal(server, 443, &[server]).is_ok();
    assert!(!check(Egress::open()));
    assert!(!check(read("none +10.0.0.0/8")));
    assert!(check(read("none +10.0.0.1:443")));
}

#[test]
fn a_set_of_rules_can_be_written_and_read() {
    let egress = read("packages, +a.example:*  -10.0.0.0/8");
    assert_eq!(egress.to_string(), "packages +a.example:* -10.0.0.0/8");
    assert_eq!(read(&egress.to_string()), egress);
    for text in ["", "most", "none a.example", "none +", "packages -"] {
        assert!(text.parse::<Egress>().is_err(), "{text}");
    }
}

#[test]
fn presets_allow_what_they_are_for() {
    let packages = Egress::packages();
    assert_eq!(
        check_name(&packages, "pypi.org", 443).unwrap(),
        "packages: allow pypi.org"
    );
    for name in [
        "github.com",
        "pypi.org.evil.example",
        "www.pypi.org",
        "example.com",
    ] {
        assert!(check_name(&packages, name, 443).is_err(), "{name}");
    }
    assert!(check_name(&Egress::internet(), "anything.example", 443).is_ok());
    assert!(check_name(&Egress::internet(), "anything.example", 22).is_err());
    assert!(check_name(&Egress::open(), "anything.example", 22).is_ok());
}

#[test]
fn rules_within_others_allow_what_both_allow() {
    let limit = read("packages +10.0.0.0/8 -*.pythonhosted.org");
    let wish = read("none +pypi.org +files.pythonhosted.org +example.com +10.1.0.0/16:*");
    assert_eq!(wish.find_excess(&limit), Some("example.com"));
    let rules = wish.within(limit);
    assert!(check_name(&rules, "pypi.org", 443).is_ok());
    let refused = check_name(&rules, "files.pythonhosted.org", 443).unwrap_err();
    assert!(refused.contains("deny *.pythonhosted.org"), "{refused}");
    assert!(check_name(&rules, "example.com", 443).is_err());
    assert!(check_name(&rules, "registry.npmjs.org", 443).is_err());
    assert!(is_allowed(&rules, "10.1.2.3", 443));
    assert!(!is_allowed(&rules, "10.1.2.3", 22));
    assert!(!is_allowed(&rules, "10.2.0.0", 443));
    assert_eq!(rules.to_string().parse::<Egress>().unwrap(), rules);
    assert!(read("open within none").is_none());
    assert!(!read("open within internet").is_none());
    // A wide network does not allow a special one that is part of it.
    let metadata = read("none +169.254.169.254").within(read("none +0.0.0.0/0 +169.254.0.0/16"));
    assert!(!is_allowed(&metadata, "169.254.169.254", 80));
    // Limits add up.
    let twice = read("open")
        .within(Egress::internet())
        .within(Egress::packages());
    assert!(check_name(&twice, "example.com", 443).is_err());
    assert!(check_name(&twice, "pypi.org", 443).is_ok());
}

#[test]
fn what_exceeds_other_rules_is_named() {
    for (limit, wish, excess) in [
        ("internet", "none +a.example +*.b.example:443", None),
        ("internet", "none +*", None),
        ("internet", "none +*:*", Some("*:*")),
        ("internet", "none +a.example:22", Some("a.example:22")),
        ("internet", "none +1.1.1.1", Some("1.1.1.1")),
        ("open", "none +*:* +1.1.1.1:53 +10.0.0.0/16:*", None),
        ("none +*.a.example", "none +a.example", Some("a.example")),
        (
            "none +*.a.example",
            "none +*.b.a.example +*.a.example",
            None,
        ),
        (
            "none +*.b.a.example",
            "none +*.a.example",
            Some("*.a.example"),
        ),
        ("none +a.example", "none +*", Some("*")),
        // Ports may be allowed by several rules.
        ("none +a.example:80 +a.example:443", "none +a.example", None),
        ("none +a.example:80", "none +a.example", Some("a.example")),
        ("none +10.0.0.0/8", "none +10.0.0.0/7", Some("10.0.0.0/7")),
        ("none +0.0.0.0/0:*", "none +::/0", Some("::/0")),
        (
            "open within packages",
            "none +pypi.org +example.com",
            Some("example.com"),
        ),
        ("none", "none -example.com", None),
    ] {
        assert_eq!(
            read(wish).find_excess(&read(limit)),
            excess,
            "{wish} in {limit}"
        );
    }
}

proptest! {
    /// No text makes the parsers panic, and what they accept is in normal form.
    #[test]
    fn any_text_is_accepted_in_normal_form_or_refused(text in "\\PC{0,40}|[0-9a-fx.:\\[\\]%*/]{0,24}") {
        drop(text.parse::<Egress>());
        drop(Rule::parse(&text));
        if let Ok(target) = name::Target::parse(&text, Some(80)) {
            let again = name::Target::parse(&target.to_string(), None);
            prop_assert_eq!(again, Ok(target));
        }
    }

    /// An allowed address is the same in both of its forms.
    #[test]
    fn mapped_addresses_are_their_ipv4_addresses(bits: u32) {
        let address = std::net::Ipv4Addr::from(bits);
        for egress in [Egress::open(), read("none +0.0.0.0/0")] {
            let plain = egress.check_literal(address.into(), 443, &[]);
            let mapped = egress.check_literal(address.to_ipv6_mapped().into(), 443, &[]);
            prop_assert_eq!(plain, mapped);
        }
    }
}

#[test]
fn rules_that_allow_nearly_everything_are_found() {
    for (rules, open) in [
        ("none", None),
        ("packages +api.example.com +*.example.org:*", None),
        ("none +10.0.0.0/8:* +[fc00::/7]:*", None),
        ("internet", Some("*")),
        ("open", Some("*:*")),
        ("none +*:8443", Some("*:8443")),
        ("none +0.0.0.0/1 -example.com", Some("0.0.0.0/1")),
        ("none +[2000::/3]:443", Some("[2000::/3]:443")),
        ("internet within packages", None),
        ("internet within none +*:443", Some("*")),
    ] {
        let parsed: Egress = rules.parse().unwrap();
        assert_eq!(parsed.find_open_rule(), open, "{rules}");
    }
}
