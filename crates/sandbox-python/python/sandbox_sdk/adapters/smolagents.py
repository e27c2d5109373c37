"""Code agents of `smolagents <https://huggingface.co/docs/smolagents>`_, whose code runs in a sandbox.

.. code-block:: python

    from smolagents import CodeAgent
    from sandbox_sdk.adapters.smolagents import SandboxExecutor

    with CodeAgent(tools=[], model=model, executor=SandboxExecutor()) as agent:
        agent.run("How many prime numbers are there below 1000?")

It needs ``pip install 'sandbox-sdk[smolagents]'`` here, and ``python3`` in the sandbox.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._arguments import Duration, seconds
from ..client import Client
from ..exceptions import SandboxError
from ..sandbox import Sandbox
from ._interpreter import Interpreter, InterpreterEndedError, Reply

try:
    import PIL.Image
    from smolagents.local_python_executor import CodeOutput
    from smolagents.monitoring import AgentLogger, LogLevel
    from smolagents.remote_executors import RemotePythonExecutor
    from smolagents.utils import AgentError
except ImportError as error:
    raise ImportError(
        f"{error}: sandbox_sdk.adapters.smolagents needs smolagents; pip install 'sandbox-sdk[smolagents]'",
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from smolagents.tools import Tool
    from typing_extensions import Unpack

    from .._create_options import CreateOptions

__all__ = ["SandboxExecutor"]

TOOLS = "tools"
INSTALL_TIMEOUT = 600.0
"""How many seconds the installation of packages may take."""
FIND_PACKAGES = """
(lambda site, importlib: (site.addsitedir(site.getusersitepackages()), importlib.invalidate_caches()) and None)(
    __import__("site"), __import__("importlib")
)
"""
"""Makes packages visible that were installed after the interpreter was started; it defines no names."""


class SandboxExecutor(RemotePythonExecutor):
    """Runs the code of a ``CodeAgent`` in a sandbox: one interpreter, in which variables, functions and tools stay from
    step to step.

    The value of the last expression is its ``repr``, or an image for what has ``_repr_png_``, as in a notebook. What
    the code prints, also to standard error and from processes that it starts, are the logs. The code reads no input.

    If the interpreter ends, the step fails, and the next one gets a new interpreter with the tools and the variables
    that the agent was given, but without what its code had defined.

    :param additional_imports: packages to install with pip, in the sandbox.
    :param logger: where smolagents logs to; by default errors only.
    :param allow_pickle: exchange also what only pickle can represent. Never with code that you do not trust: it can
        then run code in *this* process.
    :param sandbox: use this one, and leave it as it is at the end, in place of a new one.
    :param client: create the sandbox with this client, in place of a new one with the settings of the environment.
    :param timeout: how many seconds a step may take; ``None`` for any number.
    :param log_cap: how many bytes of what a step prints are kept: the first and the last half of that.
    :param python: the interpreter in the sandbox.
    :param options: options of :meth:`sandbox_sdk.Client.create` for the new sandbox, such as ``image``.
    :raises SandboxCreationError: the sandbox could not be created. Nothing is left behind.
    :raises AgentError: a package could not be installed.
    """

    def __init__(
        self,
        additional_imports: Iterable[str] = (),
        logger: AgentLogger | None = None,
        allow_pickle: bool = False,
        *,
        sandbox: Sandbox | None = None,
        client: Client | None = None,
        timeout: Duration | None = 300,
        log_cap: int = 1 << 20,
        python: str = "python3",
        **options: Unpack[CreateOptions],
    ) -> None:
        if sandbox is not None and (client is not None or options):
            raise TypeError("a sandbox that exists takes no client and no options of a new one")
        super().__init__(list(additional_imports), logger or AgentLogger(level=LogLevel.ERROR), allow_pickle)
        self._timeout = seconds(timeout, "timeout")
        self._log_cap = log_cap
        self._python = python
        self._lock = threading.RLock()
        self._interpreter: Interpreter | None = None
        self._setup: dict[str, str] = {}
        self._part: str | None = None
        self._optional_modules: set[str] = set()
        self._own_client: Client | None = None
        self._own_sandbox: Sandbox | None = None
        try:
            if sandbox is None:
                if client is None:
                    client = self._own_client = Client()
                sandbox = self._own_sandbox = client.create(**options)
            self.sandbox = sandbox
            self.installed_packages = self.install_packages(self.additional_imports)
        except BaseException:
            self._release()
            raise

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        """Run code and return its value, its logs, and whether the value is the final answer.

        :raises AgentError: the code has raised an exception, has taken too long, or has ended the interpreter; with
            the logs, and the traceback.
        :raises SandboxError: the sandbox cannot be reached.
        """
        with self._lock:
            if self._part == TOOLS:
                code = _with_optional_imports(code, self._optional_modules)
            try:
                reply = self._open().run(code, self._timeout)
            except InterpreterEndedError as error:
                raise AgentError(_failure(error.logs, str(error)), self.logger) from error
            output = self._output(reply)
            if self._part is not None:
                self._setup[self._part] = code
            return output

    def send_tools(self, tools: dict[str, Tool]) -> None:
        """Define the tools in the interpreter, and install the packages that they need.

        :raises AgentError: a package could not be installed, or a tool not be defined.
        """
        wanted = {package for each in tools.values() for package in each.to_dict()["requirements"]}
        # The final answer is packed by code that uses these if they are there, and works without them.
        self._optional_modules = {"numpy", "PIL"} - wanted
        self.installed_packages += self._optional_modules - set(self.installed_packages)
        self._send(TOOLS, super().send_tools, tools)

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Define variables in the interpreter.

        :raises SerializationError: a value can only be pickled, and ``allow_pickle`` is false.
        """
        self._send("variables", super().send_variables, variables)

    def install_packages(self, additional_imports: list[str]) -> list[str]:
        """Install packages with pip, in the sandbox.

        :returns: what was installed.
        :raises AgentError: pip has failed, with its last words.
        """
        if not additional_imports:
            return []
        command = [self._python, "-m", "pip", "install", "--quiet", "--", *additional_imports]
        # A sandbox has its own packages, whoever manages those of its image (PEP 668).
        is_isolated = self.sandbox.initial_info.isolation != "none"
        env = {"PIP_BREAK_SYSTEM_PACKAGES": "1"} if is_isolated else {}
        done = self.sandbox.run(command, text=True, env=env, timeout=INSTALL_TIMEOUT, output_cap=1 << 16)
        if done.returncode:
            names = " ".join(additional_imports)
            raise AgentError(f"cannot install {names} in the sandbox: {done.stderr.strip()[-2000:]}", self.logger)
        with self._lock:
            if self._interpreter is not None and self._interpreter.is_open:
                self._output(self._interpreter.run(FIND_PACKAGES, self._timeout))
        return additional_imports

    def _patch_final_answer_with_exception(self, final_answer_tool: Any) -> None:
        # Patched a second time, for the second run of an agent, the tool would call what the first patch has left.
        if not hasattr(final_answer_tool, "_forward"):
            super()._patch_final_answer_with_exception(final_answer_tool)

    def cleanup(self) -> None:
        """End the interpreter, and delete the sandbox unless it was given. What fails is logged, as in the executors of
        smolagents: the sandbox then ends by itself about a minute after this program."""
        try:
            self._release()
        except SandboxError as error:
            self.logger.log_error(f"the sandbox may still exist: {error}")

    def __enter__(self) -> SandboxExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    def _open(self) -> Interpreter:
        """The interpreter, which is started anew if it has ended."""
        if self._interpreter is None or not self._interpreter.is_open:
            interpreter = Interpreter(self.sandbox, python=self._python, log_cap=self._log_cap)
            try:
                for code in self._setup.values():
                    self._output(interpreter.run(code, self._timeout))
            except BaseException:
                interpreter.close()
                raise
            self._interpreter = interpreter
        return self._interpreter

    def _send(self, part: str, send: Any, what: dict[str, Any]) -> None:
        """Keep the code that is run meanwhile, for a new interpreter."""
        with self._lock:
            self._part = part
            try:
                send(what)
            finally:
                self._part = None

    def _output(self, reply: Reply) -> CodeOutput:
        if reply.error == self.FINAL_ANSWER_EXCEPTION:
            try:
                answer = self._deserialize_final_answer(reply.message, self.allow_pickle)
            except Exception as error:
                # The code may have raised it with anything.
                text = f"the final answer cannot be decoded: {type(error).__name__}: {error}"
                raise AgentError(_failure(reply.logs, text), self.logger) from error
            return CodeOutput(output=answer, logs=reply.logs, is_final_answer=True)
        if reply.error is not None:
            text = f"{reply.error}\n{reply.message}\n{reply.traceback}"
            if reply.is_timed_out:
                text = f"the code was interrupted after {self._timeout:g} s; its variables are kept\n{text}"
            raise AgentError(_failure(reply.logs, text), self.logger)
        output = _image(reply.image) if reply.image is not None else reply.value
        return CodeOutput(output=output, logs=reply.logs, is_final_answer=False)

    def _release(self) -> None:
        with self._lock:
            interpreter, self._interpreter = self._interpreter, None
            sandbox, self._own_sandbox = self._own_sandbox, None
            client, self._own_client = self._own_client, None
            try:
                if interpreter is not None:
                    interpreter.close()
            finally:
                try:
                    if sandbox is not None:
                        sandbox.delete()
                        sandbox.close()
                finally:
                    if client is not None:
                        client.close()


def _with_optional_imports(code: str, names: set[str]) -> str:
    """The definition of tools, which imports at its top whatever any function imports, without the need for these."""
    for name in names:
        code = re.sub(rf"(?m)^import {name}$", f"try:\n    import {name}\nexcept ImportError:\n    pass", code)
    return code


def _failure(logs: str, text: str) -> str:
    return f"{logs}\nExecuting code yielded an error:\n{text}"


def _image(encoded: str) -> Any:
    """The image; its text if the sandbox has sent something else."""
    try:
        return PIL.Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=["PNG"])
    except (OSError, ValueError, binascii.Error, PIL.Image.DecompressionBombError) as error:
        return f"<an image that cannot be shown: {error}>"
