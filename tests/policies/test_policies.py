"""What rules NetworkPolicies become: python3 -m unittest discover tests/policies"""

import unittest

from policies import TABLE, Unsupported, compile_rules, selects

NAMESPACES = [{"metadata": {"name": name, "labels": {"team": name}}} for name in ("boxes", "dns", "others")]


def pod(name, address, labels=None, namespace="boxes", phase="Running", **spec):
    status = {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]} if address else {"phase": "Pending"}
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec, "status": status}


def policy(selector, egress=None, types=("Egress",), name="one", **spec):
    if egress is not None:
        spec["egress"] = egress
    return {
        "metadata": {"name": name, "namespace": "boxes"},
        "spec": {"podSelector": selector, "policyTypes": list(types), **spec},
    }


PODS = [
    pod("a", "10.0.0.1", {"app": "a", "role": "x"}),
    pod("b", "10.0.0.2", {"app": "b"}),
    pod("dns", "10.0.0.3", {"app": "dns"}, namespace="dns"),
    pod("other", "10.0.0.4", {"app": "a"}, namespace="others"),
    # These have no address of their own.
    pod("new", None, {"app": "a"}),
    pod("ended", "10.0.0.2", {"app": "a"}, phase="Succeeded"),
    pod("host", "192.168.0.1", {"app": "a"}, hostNetwork=True),
]
A = {"matchLabels": {"app": "a"}}


def rules(*policies, pods=None):
    """The lines about Pods."""
    lines = compile_rules(NAMESPACES, PODS if pods is None else pods, policies).splitlines()
    found = [line.strip() for line in lines]
    return [line for line in found if line.endswith(("accept", "drop")) and not line.startswith("ct state") or " jump allow" in line]


class Selectors(unittest.TestCase):
    def test_operators(self):
        labels = {"app": "a", "empty": ""}
        for requirement, expected in [
            (("app", "In", ["a", "b"]), True),
            (("app", "In", ["b"]), False),
            (("none", "In", ["a"]), False),
            (("app", "NotIn", ["b"]), True),
            (("app", "NotIn", ["a"]), False),
            # As Kubernetes has it.
            (("none", "NotIn", ["a"]), True),
            (("empty", "Exists", None), True),
            (("none", "Exists", None), False),
            (("none", "DoesNotExist", None), True),
            (("empty", "DoesNotExist", None), False),
        ]:
            selector = {"matchExpressions": [dict(zip(("key", "operator", "values"), requirement))]}
            self.assertEqual(selects(selector, labels), expected, requirement)
            # All of them have to hold.
            self.assertEqual(selects({**selector, "matchLabels": {"app": "a"}}, labels), expected, requirement)
            self.assertFalse(selects({**selector, "matchLabels": {"app": "b"}}, labels), requirement)

    def test_an_empty_one_selects_everything(self):
        self.assertTrue(selects({}, {}) and selects({}, None) and selects({}, {"app": "a"}))


class Rules(unittest.TestCase):
    def test_nothing_is_allowed(self):
        for egress in (None, []):
            self.assertEqual(rules(policy(A, egress)), ["ip saddr { 10.0.0.1 } counter drop"])
        self.assertEqual(rules(policy({}, [])), ["ip saddr { 10.0.0.1, 10.0.0.2 } counter drop"])

    def test_what_no_policy_selects_is_left_alone(self):
        self.assertEqual(rules(), [])
        self.assertEqual(rules(policy({"matchLabels": {"app": "none"}})), [])
        self.assertEqual(rules(policy(A, types=["Ingress"], ingress=[{"from": []}])), [])
        self.assertEqual(rules(policy(A), pods=[]), [])

    def test_policies_add_up(self):
        more = policy({"matchLabels": {"role": "x"}}, [{"ports": [{"port": 443}]}], name="two")
        self.assertEqual(
            rules(policy(A), more),
            ["tcp dport 443 accept", "ip saddr { 10.0.0.1 } jump allow0", "ip saddr { 10.0.0.1 } counter drop"],
        )

    def test_everything_that_deploy_uses(self):
        kube_dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "dns"}}}
        ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
        boxes = {"podSelector": {"matchLabels": {"app": "b"}}}
        blocks = [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.0.0/16"]}},
            {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7"]}},
        ]
        found = rules(
            policy(A, [{"to": [kube_dns], "ports": ports}, {"to": blocks}, {"to": [boxes], "ports": [{"port": 22}]}]),
            pods=[*PODS, pod("six", "fd00::1", {"app": "a"})],
        )
        self.assertEqual(
            found,
            [
                "ip daddr { 10.0.0.3 } udp dport 53 accept",
                "ip daddr { 10.0.0.3 } tcp dport 53 accept",
                "ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8, 192.168.0.0/16 } accept",
                "ip daddr { 10.0.0.2 } tcp dport 22 accept",
                "ip6 daddr ::/0 ip6 daddr != { fc00::/7 } accept",
                "ip saddr { 10.0.0.1 } jump allow0",
                "ip6 saddr { fd00::1 } jump allow1",
                "ip saddr { 10.0.0.1 } counter drop",
                "ip6 saddr { fd00::1 } counter drop",
            ],
        )

    def test_peers(self):
        for peer, expected in [
            # Its own namespace, one by its labels, all of them.
            ({"podSelector": {}}, "10.0.0.1, 10.0.0.2"),
            ({"namespaceSelector": {"matchLabels": {"team": "others"}}}, "10.0.0.4"),
            ({"namespaceSelector": {}, "podSelector": A}, "10.0.0.1, 10.0.0.4"),
        ]:
            first = rules(policy(A, [{"to": [peer]}]))[0]
            self.assertEqual(first, f"ip daddr {{ {expected} }} accept")
        # Without `to`, everything; Pods that do not exist are not everything.
        self.assertEqual(rules(policy(A, [{}]))[0], "accept")
        nothing = [{"to": [{"podSelector": {"matchLabels": {"app": "none"}}}]}]
        self.assertEqual(rules(policy(A, nothing)), ["ip saddr { 10.0.0.1 } counter drop"])

    def test_what_is_not_known_is_refused(self):
        gt = {"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}
        for wrong, said in [
            (policy(A, [{"ports": [{"port": 1, "endPort": 9}]}]), "endPort in a port"),
            (policy(A, [{"ports": [{"port": "http"}]}]), "the port 'http', a name"),
            (policy(A, [{"ports": [{"port": 1, "protocol": "SCTP"}]}]), "the protocol SCTP"),
            (policy(A, [{"to": [{"service": {}}]}]), "service in a peer"),
            (policy(A, [{"via": []}]), "via in a rule"),
            (policy(A, priority=1), "priority in the spec"),
            (policy(gt), "the operator Gt"),
            (policy({"matchFields": []}), "matchFields in a selector"),
        ]:
            # Also while it selects nothing.
            for pods in (PODS, []):
                with self.assertRaises(Unsupported) as raised:
                    rules(wrong, pods=pods)
                self.assertIn(said, str(raised.exception))
                self.assertIn("NetworkPolicy boxes/one", str(raised.exception))

    def test_the_table_is_replaced_at_once(self):
        lines = compile_rules(NAMESPACES, PODS, [policy(A)]).splitlines()
        self.assertEqual(lines[:3], [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"])
        found = [line.strip() for line in lines]
        # Answers come before anything that drops.
        self.assertLess(found.index("ct state established,related accept"), found.index("ip saddr { 10.0.0.1 } counter drop"))
        for hook in ("input", "forward"):
            self.assertIn(f"type filter hook {hook} priority filter; policy accept;", found)


if __name__ == "__main__":
    unittest.main()
