"""Whole runs of the OpenAI Agents SDK in sandboxes, with a model that is a script."""

import asyncio
import json
import time

import pytest
from agents import ModelResponse, RunConfig, Runner, Usage
from agents.models.interface import Model
from agents.sandbox import SandboxAgent, SandboxRunConfig
from agents.sandbox.snapshot import NoopSnapshotSpec
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from support import running

from sandbox_sdk.adapters.openai_agents import SdkSandboxClient

pytestmark = pytest.mark.usefixtures("nothing_is_left")


class Script(Model):
    """A model that makes these calls of tools one after the other, and then says the output of the last."""

    def __init__(self, *calls):
        self.calls = list(calls)
        self.outputs = []

    async def get_response(self, system_instructions, input, *_, **__):
        self.outputs = [item["output"] for item in input if item.get("type") == "function_call_output"]
        if len(self.outputs) < len(self.calls):
            call = self.calls[len(self.outputs)]
            name, arguments = call(self.outputs) if callable(call) else call
            item = ResponseFunctionToolCall(
                type="function_call", call_id=f"c{len(self.outputs)}", name=name, arguments=json.dumps(arguments)
            )
        else:
            text = ResponseOutputText(type="output_text", text=self.outputs[-1], annotations=[])
            item = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
        return ModelResponse(output=[item], usage=Usage(), response_id=None)

    async def stream_response(self, *_, **__):
        raise NotImplementedError
        yield


def play(model, client, **options):
    agent = SandboxAgent(name="worker", instructions="Work.", model=model)
    sandbox = SandboxRunConfig(client=client, snapshot=NoopSnapshotSpec(), **options)
    return Runner.run(agent, "go", run_config=RunConfig(sandbox=sandbox, tracing_disabled=True))


def test_a_run_uses_commands_and_terminals():
    def answer(outputs):
        number = outputs[-1].split("session ID ")[1].split()[0]
        return "write_stdin", {"session_id": int(number), "chars": "6\n", "yield_time_ms": 30000}

    model = Script(
        ("exec_command", {"cmd": "echo 'print(input())' >ask.py; ls"}),
        # The framework returns when it has ended.
        ("exec_command", {"cmd": "python3 -c 'print(int(input()) * 7)'", "tty": True, "yield_time_ms": 250}),
        answer,
        ("exec_command", {"cmd": "echo done: $(cat ask.py)"}),
    )

    async def main():
        async with SdkSandboxClient() as client:
            return await play(model, client)

    result = asyncio.run(main())
    assert "ask.py" in model.outputs[0] and "42" in model.outputs[2]
    assert "done: print(input())" in result.final_output


def test_a_run_that_fails_or_is_cancelled_leaves_no_sandbox():
    class Failing(Script):
        async def get_response(self, *arguments, **options):
            response = await super().get_response(*arguments, **options)
            if self.outputs:
                raise KeyError("the model has failed")
            return response

    async def main():
        async with SdkSandboxClient() as client:
            call = "exec_command", {"cmd": "echo worked"}
            model = Failing(call, call)
            with pytest.raises(KeyError, match="the model has failed"):
                await play(model, client)
            assert "worked" in model.outputs[0]
            before = await asyncio.to_thread(running)
            going = asyncio.create_task(play(Script(("exec_command", {"cmd": "sleep 60"})), client))
            deadline = time.monotonic() + 20
            while await asyncio.to_thread(running) == before:
                assert time.monotonic() < deadline
            await asyncio.sleep(0.3)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going

    asyncio.run(main())
