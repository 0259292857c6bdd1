"""kill -9 of ``clipsearch ingest`` wherever it is, Ctrl-C, a server that restarts: and the same command again."""

import random
import signal
import subprocess
import threading
from pathlib import Path

from clipsearch.client import Client
from clipsearch.settings import Settings
from tests.fetch_server import FetchServer
from tests.integration.ingesting import Desk, jpeg, write_pictures
from tests.integration.support import SAMPLE_BUNDLE, Running

LIMIT_S = 240.0
COUNT = 400
KILLS = 12


def finished(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out + err
    return out + err


def wait_for_items(desk: Desk, count: int) -> None:
    """Return once the server holds so many items."""
    tick = threading.Event()
    with Client(desk.address) as client:
        for _ in range(int(LIMIT_S / 0.01)):
            there = desk.collection in client.catalogue.collections()
            if there and client.catalogue.stats(desk.collection).items >= count:
                return
            tick.wait(0.01)
    raise AssertionError(f"never {count} items")


def test_killed_again_and_again_it_still_comes_to_the_same(desk: Desk, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    names = {f"{number % 7}/{number:04}.jpg" for number in range(COUNT)}
    write_pictures(photos, names)
    steps = random.Random(11)
    held = killed = 0
    for _ in range(KILLS):
        # Slowly, so that it is killed and not done, however late that is noticed.
        process = desk.start(photos, "--batch-size", "2", "--concurrency", "1")
        wait_for_items(desk, held + steps.randrange(1, 40))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
        killed += process.returncode == -signal.SIGKILL
        now = len(desk.items())
        assert now > held, "what was stored stays"
        held = now
        if held >= COUNT // 2:
            break
    assert killed >= 3
    assert held < COUNT
    said = finished(desk.start(photos))
    assert desk.items().keys() == names
    assert desk.rejects() == []
    # What was acknowledged is passed over; what was under way is sent again, and the server finds it unchanged.
    assert f" {COUNT} unchanged" not in said
    again = finished(desk.start(photos))
    assert f"0 items added, 0 updated, {COUNT} unchanged" in again
    (photos / "0/0000.jpg").unlink()
    finished(desk.start(photos, "--prune"))
    assert desk.items().keys() == names - {"0/0000.jpg"}


def test_ctrl_c_finishes_what_is_under_way_and_says_how_to_go_on(desk: Desk, tmp_path: Path) -> None:
    # Of 40 pictures on the web, the last ten never come: so it cannot have ended when it is interrupted.
    feed = tmp_path / "feed.csv"
    with FetchServer({f"/{number}.jpg": jpeg(number) for number in range(30)}) as web:
        rows = [f"{n},{web.url(f'/{n}.jpg' if n < 30 else '/silent')}\n" for n in range(40)]
        feed.write_text("id,image_url\n" + "".join(rows))
        process = desk.start(feed, "--allow-private-urls", "--batch-size", "5", "--download-timeout", "600")
        wait_for_items(desk, 20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 130, out + err
        assert "run the same command again to continue" in err
        assert "Traceback" not in err
        web.files["/silent"] = jpeg(99)
    held = len(desk.items())
    assert 20 <= held <= 30


def test_a_server_that_restarts_is_waited_for(tmp_path: Path) -> None:
    photos, data = tmp_path / "photos", tmp_path / "data"
    write_pictures(photos, [f"{number:04}.jpg" for number in range(COUNT)])
    settings = Settings(bundle=SAMPLE_BUNDLE, data=data, listen="127.0.0.1:0", device="cpu")
    with Running(settings) as first:
        desk, port = Desk(first.address, "default", tmp_path), first.app.port
        process = desk.start(photos, "--batch-size", "4", "--concurrency", "1")
        wait_for_items(desk, 20)
    assert process.poll() is None, "it waits"
    with Running(settings.model_copy(update={"listen": f"127.0.0.1:{port}"})):
        said = finished(process)
        assert f"{COUNT} items added" in said
        assert len(desk.items()) == COUNT
