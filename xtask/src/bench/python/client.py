"""Times one library against the SSH server of a sandbox; prints seconds as JSON. Started by `cargo xtask bench python`.

Arguments: the library, the id of the sandbox, its socket, the login name, the file with the private key. For `e2b` none
but the first: its environment names the gateway. For `turns`, the id of the sandbox and the file to transfer.
"""

import asyncio
import json
import socket
import sys
import time

COMMANDS = 300
AT_ONCE = 1000
SIZE = 1 << 30


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ours(id):
    start = time.perf_counter()
    import sandbox_sdk

    figures = {"import": [time.perf_counter() - start]}
    with sandbox_sdk.Client() as client, client.get(id) as sbx:
        sbx.run(["true"])
        figures["command"] = [timed(lambda: sbx.run(["true"])) for _ in range(COMMANDS)]

    async def at_once():
        async with sandbox_sdk.AsyncClient() as client, await client.get(id) as sbx:
            await sbx.run(["true"])
            start = time.perf_counter()
            await asyncio.gather(*(sbx.run(["true"]) for _ in range(AT_ONCE)))
            return time.perf_counter() - start

    figures["at once"] = [asyncio.run(at_once())]
    return figures


def turns(id, local):
    """Does what each line of the input names, and prints how many seconds that took."""
    import sandbox_sdk

    def output():
        with sbx.popen(["head", "-c", str(SIZE), "/dev/zero"]) as process:
            assert sum(len(chunk.data) for chunk in process) == SIZE

    with sandbox_sdk.Client() as client, client.get(id) as sbx:
        work = {
            "upload": lambda: sbx.upload(local, "python"),
            "download": lambda: sbx.download("python", local),
            "output": output,
        }
        for line in sys.stdin:
            print(timed(work[line.strip()]), flush=True)


def paramiko(path, user, key):
    import paramiko

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    transport = paramiko.Transport(connection)
    transport.connect(username=user, pkey=paramiko.Ed25519Key.from_private_key_file(key))

    def command(line="true"):
        channel = transport.open_session()
        channel.exec_command(line)
        channel.recv_exit_status()
        channel.close()

    def with_check():
        command("echo test")
        command()

    command()
    figures = {
        "command": [timed(command) for _ in range(COMMANDS)],
        # The original SDK looked whether a connection lives by running a command on it.
        "command after a check": [timed(with_check) for _ in range(COMMANDS)],
    }
    transport.close()
    return figures


def asyncssh(path, user, key):
    import asyncssh

    async def run():
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        options = {"username": user, "client_keys": [key], "known_hosts": None, "config": None}
        async with asyncssh.connect(sock=connection, **options) as session:
            await session.run("true")
            times = []
            for _ in range(COMMANDS):
                start = time.perf_counter()
                await session.run("true")
                times.append(time.perf_counter() - start)
            return {"command": times}

    return asyncio.run(run())


def e2b():
    import e2b

    sandbox = e2b.Sandbox.create()
    try:
        sandbox.commands.run("true")
        return {"command": [timed(lambda: sandbox.commands.run("true")) for _ in range(COMMANDS)]}
    finally:
        sandbox.kill()


if __name__ == "__main__":
    library, *access = sys.argv[1:]
    if library == "turns":
        turns(*access)
        sys.exit()
    if library == "sandbox_sdk":
        figures = ours(access[0])
    elif library == "e2b":
        figures = e2b()
    else:
        figures = {"paramiko": paramiko, "asyncssh": asyncssh}[library](*access[1:])
    print(json.dumps(figures))
