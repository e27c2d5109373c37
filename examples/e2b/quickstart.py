"""E2B's own Python SDK against `sandbox serve`.

    pip install e2b-code-interpreter
    export E2B_API_URL=http://127.0.0.1:3000 E2B_SANDBOX_URL=http://127.0.0.1:3000 E2B_API_KEY=e2b_…
    python quickstart.py
"""

from e2b_code_interpreter import Sandbox

with Sandbox.create(timeout=120) as sandbox:
    print("created", sandbox.sandbox_id)

    result = sandbox.commands.run("echo hello from $E2B_SANDBOX_ID")
    print("command:", result.stdout.strip())

    sandbox.files.write("notes/today.txt", "written from outside\n")
    print("file:", sandbox.files.read("notes/today.txt").strip())

    execution = sandbox.run_code("lines = open('notes/today.txt').readlines(); len(lines)")
    print("code:", execution.text)

print("the sandbox is gone:", not sandbox.is_running())
