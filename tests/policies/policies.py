"""What NetworkPolicies let Pods reach, as rules for nftables. No I/O.

Only the direction `Egress`: rules about what reaches a Pod are left out. A field that is not known here is refused, because
rules that leave out half of a policy would prove the wrong thing.
"""

import ipaddress

TABLE = "inet sandbox_test_policies"
ENDED = ("Succeeded", "Failed")

LOOK_UP = {
    "In": lambda labels, key, values: labels.get(key) in values,
    "NotIn": lambda labels, key, values: labels.get(key) not in values,
    "Exists": lambda labels, key, values: key in labels,
    "DoesNotExist": lambda labels, key, values: key not in labels,
}


class Unsupported(Exception):
    """A policy has something that is not supported here."""


def compile_rules(namespaces, pods, policies):
    """Return the input of `nft -f -` that replaces the table by what these objects of the API server mean."""
    pods = [pod for pod in pods if has_own_network(pod)]
    denied, chains, jumps = set(), [], []
    for policy in sorted(policies, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"])):
        allowed = Allowed(policy, namespaces, pods)
        if not allowed.sources:
            continue
        denied.update(allowed.sources)
        for version, sources in by_version(allowed.sources):
            if lines := allowed.lines(version):
                chains.append(chain(name := f"allow{len(chains)}", lines, allowed.name))
                jumps.append(f"{family(version)} saddr {addresses(sources)} jump {name}")
    drops = [f"{family(version)} saddr {addresses(sources)} counter drop" for version, sources in by_version(denied)]
    # What a Pod answers passes, whoever has asked.
    egress = ["ct state established,related accept", *jumps, *drops]
    hooks = [
        # To the node itself, where the API server may be, and beyond it.
        chain(hook, [f"type filter hook {hook} priority filter; policy accept;", "jump egress"])
        for hook in ("input", "forward")
    ]
    body = "".join([*chains, chain("egress", egress), *hooks])
    # One transaction: there is no moment without rules.
    return f"table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{body}}}\n"


def selects(selector, labels):
    """Tell whether a label selector selects these labels."""
    known(selector, ("matchLabels", "matchExpressions"), "a selector")
    labels = labels or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for requirement in selector.get("matchExpressions") or []:
        known(requirement, ("key", "operator", "values"), "matchExpressions")
        look_up = LOOK_UP.get(requirement["operator"])
        if not look_up:
            raise Unsupported(f"the operator {requirement['operator']} in matchExpressions")
        if not look_up(labels, requirement["key"], requirement.get("values") or []):
            return False
    return True


class Allowed:
    """The Pods that a policy selects, and what it lets them reach."""

    def __init__(self, policy, namespaces, pods):
        self.namespace = policy["metadata"]["namespace"]
        self.name = f"{self.namespace}/{policy['metadata']['name']}"
        self.namespaces, self.pods = namespaces, pods
        self.sources, self.rules = [], []
        spec = policy["spec"]
        try:
            # Of a policy that is about nothing else, `ingress` is not read.
            known(spec, ("podSelector", "policyTypes", "ingress", "egress"), "the spec")
            # The API server fills the types in where they are missing.
            if "Egress" in spec["policyTypes"]:
                self.sources = self.select_pods(spec["podSelector"], {self.namespace})
                self.rules = [self.read_rule(rule) for rule in spec.get("egress") or []]
        except Unsupported as error:
            raise Unsupported(f"the NetworkPolicy {self.name} has {error}, which is not supported here") from None

    def lines(self, version):
        """What is allowed with this version of IP, each a line of a chain that accepts."""
        lines = []
        for peers, ports in self.rules:
            targets = [""] if peers is None else [f"{target} " for of, target in peers if of == version]
            lines += [f"{target}{port}accept" for target in targets for port in ports]
        return lines

    def read_rule(self, rule):
        known(rule, ("to", "ports"), "a rule")
        peers = [target for peer in rule.get("to") or [] for target in self.read_peer(peer)]
        ports = [read_port(port) for port in rule.get("ports") or []]
        return (peers if rule.get("to") else None), (ports or [""])

    def read_peer(self, peer):
        """The targets of one entry of `to`, each with its version of IP."""
        known(peer, ("podSelector", "namespaceSelector", "ipBlock"), "a peer")
        if block := peer.get("ipBlock"):
            known(block, ("cidr", "except"), "an ipBlock")
            version = version_of(block["cidr"])
            target = f"{family(version)} daddr {block['cidr']}"
            if excepted := block.get("except"):
                target += f" {family(version)} daddr != {addresses(excepted)}"
            return [(version, target)]
        names = {self.namespace}
        if (selector := peer.get("namespaceSelector")) is not None:
            names = {one["metadata"]["name"] for one in self.namespaces if selects(selector, labels_of(one))}
        found = self.select_pods(peer.get("podSelector") or {}, names)
        return [(version, f"{family(version)} daddr {addresses(some)}") for version, some in by_version(found)]

    def select_pods(self, selector, namespaces):
        """The addresses of Pods in these namespaces. The selector is checked even if there are none."""
        selects(selector, {})
        return [
            address
            for pod in self.pods
            if pod["metadata"]["namespace"] in namespaces and selects(selector, labels_of(pod))
            for address in addresses_of(pod)
        ]


def read_port(port):
    """What matches one entry of `ports`."""
    known(port, ("port", "protocol"), "a port")
    protocol = port.get("protocol", "TCP")
    if protocol not in ("TCP", "UDP"):
        raise Unsupported(f"the protocol {protocol}")
    if (number := port.get("port")) is None:
        return f"meta l4proto {protocol.lower()} "
    if not isinstance(number, int):
        raise Unsupported(f"the port {number!r}, a name")
    return f"{protocol.lower()} dport {number} "


def known(mapping, fields, where):
    if unknown := sorted(set(mapping) - set(fields)):
        raise Unsupported(f"{', '.join(unknown)} in {where}")


def has_own_network(pod):
    """The address of a Pod that has ended may belong to another, and one on the node's network has that of the node."""
    return pod.get("status", {}).get("phase") not in ENDED and not pod["spec"].get("hostNetwork")


def labels_of(thing):
    return thing["metadata"].get("labels")


def addresses_of(pod):
    status = pod.get("status", {})
    found = {one["ip"] for one in status.get("podIPs") or []} | {status.get("podIP")}
    return sorted(address for address in found if address)


def by_version(found):
    """The addresses of each version of IP that there are."""
    for version in (4, 6):
        if some := [address for address in found if version_of(address) == version]:
            yield version, some


def version_of(text):
    return ipaddress.ip_network(text).version


def family(version):
    return "ip" if version == 4 else "ip6"


def addresses(of):
    return "{ " + ", ".join(sorted(set(of))) + " }"


def chain(name, lines, comment=None):
    head = f"    chain {name} {{{f' # {comment}' if comment else ''}\n"
    return head + "".join(f"        {line}\n" for line in lines) + "    }\n"
