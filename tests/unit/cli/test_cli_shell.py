"""The shell: fast, lazy, and one sentence where something fails."""

import subprocess
import sys
from collections.abc import Callable

import click
import grpc
import pytest
from click.testing import CliRunner, Result

from clipsearch.cli import shell as shell_module
from clipsearch.cli.shell import VERBS, Verb, shell
from clipsearch.client import InvalidArgument
from clipsearch.errors import UnusableBundle

Run = Callable[..., Result]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], Run]:
    """A shell whose only verb, ``fail``, raises what it is given."""

    def make(error: BaseException) -> Run:
        @click.command()
        def fail() -> None:
            raise error

        module = type(sys)("failing_verb")
        module.fail = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing_verb", module)
        monkeypatch.setattr(shell_module, "VERBS", {"fail": Verb("failing_verb:fail", "Fails.", "cpu")})
        return lambda *arguments: CliRunner().invoke(shell, [*arguments, "fail"])

    return make


def test_help_lists_every_verb_and_imports_none() -> None:
    code = """
import sys
from clipsearch.cli import main
try:
    main()
finally:
    heavy = {"grpc", "numpy", "onnxruntime", "faiss", "torch", "rich", "PIL", "pyarrow", "pydantic", "clipsearch.app"}
    print("loaded:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True, text=True)
    for name, verb in VERBS.items():
        assert any(name in line and verb.summary in line for line in done.stdout.splitlines()), name
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize("verb", ["serve", "search", "embed", "index"])
def test_help_of_a_verb_loads_neither_torch_nor_a_runtime(verb: str) -> None:
    code = """
import sys
from clipsearch.cli import main
try:
    main()
finally:
    print("loaded:", sorted({"onnxruntime", "faiss", "torch", "transformers"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, verb, "--help"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"Usage: clipsearch {verb}")
    assert done.stdout.endswith("loaded: []\n")


def test_every_verb_has_a_command() -> None:
    for name in VERBS:
        command = shell.get_command(click.Context(shell), name)
        assert isinstance(command, click.Command), name


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "clipsearch", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("clipsearch, version ")


def test_base_install_says_what_is_missing() -> None:
    code = """
import sys
class NoClick:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise ModuleNotFoundError("No module named 'click'", name="click")
sys.meta_path.insert(0, NoClick())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "click" else real(name, package)
from clipsearch.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "The command line needs the cli extra: pip install 'clipsearch[cli]' (this install has the client only)."
    ]


def test_missing_extra_of_a_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(shell_module, "VERBS", {"export": Verb("torch.nothing:x", "Exports.", "export")})
    result = CliRunner().invoke(shell, ["export"])
    assert result.exit_code == 1
    sentence = (
        "Error: this needs the export extra: pip install 'clipsearch[export]' (torch.nothing is not installed).\n"
    )
    assert result.stderr == sentence


def test_missing_library_while_the_verb_runs(failing: Callable[[BaseException], Run]) -> None:
    result = failing(ModuleNotFoundError("No module named 'faiss'", name="faiss"))()
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: this needs the cpu extra: pip install 'clipsearch[cpu]' (faiss is not installed).\n"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UnusableBundle("the bundle is torn"), "the bundle is torn"),
        (
            InvalidArgument("no", code=grpc.StatusCode.INVALID_ARGUMENT, reason="TOP_K_OUT_OF_RANGE"),
            "INVALID_ARGUMENT (TOP_K_OUT_OF_RANGE): no",
        ),
        (FileNotFoundError(2, "No such file or directory", "x.png"), "[Errno 2] No such file or directory: 'x.png'"),
        (KeyError("k"), "unexpected KeyError: 'k' (`clipsearch --debug …` shows where)"),
        (
            ModuleNotFoundError("No module named 'clipsearch.nowhere'", name="clipsearch.nowhere"),
            "unexpected ModuleNotFoundError: No module named 'clipsearch.nowhere' (`clipsearch --debug …` shows where)",
        ),
    ],
)
def test_failure_is_one_sentence(failing: Callable[[BaseException], Run], error: Exception, message: str) -> None:
    run = failing(error)
    result = run()
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")
    assert run("--debug").exception is error


def test_wrong_usage() -> None:
    for arguments in (["nothing"], ["search", "--nothing"], ["search"], ["search", "a", "--id", "b"]):
        result = CliRunner().invoke(shell, arguments)
        assert result.exit_code == 2, arguments
        assert "Error: " in result.stderr
