"""The bash kernel: one interactive bash without a terminal, which keeps directory, variables and functions."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys

from .link import Link

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
# The descriptors inside bash, above those that scripts use.
CODE_FD = 198
STATUS_FD = 199
# What a pipe that can be written to takes at once (POSIX has 512 at least, Linux 4096).
PIPE_BUF = 4096


class BashKernel:
    def __init__(self, link):
        self.link = link
        self.count = 0
        self.buffer = b""
        code_reader, self.code = os.pipe()
        self.status, status_writer = os.pipe()
        control_reader, self.control = os.pipe()
        shell = shutil.which("bash")
        if shell is None:
            raise OSError("there is no bash in this image")
        os.dup2(code_reader, CODE_FD)
        os.dup2(status_writer, STATUS_FD)
        os.set_blocking(self.code, False)
        # An interactive shell returns to its next line when it is interrupted; any other would end.
        self.process = subprocess.Popen(
            [shell, "--noprofile", "--norc", "--noediting", "-i"],
            stdin=control_reader,
            pass_fds=(CODE_FD, STATUS_FD),
            env=dict(os.environ, PS1="", PS2="", PROMPT_COMMAND="", HISTFILE=""),
        )
        for descriptor in (code_reader, status_writer, control_reader, CODE_FD, STATUS_FD):
            os.close(descriptor)
        self.command("set +H; unset PS1 PS2 PROMPT_COMMAND HISTFILE; printf '0 0\\n' >&%d" % STATUS_FD)
        self.wait_for(0, b"")

    def command(self, line):
        os.write(self.control, line.encode("utf-8", "surrogateescape") + b"\n")

    def run(self, code, env):
        self.count += 1
        self.link.emit({"event": "count", "count": self.count})
        for name in env:
            if not NAME.match(name):
                self.error("InvalidVariable", "'%s' is not a name of a variable of bash" % name)
                return
        if "\0" in code:
            self.error("InvalidCode", "code for bash cannot contain a NUL character")
            return
        before, after = environment_lines(env, self.count)
        self.restore = "%s printf '%d 130\\n' >&%d" % (after, self.count, STATUS_FD)
        # Read as one word from a descriptor of its own, so that the code is no line of the shell's input. An interrupt
        # can come before bash has read it: it stays in the pipe, so that bash skips what does not have this mark.
        mark = os.urandom(8).hex() + ":"
        self.command(
            "%s while IFS= read -r -d '' -u %d __sandbox_code; do case $__sandbox_code in %s*) break;; esac; done; "
            "__sandbox_code=${__sandbox_code:%d}; eval \"$__sandbox_code\" </dev/null %d<&- %d>&-; "
            "__sandbox_status=$?; %s printf '%%d %%d\\n' %d \"$__sandbox_status\" >&%d"
            % (before, CODE_FD, mark, len(mark), CODE_FD, STATUS_FD, after, self.count, STATUS_FD)
        )
        self.link.can_interrupt = True
        # The first NUL ends what an interrupt has left of other code.
        status = self.wait_for(self.count, b"\0" + mark.encode() + code.encode("utf-8", "surrogateescape") + b"\0")
        self.link.can_interrupt = False
        if status == 130 and self.is_interrupted:
            self.link.emit({"event": "error", "name": "KeyboardInterrupt", "value": "", "traceback": ""})
        elif status:
            value = "exit status %d" % status
            self.link.emit({"event": "error", "name": "ExitStatus", "value": value, "traceback": value})
        self.link.emit({"event": "done"})

    def error(self, name, value):
        self.link.emit({"event": "error", "name": name, "value": value, "traceback": value})
        self.link.emit({"event": "done"})

    def on_interrupt(self, _signum, _frame):
        """Bash has the signal as well, and forgets the rest of its line: this one follows it."""
        self.is_interrupted = True
        if self.link.can_interrupt:
            self.command(self.restore)

    def wait_for(self, number, code):
        """Hands code to bash, and waits for the status of this execution. Others are of an interrupted one that had
        ended; bash does not read the code of such a one to its end."""
        self.is_interrupted = False
        code = memoryview(code)
        while True:
            line, separator, rest = self.buffer.partition(b"\n")
            if separator:
                self.buffer = rest
                fields = line.split()
                if len(fields) == 2 and fields[0] == b"%d" % number:
                    return int(fields[1])
                continue
            readable, writable, _ = select.select([self.status], [self.code] if code else [], [])
            if writable and not readable:
                try:
                    code = code[os.write(self.code, code[:PIPE_BUF]) :]
                except BrokenPipeError:
                    # Bash has ended, and with it the pipe that is read below.
                    code = b""
                continue
            data = os.read(self.status, 4096)
            if not data:
                # `exit` ends the kernel with this status, which the server reports.
                status = self.process.wait()
                sys.stdout.flush()
                os._exit(status if status >= 0 else 128 - status)
            self.buffer += data


def environment_lines(env, number):
    """Returns the lines that set variables for one execution, and those that restore them, which do so once: each
    interrupt sends them again."""
    before, after = ["__sandbox_env=%d;" % number], []
    for index, (name, value) in enumerate(sorted(env.items())):
        saved = "__sandbox_saved_%d" % index
        quoted = "'%s'" % value.replace("'", "'\\''").replace("\n", "'$'\\n''")
        before.append("unset %s; [ -z \"${%s+x}\" ] || %s=$%s; export %s=%s;" % (saved, name, saved, name, name, quoted))
        after.append(
            "if [ -n \"${%s+x}\" ]; then %s=$%s; unset %s; else unset %s; fi;" % (saved, name, saved, saved, name)
        )
    restore = "if [ \"$__sandbox_env\" = %d ]; then __sandbox_env=; %s fi;" % (number, " ".join(after))
    return " ".join(before), restore


def main(requests, events):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, lambda _signum, _frame: None)
    link = Link(requests, events)
    try:
        kernel = BashKernel(link)
    except OSError as error:
        sys.exit(str(error))
    signal.signal(signal.SIGINT, kernel.on_interrupt)
    link.emit({"event": "ready"})
    while True:
        request = link.receive()
        if request is None:
            break
        kernel.run(request["code"], request["env"])
