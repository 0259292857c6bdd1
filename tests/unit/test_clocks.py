"""Nothing that serves a request looks at the wall clock, which jumps when somebody sets it."""

import ast
from collections.abc import Iterator
from pathlib import Path

SERVER = Path(__file__).parents[2] / "server/clipsearch"

TELLS_THE_DATE = {
    "cli/keys.py": "when a key was made or revoked",
    "cli/top_view.py": "how long ago a server started, of which Prometheus has the date",
    "fetch/retry.py": "a Retry-After that is a date",
    "index/build.py": "when an index was built",
    "services/operations.py": "when an operation began",
    "telemetry/tracing.py": "when a span began",
}
"""Who may, and what for."""


def wall_clocks(tree: ast.AST) -> Iterator[str]:
    """Names by which a module reads the wall clock."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today"}:
                yield name
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{one.name}" for one in node.names if one.name in {"time", "time_ns"})


def test_only_those_who_tell_the_date_read_the_wall_clock() -> None:
    readers = {
        str(path.relative_to(SERVER))
        for path in SERVER.rglob("*.py")
        if any(wall_clocks(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert readers == set(TELLS_THE_DATE)
