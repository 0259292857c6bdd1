"""The comparison with other servers: wrong work is refused, errors are errors, every peer is documented."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from benchmarks.harness.open_loop import LATE, OK, UNSENT, Calls, Plan, run
from benchmarks.peers import contenders, figures, install, parity, process_tree, turn
from benchmarks.peers.towers import Task
from docs.generator.peers import how

OURS = np.eye(2, 4, dtype=np.float32)
TASK = Task("model", 1, 2, 1, 0, False, 32, 16)


def test_parity_takes_the_same_vectors_of_any_length() -> None:
    assert parity.check("peer", [3.0 * OURS[0], OURS[1]], OURS) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        np.array([0.99, 0.1, 0, 0], dtype=np.float32),
        np.full(4, np.nan, dtype=np.float32),
        np.zeros(4, dtype=np.float32),
        np.array([1, 0, 0], dtype=np.float32),
    ],
)
def test_parity_refuses_other_work(wrong: contenders.Float32) -> None:
    with pytest.raises(parity.OtherWork, match="input 0"):
        parity.check("peer", [wrong, OURS[1]], OURS)
    with pytest.raises(parity.OtherWork, match="1 vectors for 2"):
        parity.check("peer", [OURS[0]], OURS)


def calls(count: int, outcome: str = OK, took_s: float = 0.01) -> list[tuple[float, float, float, str, str]]:
    return [(1.0 + i / count, 0.001, took_s, outcome, "a") for i in range(count)]


def test_a_failed_call_is_an_error_and_no_latency() -> None:
    got = turn.summary(Calls(0.1, [*calls(90), *calls(10, "HTTP 503", 0.0001)]), lead_s=0.5, counted_s=2.0)
    assert got["errors"] == {"HTTP 503": 10}
    assert (got["sent"], got["per_second"]) == (100, 50.0)
    assert (got["p50_ms"], got["p99_ms"]) == (10.0, 10.0)


def test_calls_of_the_lead_do_not_count() -> None:
    early = [(0.1, 0.0, 9.0, OK, "a")]
    assert turn.summary(Calls(0.1, [*early, *calls(10)]), lead_s=0.5, counted_s=2.0)["p99_ms"] == 10.0


def test_the_objective_wants_the_p99_and_no_errors() -> None:
    def load(rate: float, p99_ms: float | None, errors: int = 0) -> dict[str, Any]:
        return {"per_second": rate, "p99_ms": p99_ms, "errors": {"LATE": errors} if errors else {}, "sent": 1000}

    assert figures.rate_at_objective([load(50, 20), load(80, 90), load(90, 300)], 100.0) == 80
    assert figures.rate_at_objective([load(50, 20), load(80, 90, errors=1)], 100.0) == 50
    assert figures.rate_at_objective([load(50, 101), load(80, None)], 100.0) is None


async def _answer(request: web.Request) -> web.Response:
    body = await request.read()
    if body == b"hang":
        await asyncio.Event().wait()
    return web.Response(status=503 if body == b"refuse" else 200, body=body)


async def _serve_and_run(make_plan: Callable[[str], Plan]) -> list[str]:
    app = web.Application()
    app.router.add_post("/text", _answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    got: Awaitable[list[Calls]] = asyncio.to_thread(run, [make_plan(f"127.0.0.1:{port}")])
    outcomes = [call[3] for call in (await got)[0].calls]
    await runner.cleanup()
    return outcomes


@pytest.mark.parametrize(
    ("body", "deadline_s", "outcome"), [(b"answer", 20.0, OK), (b"refuse", 20.0, "HTTP 503"), (b"hang", 0.3, LATE)]
)
def test_the_http_generator_tells_answers_errors_and_late_calls_apart(
    tmp_path: Path, body: bytes, deadline_s: float, outcome: str
) -> None:
    bodies = tmp_path / "bodies.json"
    bodies.write_text(json.dumps([body.hex()]))

    def plan(address: str) -> Plan:
        begins = time.monotonic() + 1.0
        return Plan(
            address=address, method="/text", bodies=str(bodies), callers=["a"], rate=50.0, begins=begins, seconds=0.5,
            deadline_s=deadline_s, seed=3, http=True,
        )  # fmt: skip

    # A busy machine may start the process after its first calls were to begin; those are not the server's.
    got = [one for one in asyncio.run(_serve_and_run(plan)) if one != UNSENT]
    assert len(got) > 5
    assert set(got) == {outcome}


def tower(rate: float, p99_ms: float = 40.0, other_cores: float = 0.01) -> dict[str, Any]:
    loads = [
        {"fraction": f, "sent": 100, "per_second": f * rate, "errors": {}, "p50_ms": 10.0, "p99_ms": p99_ms}
        for f in figures.FRACTIONS
    ]
    return {
        "per_second": rate,
        "cpu_s_per_1000": 2.0,
        "smallest_cosine": 0.9999,
        "other_cores": other_cores,
        "loads": loads,
    }


def test_the_table_is_made_of_medians_and_names_who_is_missing() -> None:
    rounds = {
        "clipsearch": [{"peak_bytes": 2**29, "towers": {"text": tower(rate)}} for rate in (900.0, 1000.0, 2000.0)],
        "slow": [{"peak_bytes": 2**30, "towers": {"text": tower(500.0, p99_ms=400.0)}}],
    }
    result = {"summary": figures.summarise_all(rounds), "failures": {"broken": "not installed:\n no such package"}}
    made = figures.tables(result)
    ours, slow = (next(line for line in made.splitlines() if line.startswith(f"| {name} ")) for name in rounds)
    assert "1,000 (900.0 … 2,000) | 1.00 | 10 / 40 ms" in ours
    assert "| 900.0 |" in ours, "90 % of the median keeps the objective"
    assert "0.50" in slow
    assert "| none |" in slow
    assert "- broken: not installed: no such package" in made
    assert "Other work" not in made


def test_turns_that_other_work_disturbed_are_told() -> None:
    rounds = {
        name: [{"peak_bytes": 2**29, "towers": {"text": tower(9.0, other_cores=cores)}} for cores in (0.0, beside)]
        for name, beside in (("clipsearch", 0.1), ("slow", 1.2))
    }
    made = figures.tables({"summary": figures.summarise_all(rounds), "failures": {}})
    assert "Other work took more than 0.2 cores in 1 of 4 turns: slow." in made


def test_the_cpu_of_a_tree_is_no_cpu_of_others() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\ninput()"
    wait = "input()"
    with (
        subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE) as busy,
        subprocess.Popen([sys.executable, "-c", wait], stdin=subprocess.PIPE) as idle,
    ):
        before = [process_tree.others_cpu_s(one.pid) for one in (busy, idle)]
        while process_tree.cpu_s(busy.pid) < 0.4:  # counted in ticks, so it may stay below what the child sees
            assert busy.poll() is None
        beside_busy, beside_idle = (
            process_tree.others_cpu_s(one.pid) - then for one, then in zip((busy, idle), before, strict=True)
        )
        for one in (busy, idle):
            one.communicate(b"\n")
    # Whatever else runs meanwhile is in both.
    assert beside_idle - beside_busy > 0.2


@pytest.mark.parametrize("peer", contenders.PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_pinned_requirements_and_notes(peer: contenders.Peer) -> None:
    notes = (contenders.HERE / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^### {peer.folder}$", notes, re.M), "README.md says how each peer is set up"
    if peer.requirements is None:
        return
    lines = peer.requirements.read_text(encoding="utf-8").split()
    assert lines
    assert all(re.fullmatch(r"[\w.\-\[\]]+==[\w.]+", line) for line in lines), "pinned, and without addresses"


def test_a_peer_that_cannot_be_had_is_told_with_its_reason(tmp_path: Path) -> None:
    peer = next(peer for peer in contenders.PEERS if peer.unavailable)
    with pytest.raises(install.NotInstalled, match=re.escape(peer.unavailable)):
        install.environment(peer, tmp_path)
    assert install.last_error("WARNING: a\nERROR: no such version\nmore") == "ERROR: no such version"


@pytest.mark.parametrize("peer", contenders.PEERS, ids=lambda peer: peer.name)
def test_all_calls_of_a_peer_share_path_and_headers(peer: contenders.Peer) -> None:
    """One load generator's command goes for every body."""
    for kind, items in (("text", ["a", "a much longer text"]), ("image", [b"\xff\xd8", b"\xff\xd8" * 9000])):
        made = [peer.call(kind, item, TASK) for item in items]  # type: ignore[arg-type]
        assert made[0].path == made[1].path
        assert made[0].headers == made[1].headers
        assert made[0].body != made[1].body


def test_a_setting_that_no_peer_has_is_refused() -> None:
    with pytest.raises(TypeError, match="no setting lenght"):
        contenders.Mosec("mosec", lenght=77)


def test_a_hurried_result_says_so_and_each_version_is_named_once() -> None:
    peers = {peer.name: {"version": peer.version} for peer in contenders.PEERS}
    settings = {"pace": {"rounds": 1}, "quick": True, "precision": "int8", "in_flight": {"text": 64}, "peers": peers}
    said = how(settings)
    assert said.startswith("One round, hurried")
    assert said.count("mosec ") == 1
    assert f"infinity {peers['infinity']['version']}" in said
    assert how({**settings, "pace": {"rounds": 5}, "quick": False}).startswith("Medians of 5 rounds (")


@pytest.mark.parametrize("peer", contenders.PEERS, ids=lambda peer: peer.name)
def test_the_version_of_a_peer_is_that_of_its_own_package(peer: contenders.Peer) -> None:
    assert (peer.version is None) == (peer.requirements is None)
    if peer.version is not None:
        assert peer.requirements is not None
        pins = peer.requirements.read_text(encoding="utf-8").split()
        assert f"{peer.package}=={peer.version}" in pins
