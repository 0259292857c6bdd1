"""More than a server can do, or than one caller may ask: what is refused, what is not, and that nothing leaks.

Encoders are held, so what is inside at any moment is known; no test looks at how fast anything is.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from clipsearch.client import Client
from clipsearch.client.retry import RetryPolicy
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.faults.held_server import CALLER, LIMIT_S, Held, learned, refusal, serving, text
from tests.faults.test_process_faults import picture
from tests.integration.support import Running
from tests.waiting import eventually

OVERLOAD = {"QUEUE_FULL", "CALLER_OVER_SHARE", "DEADLINE_UNREACHABLE"}


def empty(running: Running) -> bool:
    """Whether nothing of any call is left in the lanes."""
    lanes = running.app.lanes.all
    return not any(lane.admission.inside or lane.admission.held_bytes or lane.waiting() for lane in lanes)


def filled(stub: EmbeddingServiceStub, held: Held, lane: Any, count: int, caller: str = "") -> list[Any]:
    """One call whose batch is held, and so many that wait behind it."""
    calls = [text(stub, "first", caller)]
    held.wait()
    before = lane.waiting()
    calls += [text(stub, f"dress {n}", caller) for n in range(count)]
    eventually(lambda: lane.waiting() == before + count)
    return calls


def test_what_would_be_done_too_late_is_refused_at_once_and_told_when_to_come_back() -> None:
    with serving(text_batch_items=4) as (running, stub):
        lane = running.app.lanes.text
        held = Held(lane)
        learned(running, lane, 0.1)  # for each token
        calls = filled(stub, held, lane, 20)
        # The model is held: an answer at all means that nobody waited for it.
        reason, wait_s = refusal(text(stub, "late", timeout=2.0))
        assert reason == "DEADLINE_UNREACHABLE"
        assert wait_s is not None
        assert 0.05 <= wait_s <= 15.0
        patient = text(stub, "patient", timeout=LIMIT_S)
        eventually(lambda: lane.waiting() == 21)
        held.release()
        assert all(call.result() for call in (*calls, patient))
        eventually(lambda: empty(running))
        # However slow the lane is thought to be, who is alone is served.
        assert text(stub, "alone", timeout=5.0).result()
    assert len([ids for batch in held.batches for ids in batch]) == 23, "what was refused was never computed"


def test_a_greedy_caller_leaves_places_and_turns_to_others() -> None:
    with serving(text_batch_items=4, lane_capacity=64, max_batch_items=8) as (running, stub):
        lane = running.app.lanes.text
        held = Held(lane)
        first = text(stub, "first", "greedy")
        held.wait()
        greedy = [text(stub, f"greedy {n}", "greedy") for n in range(100)]
        eventually(lambda: lane.admission.refused.total() + lane.waiting() == 100)
        polite = [text(stub, "polite " * 20, f"polite {n}") for n in range(3)]
        waiting = 100 - lane.admission.refused.total() + 3
        eventually(lambda: lane.waiting() == waiting)
        held.release()
        assert all(call.result() for call in (first, *polite))
        reasons = Counter(refusal(call)[0] for call in greedy)
        assert reasons.keys() <= {"", "CALLER_OVER_SHARE"}
        assert reasons["CALLER_OVER_SHARE"] > 100 - 64
        assert all(wait_s for reason, wait_s in map(refusal, greedy) if reason)
        eventually(lambda: empty(running))
    turns = [n for n, batch in enumerate(held.batches) if any(len(ids) > 20 for ids in batch)]
    # Up to a batch is taken in without a look at who calls; then it is a turn for each of four callers.
    assert turns
    assert max(turns) <= 5
    assert len(held.batches) > 10


def test_interactive_comes_before_bulk_which_keeps_its_share() -> None:
    with serving(text_batch_items=4) as (running, stub):
        lane = running.app.lanes.text
        held = Held(lane)
        first = text(stub, "first")
        held.wait()
        inputs = [pb.EmbedInput(text="bulk " * 20)] * 40
        bulk = stub.BatchEmbed.future(pb.BatchEmbedRequest(inputs=inputs), timeout=LIMIT_S)
        eventually(lambda: lane.waiting() == 40)
        urgent = [text(stub, f"dress {n}") for n in range(40)]
        eventually(lambda: lane.waiting() == 80)
        held.release()
        assert all(call.result() for call in (first, *urgent))
        assert all(result.HasField("output") for result in bulk.result().results)
    kinds = ["bulk" if len(batch[0]) > 20 else "interactive" for batch in held.batches[1:]]
    last_urgent = max(n for n, kind in enumerate(kinds) if kind == "interactive")
    assert kinds[0] == "interactive"
    assert 1 <= kinds[:last_urgent].count("bulk") <= 4


Ending = Callable[[list[Any], grpc.Channel], None]


def cancelled(calls: list[Any], _: grpc.Channel) -> None:
    for call in calls:
        call.cancel()


def disconnected(_: list[Any], channel: grpc.Channel) -> None:
    channel.close()


@pytest.mark.parametrize("end", [cancelled, disconnected])
def test_who_goes_away_frees_the_queue_at_once(end: Ending) -> None:
    with serving() as (running, stub), grpc.insecure_channel(running.address) as channel:
        lane = running.app.lanes.text
        held = Held(lane)
        stays = text(stub, "stays")
        held.wait()
        calls = [text(EmbeddingServiceStub(channel), f"dress {n}") for n in range(30)]
        eventually(lambda: lane.waiting() == 30)
        end(calls, channel)
        eventually(lambda: lane.waiting() == 0)
        eventually(lambda: lane.admission.inside == 1)
        held.release()
        assert stays.result()
        eventually(lambda: empty(running))
    assert len(held.batches) == 1, "nothing of them was computed"


@pytest.fixture(name="held_decoders")
def _held_decoders() -> Iterator[Callable[[Running], threading.Event]]:
    go = threading.Event()

    def hold(running: Running) -> threading.Event:
        for _ in range(running.app.decoding.count):
            running.app.decoding.threads.submit(go.wait, LIMIT_S)
        return go

    yield hold
    go.set()


@pytest.mark.parametrize("end", [cancelled, disconnected])
def test_who_goes_away_while_pictures_are_decoded_frees_their_places_and_bytes(
    end: Ending, held_decoders: Callable[[Running], threading.Event]
) -> None:
    with serving() as (running, stub), grpc.insecure_channel(running.address) as channel:
        go = held_decoders(running)
        lane = running.app.lanes.image
        request = pb.EmbedImageRequest(image=picture(3))
        calls = [EmbeddingServiceStub(channel).EmbedImage.future(request, timeout=LIMIT_S) for _ in range(20)]
        inputs = [pb.EmbedInput(image=picture(level)) for level in range(20)]
        batch = EmbeddingServiceStub(channel).BatchEmbed.future(pb.BatchEmbedRequest(inputs=inputs), timeout=LIMIT_S)
        eventually(lambda: lane.admission.inside == 40)
        assert lane.admission.held_bytes > 40 * len(picture(3))
        end([*calls, batch], channel)
        eventually(lambda: empty(running))
        go.set()
        assert stub.EmbedImage(request, timeout=LIMIT_S).embedding.float32.values
        assert lane.counts.items == 1, "nothing of them was computed"


def test_pictures_are_bounded_in_bytes(held_decoders: Callable[[Running], threading.Event]) -> None:
    with serving(image_lane_mib=1) as (running, stub):
        go = held_decoders(running)
        lane = running.app.lanes.image
        request = pb.EmbedImageRequest(image=picture(3))
        calls = [stub.EmbedImage.future(request, timeout=LIMIT_S) for _ in range(100)]
        eventually(lambda: lane.admission.inside + lane.admission.refused.total() == 100)
        assert 0 < lane.admission.held_bytes <= 2**20
        assert lane.admission.refused.total() > 0
        go.set()
        reasons = Counter(refusal(call)[0] for call in calls)
        assert reasons.keys() <= {"", "QUEUE_FULL", "CALLER_OVER_SHARE"}
        assert reasons[""] >= 4
        eventually(lambda: empty(running))


def test_the_client_comes_back_when_it_was_told_to() -> None:
    with serving(lane_capacity=8, max_batch_items=4) as (running, stub):
        lane = running.app.lanes.text
        held = Held(lane)
        calls = filled(stub, held, lane, 5)
        answers: list[Any] = []
        with Client(running.address, retry=RetryPolicy(max_attempts=50)) as client:
            thread = threading.Thread(target=lambda: answers.append(client.embed_text("patient", timeout=LIMIT_S)))
            thread.start()
            eventually(lambda: lane.admission.refused.total() >= 2 or bool(answers))
            held.release()
            thread.join(LIMIT_S)
        assert len(answers) == 1
        assert all(call.result() for call in calls)


def test_a_flood_ends_in_answers_and_refusals_only_and_leaves_nothing_behind() -> None:
    """Ten times as many calls as may be inside, of five callers, with deadlines that few can meet.

    Fewer than a connection may have: beyond, gRPC refuses some unread while calls end faster than they are let go.
    """
    with serving(lane_capacity=96, max_batch_items=24, text_batch_items=8) as (running, stub):
        calls = [
            text(stub, f"dress number {n}", f"caller {n % 5}", timeout=0.02 if n % 3 else LIMIT_S) for n in range(960)
        ]
        reasons = Counter(refusal(call)[0] for call in calls)
        assert reasons.keys() <= {"", "DEADLINE_EXCEEDED", str(grpc.StatusCode.DEADLINE_EXCEEDED), *OVERLOAD}
        assert reasons[""] > 0
        eventually(lambda: empty(running))
        assert running.app.lanes.text.admission._callers == {}
        assert text(stub, "afterwards").result()


def test_a_stream_waits_where_calls_are_refused() -> None:
    with serving(lane_capacity=8, max_batch_items=4, stream_window=16) as (running, stub):
        lane = running.app.lanes.text
        held = Held(lane)
        calls = filled(stub, held, lane, 5, "single")
        requests = (pb.StreamEmbedRequest(item_id=str(n), input=pb.EmbedInput(text=f"stream {n}")) for n in range(40))
        stream = stub.StreamEmbed(requests, timeout=LIMIT_S, metadata=((CALLER, "stream"),))
        eventually(lambda: bool(lane.admission._waiting))
        assert lane.admission.inside <= 8
        held.release()
        answers = list(stream)
        assert sorted(int(answer.item_id) for answer in answers) == list(range(40))
        assert all(answer.HasField("output") for answer in answers)
        assert all(call.result() for call in calls)
        eventually(lambda: empty(running))
