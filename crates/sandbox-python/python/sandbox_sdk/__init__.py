"""Run commands and keep files in isolated sandboxes: local process trees, or Pods of a Kubernetes cluster.

>>> from sandbox_sdk import Client
>>> with Client() as client, client.create() as sandbox:
...     sandbox.run(["python3", "-c", "print(6 * 7)"], text=True, check=True).stdout
'42\\n'

Everything is there for threads (:class:`Client`, :class:`Sandbox`) and for asyncio (:class:`AsyncClient`,
:class:`AsyncSandbox`). Calls that wait do not hold the interpreter's lock; Ctrl-C, or cancelling the task, ends them
and what they were doing. The log goes to :mod:`logging`, below the logger ``sandbox_sdk``.

A process that was forked from one that uses this package cannot use it: start processes with ``spawn``.
"""

from ._host_transform import HostTransform
from ._sandbox import __version__
from ._upstream import Upstream
from .async_client import AsyncClient
from .async_handles import AsyncEgressEvents, AsyncFileWatch, AsyncJob, AsyncPool
from .async_process import AsyncProcess, AsyncProcessInput
from .async_sandbox import AsyncSandbox
from .client import Client
from .exceptions import (
    BackendError,
    ClosedError,
    CommandExecutionError,
    CommandTimeoutError,
    ConfigError,
    FileTransferError,
    ForkError,
    InvalidArgumentError,
    OperationTimeoutError,
    PoolEmptyError,
    RefusedError,
    SandboxCreationError,
    SandboxCreationTimeoutError,
    SandboxDeletionError,
    SandboxError,
    SandboxExistsError,
    SandboxFileExistsError,
    SandboxFileNotFoundError,
    SandboxNotFoundError,
    SandboxPermissionError,
    SSHConnectionError,
    UnsupportedError,
)
from .handles import EgressEvents, FileWatch, Forward, Job, Pool
from .process import Process, ProcessInput
from .sandbox import Sandbox
from .types import (
    Chunk,
    CompletedProcess,
    Diagnosis,
    EgressEvent,
    FileEvent,
    FileInfo,
    JobInfo,
    JobLog,
    PoolStatus,
    PreflightCheck,
    SandboxEvent,
    SandboxInfo,
    SweepReport,
    TransferProgress,
    TransferReport,
    TreeReport,
    Usage,
)

__all__ = [
    "AsyncClient",
    "AsyncEgressEvents",
    "AsyncFileWatch",
    "AsyncJob",
    "AsyncPool",
    "AsyncProcess",
    "AsyncProcessInput",
    "AsyncSandbox",
    "BackendError",
    "Chunk",
    "Client",
    "ClosedError",
    "CommandExecutionError",
    "CommandTimeoutError",
    "CompletedProcess",
    "ConfigError",
    "Diagnosis",
    "EgressEvent",
    "EgressEvents",
    "FileEvent",
    "FileInfo",
    "FileTransferError",
    "FileWatch",
    "ForkError",
    "Forward",
    "HostTransform",
    "InvalidArgumentError",
    "Job",
    "JobInfo",
    "JobLog",
    "OperationTimeoutError",
    "Pool",
    "PoolEmptyError",
    "PoolStatus",
    "PreflightCheck",
    "Process",
    "ProcessInput",
    "RefusedError",
    "SSHConnectionError",
    "Sandbox",
    "SandboxCreationError",
    "SandboxCreationTimeoutError",
    "SandboxDeletionError",
    "SandboxError",
    "SandboxEvent",
    "SandboxExistsError",
    "SandboxFileExistsError",
    "SandboxFileNotFoundError",
    "SandboxInfo",
    "SandboxNotFoundError",
    "SandboxPermissionError",
    "SweepReport",
    "TransferProgress",
    "TransferReport",
    "TreeReport",
    "UnsupportedError",
    "Upstream",
    "Usage",
    "__version__",
]
