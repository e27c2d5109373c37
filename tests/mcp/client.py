"""One interface to both eras of the official client."""

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import mcp
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

IS_NEW = hasattr(mcp, "Client")
#: How a client opens its connection: the newest one asks with server/discover, and falls back to initialize.
MODES = ["auto", "legacy"] if IS_NEW else ["legacy"]


@dataclass
class Answer:
    is_error: bool
    text: str
    data: Any


class Tools:
    def __init__(self, session: Any) -> None:
        self.session = session

    async def list(self) -> list[Any]:
        return (await self.session.list_tools()).tools

    async def call(self, name: str, **arguments: Any) -> Answer:
        result = await self.session.call_tool(name, arguments)
        if IS_NEW:
            is_error, data = result.is_error, result.structured_content
        else:
            is_error, data = result.isError, result.structuredContent
        return Answer(bool(is_error), result.content[0].text, data)

    async def use(self, name: str, **arguments: Any) -> Any:
        answer = await self.call(name, **arguments)
        assert not answer.is_error, answer
        return answer.data


@asynccontextmanager
async def over_stdio(mode: str, *options: str):
    """A client that starts its own server."""
    env = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"], "PATH": os.environ["PATH"]}
    server = StdioServerParameters(command=os.environ["SANDBOX"], args=["mcp", *options], env=env)
    if IS_NEW:
        async with mcp.Client(stdio_client(server), mode=mode) as client:
            yield Tools(client)
        return
    async with stdio_client(server) as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        yield Tools(session)


@asynccontextmanager
async def over_http(mode: str, url: str, token: str):
    """A client of a server that runs."""
    headers = {"Authorization": f"Bearer {token}"}
    if IS_NEW:
        import httpx2

        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            async with mcp.Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                yield Tools(client)
        return
    import httpx

    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        async with streamable_http_client(url, http_client=http) as (reader, writer, _):
            async with ClientSession(reader, writer) as session:
                await session.initialize()
                yield Tools(session)
