"""A client under test that is written in Python: `client.py paramiko|asyncssh TARGET`.

It answers one line of JSON with another, as the other clients do.
"""

import asyncio
import json
import os
import resource
import sys
import threading
import time

KIND, TARGET = sys.argv[1], json.loads(sys.argv[2])
KEY = TARGET["directory"] + "/user"
KNOWN = TARGET["directory"] + "/known_hosts"
COMMAND = "/bin/true"


class Paramiko:
    def __init__(self):
        import paramiko

        self.paramiko = paramiko
        self.warm = None

    def connect(self):
        client = self.paramiko.SSHClient()
        client.load_host_keys(KNOWN)
        client.connect(
            "127.0.0.1",
            port=TARGET["port"],
            username=TARGET["user"],
            key_filename=KEY,
            look_for_keys=False,
            allow_agent=False,
        )
        return client

    def exec(self):
        _, stdout, _ = self.warm.exec_command(COMMAND)
        if stdout.channel.recv_exit_status() != 0:
            raise RuntimeError("it failed")
        stdout.channel.close()

    def many(self, callers, seconds):
        until = time.monotonic() + seconds
        counts, errors = [], []

        def caller():
            count = 0
            try:
                while time.monotonic() < until:
                    self.exec()
                    count += 1
            except Exception as error:
                errors.append(error)
            counts.append(count)

        threads = [threading.Thread(target=caller) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return sum(counts)

    def perform(self, op):
        kind = op["op"]
        if kind == "handshake":
            self.connect().close()
        elif kind == "warm":
            self.warm = self.connect()
        elif kind == "exec":
            self.exec()
        elif kind == "many":
            return self.many(op["callers"], op["seconds"])
        else:
            client = self.connect()
            sftp = client.open_sftp()
            if kind == "put":
                sftp.put(op["local"], op["remote"])
            elif kind == "get":
                sftp.get(op["remote"], op["local"])
            elif kind == "puttree":
                self.put_tree(sftp, op["local"], op["remote"])
            elif kind == "gettree":
                self.get_tree(sftp, op["remote"], op["local"])
            client.close()
        return 0

    def put_tree(self, sftp, local, remote):
        sftp.mkdir(remote)
        for entry in os.scandir(local):
            if entry.is_dir():
                self.put_tree(sftp, entry.path, remote + "/" + entry.name)
            else:
                sftp.put(entry.path, remote + "/" + entry.name)

    def get_tree(self, sftp, remote, local):
        os.mkdir(local)
        for entry in sftp.listdir_attr(remote):
            if entry.st_mode & 0o170000 == 0o040000:
                self.get_tree(sftp, remote + "/" + entry.filename, local + "/" + entry.filename)
            else:
                sftp.get(remote + "/" + entry.filename, local + "/" + entry.filename)


class AsyncSsh:
    def __init__(self):
        import asyncssh

        self.asyncssh = asyncssh
        self.loop = asyncio.new_event_loop()
        self.warm = None

    def perform(self, op):
        return self.loop.run_until_complete(self.performed(op))

    async def connect(self):
        return await self.asyncssh.connect(
            "127.0.0.1",
            port=TARGET["port"],
            username=TARGET["user"],
            client_keys=[KEY],
            known_hosts=KNOWN,
            agent_path=None,
            config=None,
            encryption_algs=["aes256-gcm@openssh.com"],
        )

    async def exec(self):
        if (await self.warm.run(COMMAND)).exit_status != 0:
            raise RuntimeError("it failed")

    async def many(self, callers, seconds):
        until = time.monotonic() + seconds

        async def caller():
            count = 0
            while time.monotonic() < until:
                await self.exec()
                count += 1
            return count

        return sum(await asyncio.gather(*(caller() for _ in range(callers))))

    async def performed(self, op):
        kind = op["op"]
        if kind == "handshake":
            connection = await self.connect()
            connection.close()
        elif kind == "warm":
            self.warm = await self.connect()
        elif kind == "exec":
            await self.exec()
        elif kind == "many":
            return await self.many(op["callers"], op["seconds"])
        else:
            async with await self.connect() as connection:
                async with connection.start_sftp_client() as sftp:
                    if kind in ("put", "puttree"):
                        await sftp.put(op["local"], op["remote"], recurse=kind == "puttree")
                    else:
                        await sftp.get(op["remote"], op["local"], recurse=kind == "gettree")
        return 0


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    client = {"paramiko": Paramiko, "asyncssh": AsyncSsh}[KIND]()
    for line in sys.stdin:
        op = json.loads(line)
        done = {"count": 0, "each": []}
        before = cpu()
        try:
            for _ in range(op.get("times", 1)):
                start = time.monotonic()
                done["count"] += client.perform(op)
                done["each"].append(time.monotonic() - start)
        except Exception as error:
            done["error"] = f"{type(error).__name__}: {error}"
        done["seconds"] = sum(done["each"])
        done["cpu"] = cpu() - before
        done["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(done), flush=True)
    os._exit(0)


main()
