"""SSH to a sandbox for other programs, such as a viewer of trials: the key and the proxy of ``sandbox ssh-config``,
behind a port of this machine's loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from harbor.environments.ssh import SSHAccess, SSHAccessError, StreamHandle, run_local, stop_process
from harbor.models.asp import ASPConfig, ASPConnection, ASPIdentityFile
from pydantic import BaseModel, ConfigDict, Field

from ..._command import find_command

PIECE = 1 << 16


class Reference(BaseModel):
    """Which sandbox it is, and where. There are no secrets in it, and nothing that could start a program."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)
    uid: str = Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=128)
    backend: Literal["local", "k8s"]
    namespace: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$", max_length=63)
    context: str | None = Field(default=None, max_length=256)

    def environment(self) -> dict[str, str]:
        """The variables with which the command finds the sandbox."""
        found = {
            "SANDBOX_BACKEND": self.backend,
            "SANDBOX_NAMESPACE": self.namespace,
            "SANDBOX_KUBE_CONTEXT": self.context,
        }
        return {name: value for name, value in found.items() if value is not None}


@contextlib.asynccontextmanager
async def open_ssh(handle: StreamHandle) -> AsyncIterator[SSHAccess]:
    """Give access to a sandbox with OpenSSH, until the end of the context.

    :raises SSHAccessError: there is no such sandbox any more, or it cannot be reached by another program.
    """
    reference = Reference.model_validate(handle.reference)
    command = find_command()
    if command is None:
        raise SSHAccessError("The command sandbox is not installed: install sandbox-sdk from its wheel")
    variables = [f"{name}={value}" for name, value in reference.environment().items()]
    try:
        block = await run_local("env", *variables, command, "ssh-config", reference.id)
    except SSHAccessError as error:
        raise SSHAccessError(
            "The sandbox cannot be reached: it has ended, or is not detached (detached=true, --no-delete)"
        ) from error
    settings = read_block(block.decode())
    proxy = shlex.split(settings["ProxyCommand"].replace("%%", "%"))
    if reference.uid not in proxy:
        raise SSHAccessError("The sandbox has ended, and there is another one of its name")
    async with _listen(proxy) as port:
        config = ASPConfig(
            version="0",
            transport="ssh",
            connection=ASPConnection(
                host="127.0.0.1",
                port=port,
                user=settings["User"],
                identity=ASPIdentityFile(file=_path(settings["IdentityFile"])),
                host_key=await asyncio.to_thread(_read_host_key, _path(settings["UserKnownHostsFile"])),
            ),
            workspace=handle.workspace or "/",
        )
        async with SSHAccess(config) as access:
            yield access


def read_block(block: str) -> dict[str, str]:
    """The keywords of a block for ssh_config(5)."""
    lines = (line.strip().split(maxsplit=1) for line in block.splitlines() if line.startswith(" "))
    return {words[0]: words[1] for words in lines if len(words) == 2}


def _path(quoted: str) -> str:
    return shlex.split(quoted)[0].replace("%%", "%")


def _read_host_key(path: str) -> str:
    return " ".join(Path(path).read_text().split()[1:3])


@contextlib.asynccontextmanager
async def _listen(proxy: list[str]) -> AsyncIterator[int]:
    """Listen on a port, and connect each connection to a proxy of its own. Who connects still needs the key."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await _carry(proxy, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # it was closed by either side, or by the end of the context
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        open_ones = list(connections)
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)


async def _carry(proxy: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    process = await asyncio.create_subprocess_exec(
        *proxy, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdin is not None and process.stdout is not None
    sending = asyncio.create_task(_copy(reader, process.stdin))
    try:
        await _copy(process.stdout, writer)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await stop_process(process)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
