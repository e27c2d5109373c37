"""A sandbox from its creation to its end, with the Python package (docs/PYTHON.md).

pip install target/wheels/sandbox_sdk-*.whl
python examples/python/quickstart.py
"""

import subprocess
import tempfile
from pathlib import Path

from sandbox_sdk import Client, CommandExecutionError, SandboxNotFoundError

SCRIPT = """
import collections, json, sys
words = collections.Counter(sys.stdin.read().split())
for number, (word, count) in enumerate(words.most_common(), 1):
    print(number, word, count, flush=True)
json.dump(words, open("report.json", "w"))
"""


def main() -> None:
    with Client() as client:
        with client.create(labels={"example": "quickstart"}, ttl=600) as sbx:
            print(f"created {sbx.id}: {sbx.initial_info.isolation}")
            hello = sbx.run(["echo", "hello", "from inside"], text=True, check=True)
            print(f"ran a command: {hello.stdout.strip()}")

            sbx.write_text("count.py", SCRIPT)
            with sbx.popen(["python3", "count.py"], stdin=subprocess.PIPE, text=True) as process:
                assert process.stdin is not None
                process.stdin.write("to be or not to be")
                process.stdin.close()
                for line in process.lines():
                    print("  it prints", line.data.strip())

            with tempfile.TemporaryDirectory() as directory:
                report = sbx.download("report.json", Path(directory) / "report.json")
                print(f"downloaded its report: {report.bytes} bytes")

            try:
                sbx.shell("cat missing", check=True)
            except CommandExecutionError as error:
                print(f"a failure is an exception: {error}")
        try:
            client.get(sbx.id)
        except SandboxNotFoundError:
            print("it is gone: True")


if __name__ == "__main__":
    main()
