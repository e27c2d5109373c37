"""The provider of Deep Agents Code, by its real interface. The program itself needs Python 3.12 and a model."""

import asyncio
import importlib.metadata

import pytest
from deepagents_code.integrations import sandbox_provider as dcode

from sandbox_sdk import InvalidArgumentError, SandboxError
from sandbox_sdk.adapters.deepagents_code import SandboxSdkProvider


@pytest.fixture
def provider(state_dir):
    (entry,) = importlib.metadata.entry_points(group="deepagents_code.sandbox_providers", name="sandbox-sdk")
    return entry.load()()


def test_it_is_found_and_described(provider):
    assert isinstance(provider, dcode.SandboxProvider) and isinstance(provider, SandboxSdkProvider)
    assert isinstance(provider.metadata, dcode.SandboxProviderMetadata)
    assert (provider.metadata.name, provider.metadata.supports_sandbox_id) == ("sandbox-sdk", True)


def test_from_creation_to_deletion(provider, client):
    backend = provider.get_or_create(env={"MODE": "test"}, labels={"of": "dcode"})
    assert backend.execute("pwd; echo $MODE").output == f"{provider.metadata.working_dir}\ntest\n"
    backend.upload_files([(f"{provider.metadata.working_dir}/a", b"text")])
    again = provider.get_or_create(sandbox_id=backend.id)
    assert again.execute("cat a").output == "text"
    provider.delete(sandbox_id=backend.id)
    assert client.list({"of": "dcode"}) == []
    for use in (provider.delete, provider.get_or_create):
        with pytest.raises(dcode.SandboxNotFoundError):
            use(sandbox_id=backend.id)


def test_in_an_event_loop(provider):
    async def work():
        backend = await provider.aget_or_create(working_dir="/tmp/other", timeout=5)
        try:
            return (await backend.aexecute("pwd")).output
        finally:
            await provider.adelete(sandbox_id=backend.id)

    assert asyncio.run(work()) == "/tmp/other\n"


def test_what_cannot_be_created_leaves_nothing(provider, client):
    with pytest.raises(SandboxError):
        provider.get_or_create(working_dir="/proc/none", labels={"of": "dcode"})
    with pytest.raises(InvalidArgumentError):
        provider.get_or_create(memory="much", labels={"of": "dcode"})
    with pytest.raises(TypeError, match="no options of a new one: image"):
        provider.get_or_create(sandbox_id="any", image="python")
    assert client.list({"of": "dcode"}) == []
