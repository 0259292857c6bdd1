"""Where settings come from, and what wrong ones are told."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from clipsearch.errors import ConfigError
from clipsearch.settings import Settings, load, markdown_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "config"):
        monkeypatch.delenv(f"CLIPSEARCH_{name.upper()}", raising=False)


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text('bundle = "from-file"\nmax_top_k = 11\nmax_batch_items = 12\ngrace_s = 13.0\n')
    monkeypatch.setenv("CLIPSEARCH_MAX_BATCH_ITEMS", "22")
    monkeypatch.setenv("CLIPSEARCH_GRACE_S", "23.5")
    settings = load({"grace_s": 33.0}, file)
    assert settings.bundle == Path("from-file")
    assert (settings.max_top_k, settings.max_batch_items, settings.grace_s) == (11, 22, 33.0)
    assert settings.listen == "127.0.0.1:50051"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text('bundle = "b"\nlog_level = "debug"\n')
    monkeypatch.setenv("CLIPSEARCH_CONFIG", str(file))
    assert load({}).log_level == "debug"


def test_settings_cannot_be_changed() -> None:
    settings = load({"bundle": "b"})
    with pytest.raises(ValidationError):
        settings.max_top_k = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({}, "bundle is required (--bundle or CLIPSEARCH_BUNDLE)"),
        ({"bundle": "b", "max_top_k": 0}, "max_top_k (flag): Input should be greater than or equal to 1, got 0"),
        ({"bundle": "b", "listen": "here"}, "listen (flag): must be host:port"),
        ({"bundle": "b", "listen": "h:99999"}, "listen (flag): must be host:port"),
        ({"bundle": "b", "device": "tpu"}, "device (flag): Input should be 'auto', 'cpu' or 'cuda', got 'tpu'"),
        ({"bundle": "b", "bulk_share": 1.0}, "bulk_share (flag)"),
        ({"bundle": "b", "lane_capacity": 10}, "max_batch_items (256) must be at most three quarters"),
        ({"bundle": "b", "data": "d", "snapshots": "d/snapshots"}, "snapshots must not be inside data"),
        ({"bundle": "b", "data": "d", "imports": "d"}, "imports must not be inside data"),
        ({"bundle": "b", "data": "d", "exports": "d/out"}, "exports must not be inside data"),
        ({"bundle": "b", "listen": "0.0.0.0:1"}, "anybody could read and change everything: set keys_file or"),
        ({"bundle": "b", "listen": "[::]:1"}, "anybody could read and change everything"),
        ({"bundle": "b", "listen": "search.internal:1"}, "anybody could read and change everything"),
        ({"bundle": "b", "listen": "0.0.0.0:1", "tls_cert": "c", "tls_key": "k"}, "anybody could read and change"),
        ({"bundle": "b", "listen": "0.0.0.0:1", "keys_file": "k"}, "API keys would cross the network in clear text"),
        ({"bundle": "b", "tls_cert": "c"}, "tls_cert and tls_key go together"),
        ({"bundle": "b", "tls_key": "k"}, "tls_cert and tls_key go together"),
        ({"bundle": "b", "tls_client_ca": "a"}, "tls_client_ca needs tls_cert and tls_key"),
        ({"bundle": "b", "max_image_bytes": 2**28}, "max_image_bytes must be below max_message_bytes"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flags)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "flags",
    [
        {"listen": "127.0.0.2:1"},
        {"listen": "[::1]:1"},
        {"listen": "localhost:1"},
        {"listen": "unix:/run/clipsearch.sock"},
        {"listen": "0.0.0.0:1", "allow_insecure": True},
        {"listen": "0.0.0.0:1", "keys_file": "k", "tls_cert": "c", "tls_key": "k"},
        {"listen": "0.0.0.0:1", "tls_client_ca": "a", "tls_cert": "c", "tls_key": "k"},
        {"listen": "0.0.0.0:1", "keys_file": "k", "allow_insecure": True},
    ],
)
def test_it_listens_where_it_is_guarded_or_alone(flags: dict[str, object]) -> None:
    assert load({"bundle": "b", **flags}).listen == flags["listen"]


def test_a_wrong_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_MAX_TOP_K", "many")
    with pytest.raises(ConfigError, match=r"max_top_k \(CLIPSEARCH_MAX_TOP_K\): .*got 'many'"):
        load({"bundle": "b"})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("bundle = ", "not valid TOML"), ('bundle = "b"\nmax_topk = 3\n', "max_topk is not a setting")],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        load({}, file)
    with pytest.raises(ConfigError, match="cannot read"):
        load({}, tmp_path / "absent.toml")


def test_the_documented_table_is_what_the_code_says() -> None:
    assert markdown_table() in (ROOT / "docs/settings.md").read_text(encoding="utf-8"), "run `make docs`"


@pytest.mark.parametrize(
    ("cores", "listen", "fronts"),
    [
        (1, "127.0.0.1:0", 0),
        (2, "127.0.0.1:0", 1),
        (8, "127.0.0.1:0", 2),
        (8, "unix:/tmp/socket", 1),
    ],
)
def test_fronts_go_by_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, listen: str, fronts: int) -> None:
    monkeypatch.delenv("CLIPSEARCH_FRONTS", raising=False)
    monkeypatch.setattr(Settings, "cores", property(lambda self: cores))
    assert load({"bundle": "b", "listen": listen}).front_processes == fronts
    assert load({"bundle": "b", "listen": listen, "fronts": "1"}).front_processes == 1


@pytest.mark.parametrize(("listen", "fronts"), [("127.0.0.1:0", 65), ("127.0.0.1:0", -1), ("unix:/tmp/socket", 2)])
def test_fronts_that_cannot_be(listen: str, fronts: int) -> None:
    with pytest.raises(ConfigError, match="fronts"):
        load({"bundle": "b", "listen": listen, "fronts": fronts})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"device": "cpu", "decode_isolation": "none"}, "needs a GPU, and device is cpu"),
        ({"device": "cuda"}, "decode_isolation is process: set it to none"),
        ({"decode_isolation": "none", "jpeg_oversampling": 4}, "one or the other"),
    ],
)
def test_jpegs_that_cannot_be_decoded_on_a_gpu(flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load({"bundle": "b", "jpeg_decoder": "nvjpeg", **flags})
    load({"bundle": "b", "jpeg_decoder": "nvjpeg", "device": "cuda", "decode_isolation": "none"})
