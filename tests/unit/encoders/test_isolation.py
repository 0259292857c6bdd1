"""Decoding in other processes: the same answers, and each way in which a process or a picture can fail."""

import io
import os
import signal
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from clipsearch.encoders import isolation
from clipsearch.encoders.isolation import IsolatedPreprocessor, PictureBudget, memory_for
from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.preprocess import ImageLimits, PillowPreprocessor
from clipsearch.errors import (
    ClipsearchError,
    DecoderDied,
    EmptyImage,
    ImageTooCostly,
    ImageTooLarge,
    InvalidInput,
    ShuttingDown,
)

SIZE = 32
RULE = PreprocessRule(
    do_resize=True,
    shortest_edge=SIZE,
    resize_to=None,
    resample=3,
    do_center_crop=True,
    crop_size=(SIZE, SIZE),
    do_convert_rgb=True,
    do_rescale=True,
    rescale_factor=1 / 255,
    do_normalize=True,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
LIMITS = ImageLimits(max_bytes=2**20, max_pixels=64_000_000)
BUDGET = PictureBudget(timeout_s=30.0, memory_bytes=memory_for(LIMITS.max_pixels))
Make = Callable[..., IsolatedPreprocessor]


def picture(kind: str = "PNG", size: tuple[int, int] = (50, 40), mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(len(kind) + size[0]).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def blank_png(width: int, height: int, *, empty: bool = False) -> bytes:
    """A picture that is small as a file and large when decoded; or one that only says that it is large."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"" if empty else zlib.compress(bytes((1 + 3 * width) * height), 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


@pytest.fixture
def make() -> Iterator[Make]:
    """Preprocessors with their processes, which end with the test."""
    made: list[IsolatedPreprocessor] = []

    def one(budget: PictureBudget = BUDGET, count: int = 1) -> IsolatedPreprocessor:
        made.append(IsolatedPreprocessor(RULE, SIZE, LIMITS, budget))
        made[-1].start(count)
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_pictures_and_refusals_are_those_of_decoding_in_place(make: Make) -> None:
    isolated, plain = make(), PillowPreprocessor(RULE, SIZE, LIMITS)
    good = [picture(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]
    good += [picture("PNG", (3, 500)), picture("PNG", mode="L"), picture("PNG", mode="RGBA")]
    for data in good:
        assert np.array_equal(isolated(data), plain(data))
    bad = [b"", b"nonsense", good[0][:60], good[1][:-400], picture("PPM"), bytes(LIMITS.max_bytes + 1)]
    bad.append(blank_png(70_000, 1_000, empty=True))
    for data in bad:
        with pytest.raises(InvalidInput) as there:
            isolated(data)
        with pytest.raises(InvalidInput) as here:
            plain(data)
        assert type(there.value) is type(here.value)
        assert (there.value.message, there.value.metadata) == (here.value.message, here.value.metadata)
    assert len(isolated.pids) == 1, "a bad picture ends no process"


def test_what_needs_no_decoder_never_reaches_one() -> None:
    isolated = IsolatedPreprocessor(RULE, SIZE, LIMITS, BUDGET)
    with pytest.raises(EmptyImage):
        isolated(b"")
    with pytest.raises(ImageTooLarge):
        isolated(bytes(LIMITS.max_bytes + 1))
    assert isolated.pids == []


def test_many_threads_get_their_own_answers_and_no_more_processes_than_threads(make: Make) -> None:
    isolated, plain = make(count=2), PillowPreprocessor(RULE, SIZE, LIMITS)
    pictures = [picture(size=(40 + n, 60)) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(isolated, pictures))
    for data, answer in zip(pictures, answers, strict=True):
        assert np.array_equal(answer, plain(data))
    assert 2 <= len(isolated.pids) <= 4


def test_a_process_killed_at_work_fails_its_picture_alone(make: Make) -> None:
    isolated = make()
    (pid,) = isolated.pids
    # Stopped, it has the picture and never answers: that is the middle of a request, for as long as the test likes.
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        doomed = pool.submit(isolated, picture())
        while isolated._idle:
            threading.Event().wait(0.001)
        # Others go on meanwhile, in a process that is started for them.
        assert pool.submit(isolated, picture()).result(timeout=60).shape == (SIZE, SIZE, 3)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DecoderDied) as caught:
            doomed.result(timeout=60)
    assert (caught.value.code.name, caught.value.retryable) == ("UNAVAILABLE", True)
    assert isolated(picture()).shape == (SIZE, SIZE, 3)
    assert pid not in isolated.pids


def test_a_process_killed_while_idle_harms_nobody(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    isolated = make()
    (pid,) = isolated.pids
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    # Not reaped before it is used next, so it stays a zombie until then.
    while process.status() != psutil.STATUS_ZOMBIE:
        threading.Event().wait(0.01)
    assert isolated(picture()).shape == (SIZE, SIZE, 3)
    assert pid not in isolated.pids
    assert "a decoder process ended with status -9" in caplog.text


def test_a_picture_that_takes_too_long_ends_its_process_and_is_told_so(make: Make) -> None:
    isolated = make(PictureBudget(0.02, BUDGET.memory_bytes))
    (pid,) = isolated.pids
    with pytest.raises(ImageTooCostly, match=r"more time to decode than the 0\.02 s") as caught:
        isolated(blank_png(8_000, 7_900))
    assert caught.value.metadata == {"resource": "time", "limit": "0.02 s"}
    assert isolated.pids != [pid]
    assert isolated(picture()).shape == (SIZE, SIZE, 3)


def test_a_process_that_does_not_even_hear_its_alarm_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_ALARM_LATE_S", 0.1)
    isolated = make(PictureBudget(0.1, BUDGET.memory_bytes))
    (pid,) = isolated.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ImageTooCostly, match="more time"):
        isolated(picture())
    assert not psutil.pid_exists(pid)


def test_a_picture_that_takes_too_much_memory_is_told_so_and_the_next_is_decoded(make: Make) -> None:
    isolated = make(PictureBudget(30.0, 64 * 2**20))
    with pytest.raises(ImageTooCostly, match="more memory to decode than the 64 MiB") as caught:
        isolated(blank_png(8_000, 7_900))
    assert caught.value.metadata == {"resource": "memory", "limit": "64 MiB"}
    assert isolated(picture()).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_the_memory_by_the_limit_is_enough_for_the_largest_picture(make: Make, mode: str) -> None:
    limits = ImageLimits(max_bytes=64 * 2**20, max_pixels=4_000_000)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned, which takes a copy
    Image.new(mode, (2_000, 2_000)).save(buffer, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    isolated = IsolatedPreprocessor(RULE, SIZE, limits, PictureBudget(30.0, memory_for(limits.max_pixels)))
    try:
        assert isolated(buffer.getvalue()).shape == (SIZE, SIZE, 3)
    finally:
        isolated.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x01",  # half an answer
        struct.pack("<BI", 9, 0),  # a kind there is not
        struct.pack("<BI", 2, 2**31),  # a text without end
        struct.pack("<BI", 2, 2) + b"[]",
        struct.pack("<BI", 2, 61) + b'{"reason": "CONFIG_INVALID", "message": "x", "metadata": {}}'.ljust(61),
        struct.pack("<BI", 2, 61) + b'{"reason": "IMAGE_CORRUPT", "message": "x", "metadata": []}'.ljust(61),
    ],
)
def test_a_process_that_says_what_it_should_not_is_not_believed(said: bytes) -> None:
    """What a picture that took over its decoder could answer."""
    reading, writing = os.pipe()
    os.write(writing, said)
    os.close(writing)
    isolated = IsolatedPreprocessor(RULE, SIZE, LIMITS, BUDGET)
    isolated.start(1)
    try:
        decoder = isolated._idle[0]
        os.dup2(reading, decoder._answers.fileno())
        with pytest.raises(DecoderDied):
            isolated(picture())
        assert isolated(picture()).shape == (SIZE, SIZE, 3)
    finally:
        os.close(reading)
        isolated.close()


def test_a_process_sees_nothing_of_the_environment_and_opens_no_more_files(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_SECRET", "hush")
    (pid,) = make().pids
    process = psutil.Process(pid)
    assert set(process.environ()) <= {
        "PYTHONPATH",
        "OPENBLAS_NUM_THREADS",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
        "LC_CTYPE",  # which Python sets for itself
    }
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.num_fds() == 4, "the standard three and the memory for pictures"


def test_closing_ends_the_processes_and_what_comes_later_is_refused(make: Make) -> None:
    isolated = make(count=2)
    pids = isolated.pids
    isolated.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(ShuttingDown):
        isolated(picture())


def test_signals_that_a_whole_service_gets_leave_it_at_work(make: Make) -> None:
    isolated = make()
    (pid,) = isolated.pids
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    assert isolated(picture()).shape == (SIZE, SIZE, 3)
    assert isolated.pids == [pid]


def test_a_process_that_cannot_start_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(isolation.child, "__name__", "clipsearch.no_such_module")
    isolated = IsolatedPreprocessor(RULE, SIZE, LIMITS, BUDGET)
    with pytest.raises(ClipsearchError, match="did not start"):
        isolated.start(1)
    isolated.close()
    assert "no_such_module" in capfd.readouterr().err
