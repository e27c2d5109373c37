"""Makes sure that the interpreter's server runs in this sandbox, and prints where it listens.

The gateway runs this with `python3 -c`, and sends the server's files as JSON on standard input. Any number of
gateways may do so at once: a lock decides who starts the server.
"""

import fcntl
import json
import os
import socket
import stat
import sys


def base_directory():
    """Returns a private directory whose path is short enough for a socket (108 bytes on Linux)."""
    home = os.path.join(os.path.expanduser("~"), ".sandbox", "interpreter")
    shared = "/tmp/.sandbox-interpreter-%d" % os.getuid()
    refusals = []
    for path in (home, shared):
        try:
            if len(os.fsencode(path)) > 80:
                raise OSError("the path is too long for a socket")
            os.makedirs(path, mode=0o700, exist_ok=True)
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise OSError("it is not a directory of this user")
            os.chmod(path, 0o700)
            return path
        except OSError as error:
            refusals.append("%s: %s" % (path, error))
    sys.exit("no directory for the interpreter: " + "; ".join(refusals))


def is_listening(path):
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def install(base, package):
    """Writes the server's files; returns the directory to import them from."""
    directory = os.path.join(base, "driver-" + package["version"])
    target = os.path.join(directory, "sandbox_interpreter")
    os.makedirs(target, mode=0o700, exist_ok=True)
    for name, source in package["files"].items():
        temporary = os.path.join(target, ".%s.%d" % (os.path.basename(name), os.getpid()))
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(source)
        os.replace(temporary, os.path.join(target, os.path.basename(name)))
    return directory


def start(directory, path):
    """Starts the server, and returns when it listens."""
    import subprocess

    ready, done = os.pipe()
    program = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox_interpreter.server import main; main()"
    log = os.open(os.path.join(os.path.dirname(path), "log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program, directory, path, str(done)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(done,),
        start_new_session=True,
        cwd="/",
    )
    os.close(done)
    if os.read(ready, 1) != b"+":
        with open(os.path.join(os.path.dirname(path), "log"), errors="replace") as file:
            sys.exit("the interpreter's server did not start: " + file.read(4096).strip())


def main():
    package = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    base = base_directory()
    path = os.path.join(base, "%d.sock" % package["protocol"])
    with open(os.path.join(base, "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_listening(path):
            if os.path.lexists(path):
                os.unlink(path)
            start(install(base, package), path)
    print(json.dumps({"socket": path}))


main()
