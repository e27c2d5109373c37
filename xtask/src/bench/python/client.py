"""Times one library against the SSH server of a sandbox; prints seconds as JSON. Started by `cargo xtask bench python`.

Arguments: the library, the id of the sandbox, its socket, the login name, the file with the private key. For `e2b` none
but the first: its environment names the gateway.
"""

import asyncio
import json
import pathlib
import socket
import sys
import tempfile
import time

COMMANDS = 300
AT_ONCE = 1000
SIZE = 1 << 30
TRANSFERS = 5


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
        with tempfile.TemporaryDirectory() as directory:
            local = pathlib.Path(directory) / "data"
            with local.open("wb") as file:
                for _ in range(SIZE >> 20):
                    file.write(bytes(1 << 20))
            # The first transfers create the files.
            sbx.upload(local, "data")
            sbx.download("data", local)
            figures["upload"], figures["download"] = [], []
            for _ in range(TRANSFERS):
                figures["upload"].append(timed(lambda: sbx.upload(local, "data")))
                figures["download"].append(timed(lambda: sbx.download("data", local)))

    async def at_once():
        async with sandbox_sdk.AsyncClient() as client, await client.get(id) as sbx:
            await sbx.run(["true"])
            start = time.perf_counter()
            await asyncio.gather(*(sbx.run(["true"]) for _ in range(AT_ONCE)))
            return time.perf_counter() - start

    figures["at once"] = [asyncio.run(at_once())]
    return figures


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
    if library == "sandbox_sdk":
        figures = ours(access[0])
    elif library == "e2b":
        figures = e2b()
    else:
        figures = {"paramiko": paramiko, "asyncssh": asyncssh}[library](*access[1:])
    print(json.dumps(figures))
