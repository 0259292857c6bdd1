"""A batch that really hangs, in a lane of a real server: what health, metrics and log say, and what they say after."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from clipsearch.cli.scrape import scrape
from clipsearch.settings import Settings
from clipsearch.v1.embedding_pb2 import EmbedTextRequest
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.integration.support import SAMPLE_BUNDLE, Running

Status = health_pb2.HealthCheckResponse


class Hang:
    """A run function that does not return until released, and then computes as ever."""

    def __init__(self, run: Any) -> None:
        self._run, self._released = run, threading.Event()

    def __call__(self, batch: Sequence[Any]) -> Any:
        assert self._released.wait(timeout=60)
        return self._run(batch)

    def release(self) -> None:
        self._released.set()


def test_a_stuck_lane_is_told_and_so_is_its_recovery(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        data=tmp_path / "data",
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        device="cpu",
        stuck_after_s=0.2,
    )
    with (
        caplog.at_level(logging.WARNING),
        Running(settings) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        lane = running.app.lanes.text
        hang = Hang(lane._run)
        lane._run = hang
        watch = HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=60)
        try:
            assert next(watch).status == Status.SERVING
            future = EmbeddingServiceStub(channel).EmbedText.future(EmbedTextRequest(text="a red dress"), timeout=60)
            assert next(watch).status == Status.NOT_SERVING
            seen = scrape(f"127.0.0.1:{running.app.metrics_port}")
            assert seen.total("clipsearch_serving") == 0
            assert seen.total("clipsearch_lane_running_seconds", lane="text") > 0.2
        finally:
            hang.release()
        assert next(watch).status == Status.SERVING
        assert future.result(timeout=10).embedding.float32.values
        watch.cancel()
    stuck, loose = [record for record in caplog.records if record.name == "clipsearch.watchdog"]
    assert "the text lane is stuck" in stuck.getMessage()
    assert "test_watchdog.py" in stuck.__dict__["stacks"], "where it hangs"
    assert loose.getMessage() == "the text lane goes on"
