"""The direction of imports, as docs and design say it, checked on the syntax tree of every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "clipsearch": ROOT / "server/clipsearch",
    "clipsearch_export": ROOT / "export/clipsearch_export",
    "clipsearch_demo": ROOT / "demo/clipsearch_demo",
}
TRAINING = ("torch", "transformers", "optimum")
TRANSPORT = ("grpc", "grpc_health", "grpc_reflection", "grpc_status", "google", "clipsearch.v1")

SERVER_PARTS = sorted(
    path.stem
    for path in PACKAGES["clipsearch"].iterdir()
    if path.suffix in {"", ".py"} and path.stem not in {"__init__", "__pycache__", "client", "client_options", "fetch"}
)

# For each part of the tree: what it must not import, and why one would be sorry.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    # the server runs where no training stack is installed
    "clipsearch": (*TRAINING, "clipsearch_export", "clipsearch_demo"),
    # rpc is the only layer that sees grpc; use cases can be driven without a transport
    "clipsearch.services": (*TRANSPORT, "onnxruntime", "faiss", "tokenizers", "clipsearch.rpc", "clipsearch.app"),
    "clipsearch.batching": (
        *TRANSPORT,
        "onnxruntime",
        "faiss",
        "numpy",
        "clipsearch.services",
        "clipsearch.encoders",
        "clipsearch.index",
        "clipsearch.catalogue",
    ),
    "clipsearch.encoders": (*TRANSPORT, "faiss", "clipsearch.services", "clipsearch.batching", "clipsearch.index"),
    # vectors and row numbers, nothing else
    "clipsearch.index": (
        *TRANSPORT,
        "onnxruntime",
        "sqlite3",
        "clipsearch.services",
        "clipsearch.batching",
        "clipsearch.encoders",
        "clipsearch.catalogue",
    ),
    # durability, nothing else
    "clipsearch.catalogue": (
        *TRANSPORT,
        "onnxruntime",
        "faiss",
        "clipsearch.services",
        "clipsearch.batching",
        "clipsearch.encoders",
        "clipsearch.index",
    ),
    "clipsearch.rpc": (
        "onnxruntime",
        "faiss",
        "sqlite3",
        "clipsearch.encoders",
        "clipsearch.index",
        "clipsearch.catalogue",
        "clipsearch.batching",
        "clipsearch.app",
    ),
    # a job meets a server through the client, and a person through whoever reports its progress
    "clipsearch.embed_job": (
        "click",
        "rich",
        "clipsearch.v1",
        "clipsearch.app",
        "clipsearch.cli",
        "clipsearch.rpc",
        "clipsearch.batching",
    ),
    # bytes of a URL, whoever wants them
    "clipsearch.fetch": (
        *TRANSPORT,
        "PIL",
        "click",
        "numpy",
        "clipsearch.app",
        "clipsearch.cli",
        "clipsearch.client",
        "clipsearch.services",
        "clipsearch.encoders",
        "clipsearch.index",
        "clipsearch.catalogue",
    ),
    # the base install has neither a model nor an index
    "clipsearch.client": (
        "aiohttp",
        "onnxruntime",
        "faiss",
        "PIL",
        "click",
        "pydantic",
        "tokenizers",
        "clipsearch.rpc",
        "clipsearch.services",
        "clipsearch.batching",
        "clipsearch.encoders",
        "clipsearch.index",
        "clipsearch.catalogue",
        "clipsearch.app",
        "clipsearch.settings",
    ),
    # the web page is a client like any other
    "clipsearch_demo.ui": (
        *TRANSPORT,
        "onnxruntime",
        "faiss",
        "tokenizers",
        "sqlite3",
        "clipsearch_export",
        *(f"clipsearch.{part}" for part in SERVER_PARTS),
    ),
    # the exporter meets the server at the bundle
    "clipsearch_export": (
        "clipsearch_demo",
        "clipsearch.rpc",
        "clipsearch.services",
        "clipsearch.batching",
        "clipsearch.index",
        "clipsearch.catalogue",
        "clipsearch.app",
    ),
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGES[package].rglob("*.py")):
        parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
        yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def imports(path: Path, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; absolute names are how we find things"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


ALL = [(module, path) for package in PACKAGES for module, path in modules(package) if ".v1" not in module]


@pytest.mark.parametrize(("module", "path"), ALL, ids=[module for module, _ in ALL])
def test_imports_go_one_way(module: str, path: Path) -> None:
    banned = {name for part, names in FORBIDDEN.items() if inside(module, part) for name in names}
    wrong = sorted({name for name in imports(path, module) for ban in banned if inside(name, ban)})
    assert not wrong, f"{module} must not import {', '.join(wrong)}"


def test_only_settings_reads_the_environment() -> None:
    readers = {
        module
        for module, path in modules("clipsearch")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and not _is_write(path, node)
    }
    assert readers <= {"clipsearch.settings"}


def _is_write(path: Path, node: ast.Attribute) -> bool:
    """Whether the environment is only assigned to, as a library's switch before its import must be."""
    line = path.read_text(encoding="utf-8").splitlines()[node.lineno - 1]
    return line.strip().startswith("os.environ[") and " = " in line


def test_the_rule_sees_what_it_forbids() -> None:
    """A rule about a part that no longer exists would pass for ever."""
    names = {module for module, _ in ALL}
    for part in FORBIDDEN:
        assert any(inside(name, part) for name in names), part
