"""What the page says about failures, and that it shows strangers' texts as texts."""

import re
from pathlib import Path
from typing import get_args

import grpc
import pytest

from clipsearch.client import (
    ClientError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OperationKind,
    Timings,
    Unavailable,
)
from clipsearch_demo.ui import markup
from clipsearch_demo.ui.command import ui
from clipsearch_demo.ui.messages import of_failure
from clipsearch_demo.ui.notices import plain
from clipsearch_demo.ui.options import Options
from clipsearch_demo.ui.progress import WORDS
from clipsearch_demo.ui.query import Example
from clipsearch_demo.ui.roles import Roles

NASTY = "<script>alert(\"1\")</script> & 'more'"
DOCS = (Path(__file__).parents[4] / "docs/ui.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "heading", "sentence"),
    [
        (Unavailable("no route"), "The server is away", "Nothing answers at shop:1."),
        (DeadlineExceeded("late"), "That took too long", "shop:1 did not answer"),
        (InvalidArgument("it is empty", reason="IMAGE_EMPTY"), "That is not a picture", "but it is empty."),
        (InvalidArgument("9 bytes", reason="IMAGE_TOO_LARGE"), "The picture is too large", "9 bytes."),
        (InvalidArgument("x", reason="VECTOR_NOT_USABLE"), "These cancel each other out", "the same"),
        (NotFound("no item a"), "It is gone", "no item a."),
        (ClientError("of {another} kind."), "The server refused", "of {another} kind."),
        (ClientError("", code=grpc.StatusCode.UNKNOWN), "The server refused", "UNKNOWN."),
    ],
)
def test_failures(error: ClientError, heading: str, sentence: str) -> None:
    message = of_failure(error, "shop:1")
    assert message.heading == heading
    assert sentence in message.sentence
    assert message.is_away == isinstance(error, Unavailable)


def test_markdown_of_strangers_is_text() -> None:
    assert plain("[a](b) *c* :red[d] $x$ <e>") == r"\[a\]\(b\) \*c\* \:red\[d\] \$x\$ \<e\>"


@pytest.mark.parametrize(
    "html",
    [
        markup.card(NASTY, NASTY, {"title": NASTY, "category": NASTY, "colour": NASTY, "price": NASTY}, 0.5, Roles()),
        markup.card("", NASTY, {}, None, Roles()),
        markup.example(Example(name=NASTY, thumbnail=NASTY)),
        markup.details(NASTY, NASTY, {NASTY: [NASTY, {NASTY: None}]}),
        markup.headline(NASTY, 1, 2, NASTY),
        markup.heading(NASTY, NASTY, NASTY),
        markup.picture("", NASTY),
    ],
)
def test_no_text_becomes_html(html: str) -> None:
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    # Nor does it end an attribute: all quotes left are those around attributes.
    assert not re.search(r"""alert\("|'more'""", html)


def test_latency_has_every_stage_and_adds_up() -> None:
    html = markup.latency(Timings(1000, 2000, 3000, 4000, 12_000), 0.0156, 7)
    assert "<strong>16 ms</strong>" in html
    assert "12.0 ms of them in the server" in html
    for stage in ("prepare 1.0", "wait 2.0", "encode 3.0", "search 4.0", "other 2.0"):
        assert f"{stage} ms" in html
    assert sum(map(float, re.findall(r"width:([\d.]+)%", html))) == pytest.approx(100, abs=0.1)
    assert markup.latency(Timings(0, 0, 0, 0, 0), 0.0, 0)


def test_options_reach_the_script_as_they_were_given() -> None:
    for given in (
        Options(server="a:1", uploads=Path("up")),
        Options(server="a:1", uploads=Path("up"), pictures=Path("p"), allow_private_urls=True),
        Options(server="a:1", uploads=Path("up"), access={"api_key": "cs_1", "tls": True}),
    ):
        assert Options.from_secrets(given.to_secrets()) == given


def test_every_kind_of_operation_has_its_words() -> None:
    assert set(WORDS) == set(get_args(OperationKind))


def test_options_are_documented() -> None:
    options = {name for parameter in ui.params for name in parameter.opts}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)", DOCS, re.MULTILINE))
