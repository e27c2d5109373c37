"""A bridge to ipykernel, for images that have it: the same link to the server, Jupyter's messages to the kernel."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# What E2B's own kernel adds to IPython's representations, and figures as in a notebook.
SETUP = """
def _sandbox_setup():
    import importlib.util
    import json
    import sys
    from IPython import get_ipython
    from IPython.core.formatters import JSONFormatter, BaseFormatter
    from traitlets import ObjectName, Unicode
    formatters = get_ipython().display_formatter.formatters
    def container(value):
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            return None
    for kind in (dict, list):
        formatters["application/json"].for_type(kind, container)
    class DataFormatter(BaseFormatter):
        format_type = Unicode("e2b/data")
        print_method = ObjectName("_repr_e2b_data_")
        _return_type = dict
    data = DataFormatter(parent=get_ipython().display_formatter)
    data.for_type_by_name("pandas.core.frame", "DataFrame", lambda frame: json.loads(
        json.dumps(frame.to_dict(orient="list"), default=str)))
    formatters["e2b/data"] = data
    spec = importlib.util.spec_from_file_location("_sandbox_charts", %r)
    class ChartFormatter(BaseFormatter):
        format_type = Unicode("e2b/chart")
        # `%%matplotlib inline` removes what is registered for figures.
        def __call__(self, value):
            figure = sys.modules.get("matplotlib.figure")
            if figure is None or not isinstance(value, figure.Figure):
                return None
            # A figure may contain anything. It is shown as an image in any case.
            try:
                charts = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(charts)
                return charts.describe(value)
            except Exception:
                return None
    formatters["e2b/chart"] = ChartFormatter(parent=get_ipython().display_formatter)
    try:
        import matplotlib_inline.backend_inline
        get_ipython().run_line_magic("matplotlib", "inline")
    except Exception:
        pass
_sandbox_setup()
del _sandbox_setup
"""

# The kernel is another process, which does not import this package.
CHARTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "charts.py")

ENVIRONMENT = """
def _sandbox_environment(changes):
    import os
    before = {name: os.environ.get(name) for name in changes}
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before
%s_sandbox_environment(%r)
"""


class JupyterKernel:
    def __init__(self, link):
        from jupyter_client import KernelManager

        self.link = link
        self.is_interrupted = False
        signal.signal(signal.SIGINT, self.on_interrupt)
        # Sockets of this user rather than ports, which anybody on the machine could connect to.
        self.directory = tempfile.mkdtemp(prefix="sandbox-kernel-")
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=os.path.join(self.directory, "k"))
        self.manager.connection_file = os.path.join(self.directory, "connection.json")
        try:
            # The kernel passes on what arrives at its own descriptors itself.
            self.manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.client = self.manager.blocking_client()
            self.client.start_channels()
            self.client.wait_for_ready(timeout=45)
            self.run_silently(SETUP % CHARTS)
        except Exception:
            self.close()
            raise

    def close(self):
        try:
            if self.manager.has_kernel:
                self.manager.shutdown_kernel(now=True)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def on_interrupt(self, _signum, _frame):
        self.is_interrupted = True

    def serve(self):
        signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(0))
        self.link.emit({"event": "ready"})
        try:
            while True:
                request = self.link.receive()
                if request is None:
                    break
                self.is_interrupted = False
                self.run(request["code"], request["env"])
        finally:
            self.close()

    def run(self, code, env):
        if env:
            self.run_silently(ENVIRONMENT % ("__sandbox_saved = ", env))
        for message in self.messages_of(self.client.execute(code, store_history=True, allow_stdin=False)):
            self.forward(message)
        if env:
            self.run_silently(ENVIRONMENT % ("", {}) + "_sandbox_environment(__sandbox_saved)\ndel __sandbox_saved")
        self.link.emit({"event": "done"})

    def run_silently(self, code):
        for message in self.messages_of(self.client.execute(code, silent=True, allow_stdin=False)):
            if message["msg_type"] == "error":
                raise RuntimeError(message["content"]["evalue"])

    def messages_of(self, request_id):
        """Yields what the kernel publishes about a request, until it is idle again."""
        checked = time.monotonic()
        while True:
            if self.is_interrupted:
                self.is_interrupted = False
                self.manager.interrupt_kernel()
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                message = None
            if time.monotonic() - checked > 1:
                checked = time.monotonic()
                if message is None and not self.manager.is_alive():
                    # The server reports it as the end of this kernel, with the same status.
                    code = self.manager.provisioner.process.returncode if self.manager.provisioner else 1
                    self.close()
                    if code is not None and code < 0:
                        signal.signal(-code, signal.SIG_DFL) if -code not in (9, 19) else None
                        os.kill(os.getpid(), -code)
                    os._exit(code or 0)
            if message is None or message["parent_header"].get("msg_id") != request_id:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return
            yield message

    def forward(self, message):
        kind, content = message["msg_type"], message["content"]
        if kind == "execute_input":
            self.link.emit({"event": "count", "count": content["execution_count"]})
        elif kind == "stream":
            self.link.emit({"event": content["name"], "text": content["text"]})
        elif kind in ("display_data", "execute_result"):
            self.link.emit_bundle(content["data"], is_main=kind == "execute_result")
        elif kind == "error":
            self.link.emit(
                {
                    "event": "error",
                    "name": content["ename"],
                    "value": content["evalue"],
                    "traceback": "\n".join(content["traceback"]),
                }
            )
