"""Network policies of Harbor as egress rules (docs/EGRESS.md)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from harbor.models.task.config import NetworkMode, NetworkPolicy

ENTRY_KINDS = ("hostnames", "wildcard_hostnames", "ipv4_addresses", "ipv6_addresses", "ipv4_cidrs", "ipv6_cidrs")
"""The kinds of entries of an allow-list, as the capabilities of an environment name them: all have a rule."""


def egress_rules(policy: NetworkPolicy, public: str, further: Sequence[str]) -> dict[str, Any]:
    """The preset and the rules of a policy, as ``AsyncClient.create`` and ``AsyncSandbox.update_egress`` take them.

    :param public: the preset for a public network.
    :param further: rules of the user that are added to those of an allow-list.
    :raises ValueError: the list names this machine, which carries the connections.
    """
    if policy.network_mode == NetworkMode.PUBLIC:
        return {"egress": public}
    if policy.network_mode == NetworkMode.NO_NETWORK:
        return {"egress": "none"}
    return {"egress": "none", "egress_allow": [rule(entry) for entry in policy.allowed_hosts] + list(further)}


def rule(entry: str) -> str:
    """The rule for an entry of an allow-list, which is about all ports of a host."""
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return f"{entry}:*"  # a name
    if network.is_loopback or network.is_link_local or network.is_unspecified:
        raise ValueError(
            f"the task may not reach {entry}, which would be this machine or its metadata service; if that is meant, "
            "use the option egress_allow"
        )
    return f"[{entry}]:*" if network.version == 6 else f"{entry}:*"
