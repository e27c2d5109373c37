"""The interpreter's server: one process in a sandbox, which has all contexts.

It listens on a Unix socket. A connection carries one request, a line of JSON, and its answer: one line, or, for
code to run, lines as the output comes. A client that closes its connection interrupts its code.
"""

import os
import signal
import socket
import sys
import threading

from .context import Context
from .wire import Broken, LineReader, encode

MAX_CONTEXTS = 64
MAX_CONNECTIONS = 256
# How long a client may take to send its request.
REQUEST_TIMEOUT = 60

LANGUAGES = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "ipython": "python",
    "bash": "bash",
    "sh": "bash",
    "shell": "bash",
}


class Refusal(Exception):
    """A request that is not carried out: a code for programs, and a message for people."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


class Contexts:
    """All contexts by id, the oldest first, and the one of each language that is used if none is named."""

    def __init__(self):
        self.lock = threading.Lock()
        self.by_id = {}
        self.defaults = {}

    def create(self, language, cwd):
        with self.lock:
            return self.add(parse_language(language), prepare_directory(cwd))

    def add(self, language, cwd):
        if len(self.by_id) >= MAX_CONTEXTS:
            raise Refusal("exhausted", "there are %d contexts already; remove one first" % MAX_CONTEXTS)
        context = Context(language, cwd)
        self.by_id[context.id] = context
        return context

    def choose(self, context_id, language):
        """Returns the context with this id, or the default one of a language."""
        with self.lock:
            if context_id is not None:
                return self.find(context_id)
            language = parse_language(language)
            context = self.by_id.get(self.defaults.get(language))
            if context is None:
                context = self.add(language, prepare_directory(None))
                self.defaults[language] = context.id
            return context

    def find(self, context_id):
        context = self.by_id.get(context_id) if isinstance(context_id, str) else None
        if context is None:
            raise Refusal("not_found", "context %s not found" % (context_id,))
        return context

    def get(self, context_id):
        with self.lock:
            return self.find(context_id)

    def remove(self, context_id):
        with self.lock:
            context = self.find(context_id)
            del self.by_id[context.id]
        return context

    def forget(self, context):
        """Removes a context whose kernel cannot be started."""
        with self.lock:
            self.by_id.pop(context.id, None)
        context.remove()

    def list(self):
        with self.lock:
            return list(self.by_id.values())


def parse_language(language):
    if language is None:
        return "python"
    known = LANGUAGES.get(language.lower()) if isinstance(language, str) else None
    if known is None:
        raise Refusal("unsupported", "no kernel for %s here; python and bash are supported" % (language,))
    return known


def prepare_directory(cwd):
    """Returns the directory to work in. One that does not exist is created, as `docker run --workdir` does."""
    if cwd is None:
        return "/home/user" if os.path.isdir("/home/user") else os.path.expanduser("~")
    if not isinstance(cwd, str) or "\0" in cwd:
        raise Refusal("invalid", "cwd is not a path")
    path = os.path.join(os.path.expanduser("~"), os.path.expanduser(cwd))
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise Refusal("invalid", "cwd '%s' cannot be used: %s" % (cwd, error.strerror))
    return path


def describe(context):
    return {"id": context.id, "language": context.language, "cwd": context.cwd}


def parse_environment(env):
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise Refusal("invalid", "env_vars is not an object")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or not isinstance(value, str) or "\0" in value:
            raise Refusal("invalid", "env_vars has no valid value for '%s'" % name)
    return env


def answer(contexts, client, request):
    """Carries out a request. Returns whether the connection was passed on to the context's own thread."""
    what = request.get("do")
    if what == "execute":
        code = request.get("code")
        if not isinstance(code, str):
            raise Refusal("invalid", "code is not a string")
        env = parse_environment(request.get("env"))
        context = contexts.choose(request.get("context"), request.get("language"))
        context.execute(client, code, env)
        return True
    if what == "create":
        context = contexts.create(request.get("language"), request.get("cwd"))
        context.start(client, describe(context), lambda: contexts.forget(context))
        return True
    if what == "restart":
        context = contexts.get(request.get("context"))
        context.restart(client, describe(context))
        return True
    if what == "remove":
        contexts.remove(request.get("context")).remove()
        client.sendall(encode({"type": "done"}))
        return False
    if what == "list":
        # A client that has never run anything expects the context that it would run in.
        contexts.choose(None, None)
        listed = [describe(context) for context in contexts.list()]
        client.sendall(encode({"type": "contexts", "contexts": listed}))
        return False
    if what == "health":
        client.sendall(encode({"type": "done"}))
        return False
    raise Refusal("invalid", "unknown request")


def serve(contexts, client, places):
    is_passed_on = False
    try:
        client.settimeout(REQUEST_TIMEOUT)
        request = LineReader(client).read()
        client.settimeout(None)
        if request is not None:
            try:
                is_passed_on = answer(contexts, client, request)
            except Refusal as refusal:
                client.sendall(encode({"type": "refused", "code": refusal.code, "message": refusal.message}))
    except (OSError, Broken):
        # The client has left, or is none.
        pass
    finally:
        places.release()
        if not is_passed_on:
            client.close()


def main():
    path, ready = sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    # Kernels have the umask of a login.
    os.umask(0o022)
    os.write(ready, b"+")
    os.close(ready)
    contexts = Contexts()
    places = threading.BoundedSemaphore(MAX_CONNECTIONS)
    while True:
        client, _ = listener.accept()
        places.acquire()
        threading.Thread(target=serve, args=(contexts, client, places), daemon=True).start()
