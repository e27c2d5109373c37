"""Callbacks for steps of a creation, and progress of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._checks import callback
from .types import EventCallback, ProgressCallback, SandboxEvent, TransferProgress

Report = Callable[[dict[str, Any]], object]


def event_report(on_event: EventCallback | None) -> Report | None:
    if on_event is None:
        return None
    function = callback(on_event, "on_event")
    return lambda record: function(SandboxEvent._from(record))


@contextmanager
def progress_report(progress: ProgressCallback | bool | None, title: str) -> Iterator[Report | None]:
    """What a transfer reports to: the caller's function, or with ``True`` a bar of tqdm, if that is installed."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with _bar(title) as report:
            yield report
    else:
        function = callback(progress, "progress")
        yield lambda record: function(TransferProgress(**record))


@contextmanager
def _bar(title: str) -> Iterator[Report | None]:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError:
        import logging

        logging.getLogger("sandbox_sdk").warning(
            "no progress is shown, because tqdm is not installed; pip install 'sandbox-sdk[progress]'"
        )
        yield None
        return
    with tqdm(desc=title, unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def update(record: dict[str, Any]) -> None:
            bar.total = record["total"]
            bar.update(record["bytes"] - bar.n)

        yield update
