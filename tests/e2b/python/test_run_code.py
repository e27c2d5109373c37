"""Code by `run_code`: state, results, output as it comes, errors, contexts."""

import time

import pytest

pytestmark = pytest.mark.since("2.45.0")


@pytest.fixture(scope="module")
def notebook():
    # The oldest `e2b` has no code interpreter beside it that could be pointed at another server.
    from conftest import RUN, kill_later
    from e2b_code_interpreter import Sandbox

    sandbox = Sandbox.create(timeout=300, metadata={"run": RUN})
    yield sandbox
    kill_later(sandbox)


@pytest.mark.smoke
def test_result_and_output(notebook):
    execution = notebook.run_code("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert execution.text == "42"
    assert "".join(execution.logs.stdout) == "out\n"
    assert "".join(execution.logs.stderr) == "err\n"
    assert execution.error is None
    assert execution.results[0].is_main_result


def test_state_is_kept(notebook):
    notebook.run_code("kept = [1, 2]\ndef double(x): return 2 * x\nimport math")
    assert notebook.run_code("kept.append(double(kept[-1])); kept").text == "[1, 2, 4]"
    assert notebook.run_code("math.floor(2.5)").text == "2"


def test_no_result(notebook):
    execution = notebook.run_code("x = 1")
    assert execution.text is None and execution.results == []


def test_text_of_a_string_has_no_quotes(notebook):
    assert notebook.run_code("'ünï 🦀'").text == "ünï 🦀"


def test_error(notebook):
    execution = notebook.run_code("def divide(): return 1 / 0\ndivide()")
    assert execution.error.name == "ZeroDivisionError"
    assert execution.error.value == "division by zero"
    assert "divide" in execution.error.traceback
    # The context is still of use.
    assert notebook.run_code("1 + 1").text == "2"


def test_syntax_error(notebook):
    execution = notebook.run_code("for in range")
    assert execution.error.name == "SyntaxError"


def test_output_comes_as_it_is_printed(notebook):
    arrivals = []
    notebook.run_code(
        "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.4)",
        on_stdout=lambda message: arrivals.append((time.monotonic(), message.line)),
    )
    assert "".join(line for _, line in arrivals) == "0\n1\n2\n"
    assert arrivals[-1][0] - arrivals[0][0] > 0.5


def test_callbacks_for_results_and_errors(notebook):
    results, errors = [], []
    notebook.run_code("'value'", on_result=results.append, on_error=errors.append)
    notebook.run_code("raise KeyError('k')", on_result=results.append, on_error=errors.append)
    assert [result.text for result in results] == ["value"]
    assert [error.name for error in errors] == ["KeyError"]


def test_rich_results(notebook):
    execution = notebook.run_code(
        "class Rich:\n"
        "    def _repr_html_(self): return '<b>bold</b>'\n"
        "    def _repr_markdown_(self): return '**bold**'\n"
        "    def __repr__(self): return 'bold'\n"
        "Rich()"
    )
    result = execution.results[0]
    assert (result.text, result.html, result.markdown) == ("bold", "<b>bold</b>", "**bold**")


def test_environment_of_one_run(notebook):
    code = "import os; os.environ.get('ONLY_HERE')"
    assert notebook.run_code(code, envs={"ONLY_HERE": "yes"}).text == "yes"
    assert notebook.run_code(code).text in (None, "None")


def test_files_are_those_of_the_sandbox(notebook):
    notebook.files.write("from_outside", "content")
    assert notebook.run_code("open('from_outside').read()").text == "content"
    notebook.run_code("open('from_code', 'w').write('made here')")
    assert notebook.files.read("from_code") == "made here"


def test_subprocess_output(notebook):
    execution = notebook.run_code("import subprocess; print(subprocess.run(['echo', 'sub'], capture_output=True).stdout)")
    assert "".join(execution.logs.stdout) == "b'sub\\n'\n"


def test_contexts_are_separate(notebook, request):
    one = notebook.create_code_context()
    two = notebook.create_code_context(cwd="/tmp")
    notebook.run_code("name = 'one'", context=one)
    assert notebook.run_code("name", context=two).error.name == "NameError"
    assert notebook.run_code("name", context=one).text == "one"
    assert notebook.run_code("import os; os.getcwd()", context=two).text == "/tmp"
    listed = [context.id for context in notebook.list_code_contexts()]
    assert one.id in listed and two.id in listed
    notebook.restart_code_context(one)
    assert notebook.run_code("name", context=one).error.name == "NameError"
    notebook.remove_code_context(one)
    notebook.remove_code_context(two)
    with pytest.raises(Exception):
        notebook.run_code("1", context=one)


def test_bash(notebook):
    execution = notebook.run_code("echo from $((1 + 1))", language="bash")
    assert "".join(execution.logs.stdout) == "from 2\n"


def test_unknown_language_is_refused_in_words(notebook):
    with pytest.raises(Exception, match="(?i)cobol"):
        notebook.run_code("DISPLAY 1", language="cobol")


def test_timeout_interrupts_the_code(notebook):
    from e2b import TimeoutException

    context = notebook.create_code_context()
    with pytest.raises(TimeoutException):
        notebook.run_code("while True: pass", context=context, timeout=1)
    start = time.monotonic()
    assert notebook.run_code("'free'", context=context, timeout=30).text == "free"
    assert time.monotonic() - start < 15
    notebook.remove_code_context(context)


def test_two_megabytes_of_output(notebook):
    execution = notebook.run_code("print('y' * 2_000_000)")
    assert sum(map(len, execution.logs.stdout)) == 2_000_001


def test_code_that_ends_its_interpreter(notebook):
    context = notebook.create_code_context()
    start = time.monotonic()
    try:
        execution = notebook.run_code("import os; os._exit(3)", context=context, timeout=20)
        assert execution.error is not None
    except Exception as error:
        assert str(error)
    assert time.monotonic() - start < 19
    assert notebook.run_code("'still here'").text == "still here"
