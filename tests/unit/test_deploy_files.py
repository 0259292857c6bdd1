"""What is under deploy/ is read by the parsers of those who will read it, and agrees with the server.

Nothing here builds an image or starts a cluster: docs/deploy.md says so too.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsearch.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(DEPLOY))  # scripts beside the files they are for, not a package

from requirements import requirements
from resolve_gpu import faults

MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")


def ran(*command: object) -> str:
    """Run one of the parsers that the dev extra brings; its output where it complains of something."""
    found = shutil.which(str(command[0]), path=str(Path(sys.executable).parent)) or str(command[0])
    done = subprocess.run([found, *map(str, command[1:])], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def pods() -> dict[str, Any]:
    (server,) = [one for one in documents(DEPLOY / "kubernetes/server.yaml") if one["kind"] == "StatefulSet"]
    spec: dict[str, Any] = server["spec"]["template"]["spec"]
    return spec


def test_the_dockerfile_passes_hadolint() -> None:
    assert not ran("hadolint", ROOT / "Dockerfile.gpu")


def test_the_compose_file_is_one() -> None:
    assert not ran("check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_what_kubernetes_takes(path: Path) -> None:
    assert not ran("kubernetes-validate", "--strict", path)


def test_the_validators_do_refuse(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUNN x\n")
    (tmp_path / "compose.yaml").write_text("services: {a: {imagee: x}}\n")
    (tmp_path / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containerss: []}\n")
    assert ran("hadolint", tmp_path / "Dockerfile")
    assert ran("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")
    assert ran("kubernetes-validate", "--strict", tmp_path / "pod.yaml")


def test_kustomize_takes_every_manifest() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes/kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]


def test_settings_in_the_environment_are_settings() -> None:
    texts = [DOCKERFILE, (ROOT / "compose.yaml").read_text(), *(path.read_text() for path in MANIFESTS)]
    named = {name for text in texts for name in re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)\b", text)}
    of_clients = {"CLIENT_TLS_CA", "API_KEY"}
    assert {name.lower() for name in named - of_clients} <= set(Settings.model_fields)
    assert len(named) >= 8


def test_nothing_runs_as_root() -> None:
    assert re.search(r"^USER (\d+)", DOCKERFILE, re.MULTILINE)[1] == "10001"  # type: ignore[index]
    pod = pods()
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert all(not one["securityContext"]["allowPrivilegeEscalation"] for one in pod["containers"])


def test_a_pod_is_given_longer_to_end_than_the_server_takes() -> None:
    (server,) = pods()["containers"]
    environment = {one["name"]: one["value"] for one in server["env"]}
    assert pods()["terminationGracePeriodSeconds"] > float(environment["CLIPSEARCH_GRACE_S"])
    grace = float(COMPOSE["services"]["server"]["environment"]["CLIPSEARCH_GRACE_S"])
    assert float(COMPOSE["services"]["server"]["stop_grace_period"].removesuffix("s")) > grace


def test_files_that_are_mounted_are_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source


def test_the_image_is_built_of_what_its_context_holds() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name for line in copied for name in line.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_requirements_of_an_extra_take_in_those_it_builds_on() -> None:
    project = {
        "dependencies": ["grpcio>=1"],
        "optional-dependencies": {"a": ["x>=1"], "b": ["clipsearch[a]", "y[z]>=2"], "c": ["clipsearch[a,b]", "x>=1"]},
    }
    assert requirements(project, ["c"]) == ["grpcio>=1", "x>=1", "y[z]>=2"]
    with pytest.raises(KeyError):
        requirements(project, ["d"])


def test_cuda_twice_is_a_fault() -> None:
    good = {"onnxruntime-gpu": "1.31.1", "nvidia-cublas": "13.1", "nvidia-cudnn-cu13": "9.2", "cupy-cuda13x": "14.2"}
    assert not faults(good)
    assert "one library" in faults({**good, "nvidia-cudnn-cu12": "9.2"})[-1]
    assert "for CUDA 12" in faults({**good, "nvidia-nccl-cu12": "2.3"})[0]
    assert "not of CUDA 13" in faults({**good, "nvidia-cublas": "12.9"})[0]
    assert "overwrite" in faults({**good, "onnxruntime": "1.31.1"})[0]
