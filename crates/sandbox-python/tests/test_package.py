"""The package as a whole: both styles agree, examples in docstrings run, the command is there, the class of the
original SDK works."""

import asyncio
import builtins
import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import sandbox_sdk
from sandbox_sdk import _create_options, compat, exceptions

# The adapters need packages of others.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(sandbox_sdk.__path__, "sandbox_sdk.")
    if not module.ispkg and module.name != "sandbox_sdk._sandbox" and ".adapters" not in module.name
)


@pytest.mark.parametrize("name", ["sandbox_sdk", "sandbox_sdk.adapters._output", *MODULES])
def test_examples_in_docstrings(name, client):
    module = importlib.import_module(name)
    if ">>>" not in inspect.getsource(module):
        return
    with client.create() as sandbox:
        names = {**vars(sandbox_sdk), "asyncio": asyncio, "client": client, "sbx": sandbox}
        options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
        results = doctest.testmod(module, extraglobs=names, optionflags=options)
    assert results.failed == 0


@pytest.mark.parametrize("page", ["README.md", "docs/PYTHON.md", "docs/FROM-PYTHON.md"])
def test_programs_in_pages(page, state_dir):
    text = (pathlib.Path(__file__).parents[3] / page).read_text()
    programs = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert programs
    names = {}
    for program in programs:
        exec(compile(program, page, "exec"), names)


def test_the_table_of_exceptions_is_complete():
    page = (pathlib.Path(__file__).parents[3] / "docs/PYTHON.md").read_text()
    (section,) = re.findall(r"^## 9\. Errors\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    described = set()
    for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
        names, also, fields = (re.findall(r"`(\w+)`", column) for column in row.split("|"))
        described |= set(names)
        for number, name in enumerate(names):
            kind = getattr(exceptions, name)
            bases = also[number : number + 1] + [field for field in fields if field.endswith("Error")]
            assert all(issubclass(kind, getattr(exceptions, base, None) or getattr(builtins, base)) for base in bases)
            own = [field for field in fields if not field.endswith("Error")]
            assert own == list(inspect.get_annotations(kind)), name
    assert described == set(exceptions.__all__) - {"SandboxError"}


@pytest.mark.parametrize(
    "name", ["Client", "Sandbox", "Process", "ProcessInput", "Job", "Pool", "FileWatch", "EgressEvents"]
)
def test_both_styles_have_the_same_methods(name):
    blocking = getattr(sandbox_sdk, name)
    awaited = getattr(sandbox_sdk, f"Async{name}")

    def methods(kind):
        return {
            key: inspect.signature(value)
            for key, value in inspect.getmembers(kind)
            if not key.startswith("_") and inspect.isfunction(value)
        }

    theirs = methods(awaited)
    for key, signature in methods(blocking).items():
        assert list(theirs[key].parameters.values()) == list(signature.parameters.values()), key
        assert signature.return_annotation == theirs[key].return_annotation.replace("Async", ""), key
    properties = {key for key, value in inspect.getmembers(blocking) if isinstance(value, property)}
    assert properties | set(methods(blocking)) >= set(theirs) - {"backend", "location"}


def test_every_option_has_a_type_and_a_form():
    assert set(_create_options.CreateOptions.__annotations__) == set(_create_options._CREATE)
    assert set(_create_options.TakeOptions.__annotations__) == set(_create_options._TAKE)
    assert set(_create_options.EgressOptions.__annotations__) == set(_create_options._EGRESS)
    described = set(re.findall(r":param (\w+):", sandbox_sdk.Client.create.__doc__))
    # "memory: bytes; and so is disk".
    assert described | {"disk"} == set(_create_options._CREATE) | {"on_event"}


def test_an_unknown_option_is_a_type_error(client):
    for call in (client.create, client.preflight, lambda **options: client.pool(size=1, **options)):
        with pytest.raises(TypeError, match="'imagine'"):
            call(imagine="all the people")


def test_everything_that_is_exported_is_documented():
    for name in sandbox_sdk.__all__:
        if name.startswith("_"):
            continue
        kind = getattr(sandbox_sdk, name)
        assert kind.__doc__, name
        for key, value in vars(kind).items():
            if inspect.isfunction(value) and not key.startswith("_"):
                assert value.__doc__, f"{name}.{key}"


def test_the_command_is_installed(state_dir):
    command = pathlib.Path(sys.executable).with_name("sandbox")
    done = subprocess.run([command, "run", "--", "echo", "hello"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "hello\n", done.stderr


def test_import_is_quick(child):
    done = child(
        "import sys, time; t = time.monotonic(); import sandbox_sdk; print(time.monotonic() - t); "
        "print(sorted({'asyncio', 'subprocess', 'tqdm', 'importlib.metadata', 'json', 'logging'} & set(sys.modules)))"
    )
    seconds, modules = done.stdout.splitlines()
    # Generous, for a build without optimisation on a busy machine.
    assert float(seconds) < 2
    assert modules == "[]"


class TestOriginal:
    """`compat.K8sSandboxSDK` with the calls of programs that were written for the original SDK."""

    @pytest.fixture
    def sdk(self, state_dir):
        with compat.K8sSandboxSDK(backend="local") as sdk:
            yield sdk

    def test_as_the_original(self, sdk, tmp_path):
        created = sdk.create_sandbox("ssh-ed25519 AAAA", name_prefix="mine")
        id = created["sandbox_id"]
        assert id.startswith("mine-") and created["created_at"] and created.get("port") is None
        result = sdk.execute_command(id, "PRIVATE KEY", "echo out; echo err >&2; exit 2", timeout=30)
        assert dict(result) == {"stdout": "out\n", "stderr": "err\n", "return_code": 2}
        (tmp_path / "a").write_text("text")
        assert sdk.upload_file(id, "PRIVATE KEY", str(tmp_path / "a"), "a", 60) is True
        assert sdk.download_file(id, "PRIVATE KEY", "a", str(tmp_path / "b")) is True
        assert (tmp_path / "b").read_text() == "text"
        info = sdk.get_sandbox_info(id)
        assert (info["sandbox_id"], info["status"]) == (id, "Running") and info["running_time"] >= 0
        assert sdk.shutdown_sandbox(id) is True
        assert sdk.delete_sandbox(id) is False
        with pytest.raises(compat.SandboxNotFoundError):
            sdk.execute_command(id, "PRIVATE KEY", "true")

    def test_without_keys(self, sdk, tmp_path):
        id = sdk.create_sandbox()
        assert sdk.execute_command(id, "echo hi").stdout == "hi\n"
        assert sdk.execute_command(id, private_key="x", command="exit 3").return_code == 3
        with pytest.raises(compat.FileTransferError) as caught:
            sdk.download_file(id, "missing", str(tmp_path / "x"))
        assert isinstance(caught.value, FileNotFoundError)
        with pytest.raises(compat.CommandExecutionError):
            sdk.execute_command(id, "sleep 60", timeout=0.2)
        for wrong in ((), ("a", "b", "c")):
            with pytest.raises(TypeError):
                sdk.execute_command(id, *wrong)
        assert sdk.delete_sandbox(id) is True

    def test_errors_are_of_the_kind_of_the_method(self, sdk):
        with pytest.raises(compat.SandboxCreationError):
            sdk.create_sandbox(image="alpine")
        with pytest.raises(compat.SandboxNotFoundError):
            sdk.get_sandbox_info("no-such-sandbox")
