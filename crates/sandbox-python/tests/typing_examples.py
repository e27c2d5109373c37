"""Only checked by the type checker: what calls return, as it sees them."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

from sandbox_sdk import (
    AsyncClient,
    AsyncProcess,
    Chunk,
    Client,
    CompletedProcess,
    EgressEvent,
    FileEvent,
    HostTransform,
    Process,
    SandboxInfo,
    Upstream,
)


def blocking(client: Client) -> None:
    with client.create(image="python:3.12-slim", env={"A": "b"}, ttl=60) as sbx:
        as_bytes: CompletedProcess[bytes] = sbx.run(["ls", PurePosixPath("a")])
        as_text: CompletedProcess[str] = sbx.run(["ls"], text=True)
        decoded: CompletedProcess[str] = sbx.shell("ls", encoding="latin-1")
        out: str = as_text.stdout + decoded.stderr
        raw: bytes = as_bytes.stdout
        process: Process[str] = sbx.popen(["cat"], stdin=subprocess.PIPE, text=True)
        chunk: Chunk[str] = next(process)
        infos: list[SandboxInfo] = client.list()
        as_user: CompletedProcess[bytes] = sbx.run(["id"], user=1000)
        decision: EgressEvent = next(sbx.egress_events())
        changes: list[FileEvent] = list(sbx.watch("results"))
        sbx.update_egress("packages", egress_allow=["api.example.com"])
        upstreams = [Upstream("openai", secret="a key"), Upstream("m", "https://m.example", variable=["A", "B"])]
        sbx.serve_egress(egress_upstreams=upstreams)
        client.create(egress_upstreams=upstreams, egress="packages").delete()
        transforms = [HostTransform("a.example", secret="a key"), HostTransform("b.example", secret="k", variable="B")]
        sbx.serve_egress(egress_transforms=transforms)
        client.pool(size=1, egress_transforms=transforms).close()
        print(out, raw, chunk.data, infos, as_user, decision.outcome, changes)


async def awaited(client: AsyncClient) -> str:
    async with await client.create() as sbx:
        process: AsyncProcess[bytes] = await sbx.popen(["ls"])
        lines: AsyncIterator[Chunk[bytes]] = process.lines()
        async for line in lines:
            print(line.data)
        return (await sbx.run(["ls"], text=True)).stdout


def refused(client: Client) -> None:
    with client.create() as sbx:
        sbx.run(["ls"], input="text without text=True")  # type: ignore[call-overload]
        sbx.run(["ls"], unknown=1)  # type: ignore[call-overload]
        sbx.run(["ls"], env={"A": 1})  # type: ignore[dict-item]
        client.create(ttl="60")  # type: ignore[arg-type]
        client.create(egress_allow=5)  # type: ignore[arg-type]
        client.create(egress_upstreams=["openai"])  # type: ignore[list-item]
        Upstream("openai", None, "a key")  # type: ignore[call-arg]
        client.create(egress_transforms=["a.example"])  # type: ignore[list-item]
        HostTransform("a.example")  # type: ignore[call-arg]
        client.create(memmory="1Gi")  # type: ignore[call-arg]
        client.pool(size=1, images="x")  # type: ignore[call-arg]
        number: int = sbx.run(["ls"], errors="strict").stdout  # type: ignore[assignment]
        print(number)
