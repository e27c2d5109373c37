"""A context: a kernel process that keeps its state, and the executions that wait for it."""

import codecs
import collections
import datetime
import os
import select
import signal
import socket
import sys
import threading
import time
import uuid

from .kernel_process import KernelProcess
from .results import result_line
from .wire import Broken, encode

# Of one context, one of them running.
MAX_WAITING = 64
START_TIMEOUT = 60
# The pauses between two interrupts of code that does not react; the last is kept to.
INTERRUPT_PAUSES = (0.5, 1, 2, 4, 8, 10)


class ClientLeft(Exception):
    """Nobody waits for the result any more."""


class KernelEnded(Exception):
    """The kernel process has ended, or cannot be used."""


class Job:
    """What a client waits for: code to run, a start or a restart."""

    def __init__(self, client, kind, **details):
        self.client = client
        self.kind = kind
        self.details = details

    def send(self, line):
        try:
            self.client.sendall(encode(line))
        except OSError:
            raise ClientLeft

    def has_left(self):
        """Whether the client has closed its connection. It sends nothing after its request."""
        try:
            return self.client.recv(4096, socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Context:
    """One kernel, used by one thread of the server. Executions run one after the other, in order."""

    def __init__(self, language, cwd):
        self.id = str(uuid.uuid4())
        self.language = language
        self.cwd = cwd
        self.lock = threading.Lock()
        self.jobs = collections.deque()
        self.is_removed = False
        self.kernel = None
        # Why the last kernel has ended while no execution was there to report it to.
        self.loss = None
        self.decoders = {}
        self.awake, self.waker = os.pipe()
        os.set_blocking(self.waker, False)
        threading.Thread(target=self.run, daemon=True).start()

    # What other threads call.

    def execute(self, client, code, env):
        self.add(Job(client, "execute", code=code, env=env), {"type": "accepted"})

    def start(self, client, description, on_failure):
        self.add(Job(client, "start", reply=description, on_failure=on_failure))

    def restart(self, client, description):
        """Ends what runs now, and starts a new kernel."""
        with self.lock:
            if self.kernel is not None:
                self.kernel.kill("the context was restarted")
        self.add(Job(client, "restart", reply=description))

    def remove(self):
        with self.lock:
            self.is_removed = True
            if self.kernel is not None:
                self.kernel.kill("the context was removed")
            self.wake()

    def add(self, job, greeting=None):
        with self.lock:
            if self.is_removed:
                refusal = ("not_found", "context %s was removed" % self.id)
            elif len(self.jobs) >= MAX_WAITING:
                refusal = ("exhausted", "%d executions wait for this context already" % MAX_WAITING)
            else:
                refusal = None
                # Sent under the lock, so that it precedes what the context's own thread sends.
                if greeting is not None:
                    job.client.sendall(encode(greeting))
                self.jobs.append(job)
                self.wake()
        if refusal is not None:
            job.client.sendall(encode({"type": "refused", "code": refusal[0], "message": refusal[1]}))
            job.client.close()

    def wake(self):
        try:
            os.write(self.waker, b"!")
        except BlockingIOError:
            # It is awake already.
            pass

    # What the context's own thread does.

    def run(self):
        while True:
            job = self.next_job()
            if job is None:
                break
            try:
                self.perform(job)
            except ClientLeft:
                pass
            except Exception as error:
                print("context %s: %r" % (self.id, error), file=sys.stderr, flush=True)
                self.discard_kernel()
                self.try_to_send(job, error_line("InterpreterError", "the interpreter failed: %s" % error))
                self.try_to_send(job, {"type": "end_of_execution"})
            finally:
                job.client.close()
        self.discard_kernel()
        for job in self.jobs:
            self.try_to_send(job, error_line("ContextRemoved", "the context was removed before the code ran"))
            self.try_to_send(job, {"type": "end_of_execution"})
            job.client.close()
        os.close(self.awake)
        os.close(self.waker)

    def next_job(self):
        """Waits for a job; None once the context is removed. What the kernel prints meanwhile is dropped, so that
        a process that it has left running is not held back."""
        while True:
            with self.lock:
                if self.is_removed:
                    return None
                if self.jobs:
                    return self.jobs.popleft()
                kernel = self.kernel
            poller = select.poll()
            poller.register(self.awake, select.POLLIN)
            if kernel is not None:
                for source in (kernel.link, kernel.stdout, kernel.stderr):
                    if source is not None:
                        poller.register(source, select.POLLIN)
            ready = {number for number, _ in poller.poll()}
            if self.awake in ready:
                os.read(self.awake, 4096)
            if kernel is None:
                continue
            kernel.read_output(ready, lambda _name, _data: None)
            if kernel.link.fileno() in ready:
                try:
                    if not kernel.receive():
                        self.lose_kernel()
                        continue
                    # A thread of user code that displays something after the end of its execution.
                    while kernel.next_event() is not None:
                        kernel.confirm()
                except (OSError, Broken):
                    self.lose_kernel()

    def perform(self, job):
        if job.has_left():
            return
        if job.kind == "restart":
            self.discard_kernel()
            self.loss = None
        try:
            self.prepare_kernel(job)
        except KernelEnded as ended:
            if job.kind == "execute":
                job.send(error_line("KernelError", str(ended)))
                job.send({"type": "end_of_execution"})
            else:
                if job.kind == "start":
                    job.details["on_failure"]()
                job.send({"type": "refused", "code": "internal", "message": str(ended)})
            return
        if job.kind == "execute":
            self.execute_job(job)
        else:
            job.send({"type": "context", "context": job.details["reply"]})

    def prepare_kernel(self, job):
        """Starts a kernel if there is none, and waits until it can run code."""
        if self.kernel is not None and not self.kernel.is_alive():
            self.lose_kernel()
        if self.kernel is None:
            try:
                kernel = KernelProcess(self.language, self.cwd)
            except OSError as error:
                raise KernelEnded("the %s kernel does not start: %s" % (self.language, error))
            with self.lock:
                self.kernel = kernel
                if self.is_removed:
                    kernel.kill("the context was removed")
        kernel = self.kernel
        deadline = time.monotonic() + START_TIMEOUT
        printed = collections.deque(maxlen=16)
        while not kernel.is_ready:
            try:
                is_in_time = self.pump(kernel, job, deadline, lambda _name, data: printed.append(data))
                how = None if is_in_time else "it is not ready after %d seconds" % START_TIMEOUT
            except KernelEnded:
                how = b"".join(printed).decode("utf-8", "replace").strip() or kernel.end_text()
            if how is not None:
                self.discard_kernel()
                raise KernelEnded("the %s kernel does not start: %s" % (self.language, how))
            event = kernel.next_event()
            if event is not None:
                kernel.is_ready = event.get("event") == "ready"
                kernel.confirm()

    def pump(self, kernel, job, deadline, on_output):
        """Waits for something of the kernel, until the deadline if there is one; returns whether that has not passed.
        Raises ClientLeft when there is a job and its client has left, KernelEnded when there will be nothing more."""
        timeout = None if deadline is None else deadline - time.monotonic()
        if timeout is not None and timeout <= 0:
            return False
        poller = select.poll()
        client = None if job is None else job.client
        for source in (client, kernel.link, kernel.stdout, kernel.stderr):
            if source is not None:
                poller.register(source, select.POLLIN)
        ready = {number for number, _ in poller.poll(None if timeout is None else timeout * 1000)}
        if client is not None and client.fileno() in ready and job.has_left():
            raise ClientLeft
        kernel.read_output(ready, on_output)
        if kernel.link.fileno() in ready:
            try:
                is_open = kernel.receive()
            except OSError:
                is_open = False
            if not is_open:
                raise KernelEnded
        return True

    def execute_job(self, job):
        kernel = self.kernel
        self.decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }
        # What was printed since the last execution belongs to none.
        kernel.drain(lambda _name, _data: None)
        if self.loss is not None:
            text = "note: since the last execution, %s; the state of the context is lost\n" % self.loss
            self.loss = None
            job.send(output_line("stderr", text))
        try:
            kernel.execute(job.details["code"], job.details["env"])
            self.forward(kernel, job)
        except ClientLeft:
            self.interrupt(kernel)
        except (OSError, Broken, KernelEnded) as ended:
            kernel.drain(lambda name, data: self.send_output(job, name, data))
            how = kernel.end_text()
            self.discard_kernel()
            message = "%s; the state of the context is lost, and the next code runs in a new one" % how
            if isinstance(ended, Broken):
                message = "the kernel broke the protocol (%s), and was ended" % ended
            job.send(error_line("KernelDied", message))
            job.send({"type": "end_of_execution"})

    def forward(self, kernel, job):
        """Passes on what the kernel reports, until the end of the execution."""
        while kernel.is_busy:
            event = kernel.next_event()
            if event is None:
                self.pump(kernel, job, None, lambda name, data: self.send_output(job, name, data))
                continue
            try:
                # The kernel sent this after all that is in the pipes now.
                kernel.drain(lambda name, data: self.send_output(job, name, data))
                self.forward_event(job, event)
            finally:
                # Also if the client has left: the kernel waits for it.
                kernel.confirm()
        for name in self.decoders:
            self.send_output(job, name, b"", is_last=True)
        job.send({"type": "end_of_execution"})

    def forward_event(self, job, event):
        kind = event.get("event")
        if kind == "count":
            job.send({"type": "number_of_executions", "execution_count": event["count"]})
        elif kind == "bundle":
            job.send(result_line(event["data"], event["main"]))
        elif kind == "error":
            job.send(error_line(event["name"], event["value"], event["traceback"]))
        elif kind in ("stdout", "stderr"):
            job.send(output_line(kind, event["text"]))

    def send_output(self, job, name, data, is_last=False):
        text = self.decoders[name].decode(data, is_last)
        if text:
            job.send(output_line(name, text))

    def interrupt(self, kernel):
        """Interrupts what runs until it ends, so that the next execution finds the kernel idle."""
        pauses = iter(INTERRUPT_PAUSES)
        pause = 0.0
        deadline = time.monotonic()
        try:
            while kernel.is_busy:
                if kernel.next_event() is not None:
                    kernel.drain(lambda _name, _data: None)
                    kernel.confirm()
                    continue
                if time.monotonic() >= deadline:
                    kernel.signal(signal.SIGINT)
                    pause = next(pauses, pause)
                    deadline = time.monotonic() + pause
                self.pump(kernel, None, deadline, lambda _name, _data: None)
        except (OSError, Broken, KernelEnded):
            self.lose_kernel()

    def lose_kernel(self):
        """Discards a kernel that has ended by itself; the next execution says so."""
        self.loss = self.kernel.end_text()
        self.discard_kernel()

    def discard_kernel(self):
        with self.lock:
            kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.close()

    def try_to_send(self, job, line):
        try:
            job.send(line)
        except ClientLeft:
            pass


def error_line(name, value, traceback=""):
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


def output_line(name, text):
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"type": name, "text": text, "timestamp": now.isoformat()}
