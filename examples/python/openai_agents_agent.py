"""An agent of the OpenAI Agents SDK that works in a sandbox (docs/ADAPTERS.md). Its model is a script, so that the
example needs neither a model nor a network; with a real one, leave `model=` out.

pip install 'sandbox-sdk[openai-agents]'
python examples/python/openai_agents_agent.py
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import ModelResponse, RunConfig, Runner, Usage
from agents.models.interface import Model
from agents.sandbox import Manifest, SandboxAgent, SandboxRunConfig
from agents.sandbox.entries import File
from agents.sandbox.snapshot import NoopSnapshotSpec
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from sandbox_sdk.adapters.openai_agents import SdkSandboxClient, SdkSandboxClientOptions

COMMANDS = [
    "sort -n numbers.txt | tail -n 1 >largest.txt && ls",
    "cat largest.txt",
]


class ScriptedModel(Model):
    """Runs the commands one after the other, and answers with the last line of the output."""

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> ModelResponse:
        outputs = [item["output"] for item in input if item.get("type") == "function_call_output"]
        item: Any
        if len(outputs) < len(COMMANDS):
            arguments = json.dumps({"cmd": COMMANDS[len(outputs)]})
            item = ResponseFunctionToolCall(
                type="function_call",
                call_id=f"call-{len(outputs)}",
                name="exec_command",
                arguments=arguments,
            )
        else:
            answer = f"The largest number is {outputs[-1].split()[-1]}."
            text = ResponseOutputText(type="output_text", text=answer, annotations=[])
            item = ResponseOutputMessage(
                id="answer",
                type="message",
                role="assistant",
                status="completed",
                content=[text],
            )
        return ModelResponse(output=[item], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


async def main() -> None:
    agent = SandboxAgent(
        name="analyst",
        instructions="Answer questions about the files of the workspace.",
        default_manifest=Manifest(entries={"numbers.txt": File(content=b"3\n41\n5\n")}),
        model=ScriptedModel(),
    )
    async with SdkSandboxClient() as client:
        sandbox = SandboxRunConfig(
            client=client,
            options=SdkSandboxClientOptions(ttl=600),
            snapshot=NoopSnapshotSpec(),
        )
        result = await Runner.run(
            agent,
            "Which number is the largest?",
            run_config=RunConfig(sandbox=sandbox, tracing_disabled=True),
        )
    print(result.final_output)
    assert result.final_output == "The largest number is 41."


if __name__ == "__main__":
    asyncio.run(main())
