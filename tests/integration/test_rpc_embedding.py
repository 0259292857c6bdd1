"""EmbeddingService over the wire, with the sample model."""

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from clipsearch.encoders.load import load_encoders
from clipsearch.v1 import common_pb2 as common
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.integration.support import SAMPLE_BUNDLE, Running

TEXTS = ["a red dress", "blue sneakers with white soles", "x", "a " * 200, "Grüße, 世界 🙂"]


@pytest.fixture(name="stub")
def _stub(channel: grpc.Channel) -> EmbeddingServiceStub:
    return EmbeddingServiceStub(channel)


@pytest.fixture(scope="module", name="reference")
def _reference() -> dict[str, np.ndarray]:
    """Each text embedded alone, without a server."""
    encoders = load_encoders(SAMPLE_BUNDLE)
    return {text: encoders.text.encode([encoders.tokenizer(text).ids])[0] for text in TEXTS}


def floats(embedding: common.Embedding) -> np.ndarray:
    return np.array(embedding.float32.values, np.float32)


def picture(seed: int = 0, size: tuple[int, int] = (120, 90), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_gets_the_towers_own_unit_vector(
    stub: EmbeddingServiceStub, reference: dict[str, np.ndarray], text: str
) -> None:
    response = stub.EmbedText(pb.EmbedTextRequest(text=text))
    vector = floats(response.embedding)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    assert vector @ reference[text] > 0.99999
    assert response.truncated == (text == TEXTS[3])


def test_half_precision_is_the_same_vector_in_half_the_bytes(stub: EmbeddingServiceStub) -> None:
    full = floats(stub.EmbedText(pb.EmbedTextRequest(text="a red dress")).embedding)
    half = stub.EmbedText(pb.EmbedTextRequest(text="a red dress", format=common.EMBEDDING_FORMAT_FLOAT16)).embedding
    assert len(half.float16) == 2 * len(full)
    np.testing.assert_allclose(np.frombuffer(half.float16, "<f2"), full, atol=1e-3)


def test_an_image_gets_the_towers_own_unit_vector(stub: EmbeddingServiceStub) -> None:
    encoders = load_encoders(SAMPLE_BUNDLE)
    data = picture()
    response = stub.EmbedImage(pb.EmbedImageRequest(image=data))
    expected = encoders.image.encode([encoders.preprocessor(data)])[0]
    assert floats(response.embedding) @ expected > 0.99999


def test_the_answer_says_where_the_time_went(stub: EmbeddingServiceStub) -> None:
    timings = stub.EmbedImage(pb.EmbedImageRequest(image=picture(size=(500, 500)))).timings
    assert timings.preprocess_us > 0
    assert timings.encode_us > 0
    assert timings.search_us == 0
    assert timings.total_us >= timings.preprocess_us + timings.encode_us


def test_a_mixed_batch_keeps_its_order_and_its_errors_to_themselves(
    stub: EmbeddingServiceStub, reference: dict[str, np.ndarray]
) -> None:
    inputs = [
        pb.EmbedInput(text=TEXTS[0]),
        pb.EmbedInput(image=b"not a picture"),
        pb.EmbedInput(image=picture(1)),
        pb.EmbedInput(),
        pb.EmbedInput(text="  "),
        pb.EmbedInput(text=TEXTS[3]),
    ]
    response = stub.BatchEmbed(pb.BatchEmbedRequest(inputs=inputs))
    kinds = [result.WhichOneof("result") for result in response.results]
    assert kinds == ["output", "error", "output", "error", "error", "output"]
    assert floats(response.results[0].output.embedding) @ reference[TEXTS[0]] > 0.99999
    assert response.results[5].output.truncated
    assert not response.results[0].output.truncated
    single = floats(stub.EmbedImage(pb.EmbedImageRequest(image=picture(1))).embedding)
    assert floats(response.results[2].output.embedding) @ single > 0.99999
    assert response.timings.total_us > 0


def test_an_empty_batch_is_answered_by_an_empty_one(stub: EmbeddingServiceStub) -> None:
    assert len(stub.BatchEmbed(pb.BatchEmbedRequest()).results) == 0


def test_a_stream_answers_every_item_once_by_its_id(
    stub: EmbeddingServiceStub, reference: dict[str, np.ndarray]
) -> None:
    count = 600

    def requests() -> Iterator[pb.StreamEmbedRequest]:
        for i in range(count):
            if i % 7 == 3:
                yield pb.StreamEmbedRequest(item_id=str(i), input=pb.EmbedInput(image=b"broken"))
            else:
                yield pb.StreamEmbedRequest(item_id=str(i), input=pb.EmbedInput(text=TEXTS[i % 3]))

    answers = {answer.item_id: answer for answer in stub.StreamEmbed(requests())}
    assert sorted(map(int, answers)) == list(range(count))
    for i in range(count):
        answer = answers[str(i)]
        if i % 7 == 3:
            assert answer.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        else:
            assert floats(answer.output.embedding) @ reference[TEXTS[i % 3]] > 0.99999


def test_a_stream_is_read_no_further_ahead_than_its_window(server: Running, stub: EmbeddingServiceStub) -> None:
    """However fast a client sends, no more than a window of its items is inside the server."""
    admission = server.app.lanes.image.admission
    inside: list[int] = []
    data = picture(2)

    def requests() -> Iterator[pb.StreamEmbedRequest]:
        for _ in range(1500):
            inside.append(admission.inside)
            yield pb.StreamEmbedRequest(item_id="x", input=pb.EmbedInput(image=data))

    assert sum(answer.HasField("output") for answer in stub.StreamEmbed(requests())) == 1500
    window = server.app.settings.stream_window
    assert window // 2 < max(inside) <= window


def test_the_model_describes_itself(stub: EmbeddingServiceStub) -> None:
    manifest = load_encoders(SAMPLE_BUNDLE).manifest
    model = stub.GetModel(pb.GetModelRequest()).model
    assert (model.weight_hash, model.dimension) == (manifest.weight_hash, manifest.dimension)
    assert model.logit_scale == pytest.approx(manifest.logit_scale, rel=1e-6)


def test_concurrent_requests_share_batches(server: Running, channel: grpc.Channel) -> None:
    stub = EmbeddingServiceStub(channel)
    counts = server.app.lanes.text.counts
    batches, items = counts.batches, counts.items
    futures = [stub.EmbedText.future(pb.EmbedTextRequest(text=f"dress number {n % 10}")) for n in range(400)]
    for future in futures:
        assert future.result().embedding.float32.values
    assert counts.items - items == 400
    assert counts.batches - batches < 360, "many requests in flight, so some must have shared a batch"


def test_neighbours_do_not_change_an_answer(channel: grpc.Channel, reference: dict[str, np.ndarray]) -> None:
    stub = EmbeddingServiceStub(channel)
    texts = [TEXTS[n % len(TEXTS)] for n in range(200)]
    futures = [stub.EmbedText.future(pb.EmbedTextRequest(text=text)) for text in texts]
    for text, future in zip(texts, futures, strict=True):
        assert floats(future.result().embedding) @ reference[text] > 0.99999


def test_pictures_of_every_format_are_taken(stub: EmbeddingServiceStub, tmp_path: Path) -> None:
    flat = Image.new("RGB", (100, 80), (200, 30, 30))
    vectors = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        file = tmp_path / f"flat.{kind.lower()}"
        flat.save(file)
        vectors.append(floats(stub.EmbedImage(pb.EmbedImageRequest(image=file.read_bytes())).embedding))
    assert min(vector @ vectors[0] for vector in vectors) > 0.995
