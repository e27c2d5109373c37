"""The options of new sandboxes, and of those that are taken from pools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from ._arguments import Args, Duration, argv, seconds, texts
from ._checks import optional_number, optional_text, text, whole_number
from ._host_transform import HostTransform
from ._upstream import Upstream

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TakeOptions(TypedDict, total=False):
    """The options of a sandbox that exists already, as :meth:`Pool.take` has them."""

    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    env: Mapping[str, str] | None
    secret_env: Mapping[str, str] | None
    init: Iterable[str | Args]
    ttl: Duration | None
    on_expiry: str | None


class EgressOptions(TypedDict, total=False):
    """What a sandbox may reach."""

    egress: str | None
    egress_allow: Iterable[str]
    egress_deny: Iterable[str]


class CreateOptions(TakeOptions, EgressOptions, total=False):
    """The options of a new sandbox, as :meth:`Client.create` has them."""

    name: str | None
    image: str | None
    cpu: str | int | float | None
    memory: str | int | None
    disk: str | int | None
    pids: int | None
    max_lifetime: Duration | None
    idle_timeout: Duration | None
    create_timeout: Duration | None
    detached: bool
    egress_upstreams: Iterable[Upstream]
    egress_transforms: Iterable[HostTransform]
    egress_unverified: bool
    backend_options: Mapping[str, Any] | None


def create_options(**given: Unpack[CreateOptions]) -> dict[str, Any]:
    options = _convert(given, _CREATE)
    options["egress"] = {name: options.pop(name) for name in _EGRESS}
    return options


def take_options(**given: Unpack[TakeOptions]) -> dict[str, Any]:
    return _convert(given, _TAKE)


def egress_options(**given: Unpack[EgressOptions]) -> dict[str, Any]:
    return _convert(given, _EGRESS)


def pool_options(
    size: int,
    max_size: int | None,
    max_age: Duration | None,
    concurrency: int | None,
    on_empty: str | Duration,
) -> dict[str, Any]:
    return {
        "size": whole_number(size, "size", 1),
        "max_size": optional_number(max_size, "max_size"),
        "max_age": seconds(max_age, "max_age"),
        "concurrency": optional_number(concurrency, "concurrency"),
        **claim_options(on_empty),
    }


def claim_options(on_empty: str | Duration | None) -> dict[str, Any]:
    return {"on_empty": on_empty if isinstance(on_empty, str) else seconds(on_empty, "on_empty")}


def _convert(given: Mapping[str, Any], converters: Mapping[str, Callable[[Any, str], Any]]) -> dict[str, Any]:
    """All options in the native form; those that are missing as if they were ``None``."""
    for name in given:
        if name not in converters:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(sorted(converters))}")
    return {name: convert(given.get(name), name) for name, convert in converters.items()}


def _amount(value: str | int | float | None, name: str) -> str | None:
    """An amount in Kubernetes' notation; a number stands for itself."""
    return None if value is None else str(value)


def _flag(value: bool | None, name: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return value


def _rules(rules: Iterable[str] | None, name: str) -> list[str]:
    if isinstance(rules, (str, bytes)):
        raise TypeError(f"{name} must be a list of rules: {name}=[...]")
    return [text(rule, f"a rule of {name}") for rule in rules or ()]


def upstream_list(upstreams: Iterable[Upstream] | None, name: str = "egress_upstreams") -> list[Upstream]:
    return _list_of(Upstream, upstreams, name)


def transform_list(transforms: Iterable[HostTransform] | None, name: str = "egress_transforms") -> list[HostTransform]:
    return _list_of(HostTransform, transforms, name)


_Item = TypeVar("_Item")


def _list_of(kind: type[_Item], items: Iterable[_Item] | None, name: str) -> list[_Item]:
    if isinstance(items, (str, bytes, kind)):
        raise TypeError(f"{name} must be a list: {name}=[{kind.__name__}(...)]")
    found = list(items or ())
    for item in found:
        if not isinstance(item, kind):
            raise TypeError(f"{name} must be a list of {kind.__name__}, not of {type(item).__name__}")
    return found


def _init_commands(init: Iterable[str | Args] | None, name: str) -> list[str | list[bytes]]:
    if isinstance(init, (str, bytes)):
        raise TypeError(f"{name} must be a list of commands: {name}=[...]")
    return [command if isinstance(command, str) else argv(command) for command in init or ()]


def _json(options: Mapping[str, Any] | None, name: str) -> dict[str, str]:
    import json

    return {backend: json.dumps(values) for backend, values in (options or {}).items()}


_TAKE: dict[str, Callable[[Any, str], Any]] = {
    "labels": texts,
    "annotations": texts,
    "env": texts,
    "secret_env": texts,
    "init": _init_commands,
    "ttl": seconds,
    "on_expiry": optional_text,
}
_EGRESS: dict[str, Callable[[Any, str], Any]] = {
    "egress": optional_text,
    "egress_allow": _rules,
    "egress_deny": _rules,
}
_CREATE: dict[str, Callable[[Any, str], Any]] = {
    "name": optional_text,
    "image": optional_text,
    "cpu": _amount,
    "memory": _amount,
    "disk": _amount,
    "pids": optional_number,
    "max_lifetime": seconds,
    "idle_timeout": seconds,
    "create_timeout": seconds,
    "detached": _flag,
    "egress_upstreams": upstream_list,
    "egress_transforms": transform_list,
    "egress_unverified": _flag,
    "backend_options": _json,
    **_TAKE,
    **_EGRESS,
}
