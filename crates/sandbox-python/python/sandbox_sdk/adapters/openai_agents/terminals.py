"""Commands that run on between the calls of a tool, with and without a terminal."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging

from agents.sandbox.errors import PtySessionNotFoundError
from agents.sandbox.session.pty_types import (
    PTY_PROCESSES_MAX,
    PTY_PROCESSES_WARNING,
    PtyExecUpdate,
    allocate_pty_process_id,
    process_id_to_prune_from_meta,
    truncate_text_by_tokens,
)

from ... import AsyncProcess, SandboxError, SSHConnectionError
from .results import exit_code

OUTPUT_LIMIT = 1 << 20
"""How many bytes of output one call returns. A command that writes more waits until it is asked again."""
WRITE_TIMEOUT = 10.0
"""Seconds for which a command that does not read its input is waited for."""

logger = logging.getLogger(__name__)


class Terminal:
    """A running command, whose output is read as far as there is room for it."""

    def __init__(self, process: AsyncProcess[bytes], *, is_tty: bool) -> None:
        self.is_tty = is_tty
        self.is_done = False
        self.error: SandboxError | None = None
        self.last_used = asyncio.get_running_loop().time()
        self._process = process
        # One for each stream: between the halves of a character may come something of the other one.
        new_decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": new_decoder("replace"), "stderr": new_decoder("replace")}
        self._output: list[str] = []
        self._size = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for chunk in self._process:
                self._output.append(self._decoders[chunk.stream].decode(chunk.data))
                self._size += len(chunk.data)
                self._changed.set()
                if self._size >= OUTPUT_LIMIT:
                    self._room.clear()
                    await self._room.wait()
        except SandboxError as error:
            self.error = error
        finally:
            self._output.extend(decoder.decode(b"", True) for decoder in self._decoders.values())
            self.is_done = True
            self._changed.set()

    async def collect(self, seconds: float) -> str:
        """Return what it has written, after this time at the latest. A character that is cut in two is completed by
        the next call."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self.is_done and self._size < OUTPUT_LIMIT:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                break
        text = "".join(self._output)
        self._output.clear()
        self._size = 0
        self._room.set()
        self.last_used = loop.time()
        return text

    async def write(self, text: str) -> None:
        """Write to its input.

        :raises RuntimeError: it has no terminal. The framework knows this text.
        """
        if self._process.stdin is None:
            raise RuntimeError("stdin is not available for this process")
        try:
            await asyncio.wait_for(self._process.stdin.write(text.encode("utf-8", "surrogateescape")), WRITE_TIMEOUT)
        except asyncio.TimeoutError as error:
            raise SSHConnectionError("the command does not read its input; some of the text was not written") from error
        except SandboxError:
            # It has ended or was lost, which the next report says.
            pass

    @property
    def exit_code(self) -> int | None:
        """Its exit code, once all its output was read."""
        code = self._process.returncode
        return None if code is None or not self.is_done else exit_code(code)

    async def end(self) -> None:
        """Kill it, unless it has ended."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        with contextlib.suppress(SandboxError):
            if self._process.returncode is None:
                await self._process.kill()
        with contextlib.suppress(SandboxError):
            await self._process.close()


class Terminals:
    """The running commands of a session, by the numbers that the model knows them by."""

    def __init__(self) -> None:
        self._running: dict[int, Terminal] = {}

    def add(self, terminal: Terminal) -> int:
        number: int = allocate_pty_process_id(set(self._running))
        self._running[number] = terminal
        if len(self._running) >= PTY_PROCESSES_WARNING:
            logger.warning("%d commands of one session run; the oldest are ended soon", len(self._running))
        return number

    def find(self, number: int) -> Terminal:
        try:
            return self._running[number]
        except KeyError:
            raise PtySessionNotFoundError(session_id=number) from None

    async def make_room(self) -> None:
        """End one if there are too many, as the framework chooses it."""
        while len(self._running) >= PTY_PROCESSES_MAX:
            known = [(number, each.last_used, each.is_done) for number, each in self._running.items()]
            number = process_id_to_prune_from_meta(known)
            if number is None:
                return
            await self._running.pop(number).end()

    async def update(self, number: int, seconds: float, max_tokens: int | None) -> PtyExecUpdate:
        """Report what a command has written since the last report, and its end.

        :raises SandboxError: it ran longer than its timeout, or the connection was lost.
        """
        terminal = self.find(number)
        text = await terminal.collect(seconds)
        if terminal.is_done:
            self._running.pop(number, None)
            await terminal.end()
            if terminal.error is not None:
                raise terminal.error
        kept, token_count = truncate_text_by_tokens(text, max_tokens)
        return PtyExecUpdate(
            process_id=None if terminal.is_done else number,
            output=kept.encode("utf-8", "replace"),
            exit_code=terminal.exit_code,
            original_token_count=token_count,
        )

    async def end_all(self) -> None:
        running, self._running = self._running, {}
        await asyncio.gather(*(each.end() for each in running.values()))
