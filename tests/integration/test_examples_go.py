"""The Go client in examples/go, made and run where there are a toolchain, the generators and the packages.

The packages are Debian's, which lie in a GOPATH: a build of modules would need their proxy.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.support import ROOT, Running

PACKAGES = Path("/usr/share/gocode")
NEEDED = (
    "google.golang.org/grpc",
    "google.golang.org/protobuf/encoding/protojson",
    "google.golang.org/genproto",
    "github.com/golang/protobuf/proto/registry.go",  # of 1.5: grpc takes 1.3 as well, which cannot send our messages
)
TOOLS = ("go", "gofmt", "protoc-gen-go", "protoc-gen-go-grpc")
missing = [tool for tool in TOOLS if shutil.which(tool) is None]
missing += [package for package in NEEDED if not (PACKAGES / "src" / package).exists()]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module", name="program")
def _program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, with its stubs, as a program."""
    gopath = tmp_path_factory.mktemp("go")
    source = gopath / "src/clipsearch-example"
    shutil.copytree(ROOT / "examples/go", source, ignore=shutil.ignore_patterns("clipsearchv1", "go.*"))
    generate = [ROOT / "examples/go/generate.sh", source / "clipsearchv1"]
    subprocess.run(generate, env={**os.environ, "PYTHON": sys.executable}, check=True, timeout=120)
    path = os.pathsep.join(map(str, [gopath, PACKAGES]))
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": path, "GOCACHE": str(gopath / "cache")}
    for command in (["vet", "."], ["build", "-o", str(gopath / "search"), "."]):
        subprocess.run(["go", *command], cwd=source, env=environment, check=True, timeout=600)
    return gopath / "search"


def search(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_it_is_formatted() -> None:
    ran = subprocess.run(["gofmt", "-l", ROOT / "examples/go"], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == ""


@pytest.mark.slow
def test_it_searches_and_tells_the_reason_of_a_refusal(program: Path, server: Running, catalogue: Path) -> None:
    ran = search(program, "-filter", 'category = "dress"', server.address, "a red dress")
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ", 2) for line in ran.stdout.splitlines()]
    assert [float(score) for score, _, _ in lines] == sorted((float(score) for score, _, _ in lines), reverse=True)
    assert lines
    assert all(item_id.startswith("dress-") and '"price":' in metadata for _, item_id, metadata in lines)

    picture = sorted((catalogue / "images").iterdir())[7]
    ran = search(program, server.address, str(picture))
    assert ran.stdout.split(" ", 2)[1] == picture.stem, ran.stderr

    ran = search(program, "-filter", "price <", server.address, "a red dress")
    assert ran.returncode == 1
    assert ran.stderr.startswith("InvalidArgument (FILTER_MALFORMED): the filter is wrong at position 7")
