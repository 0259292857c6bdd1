"""Keys and their file: what is taken, what is refused, and what is stored."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsearch.access.file import editing, read_keys, revoke
from clipsearch.access.keys import Key, Keyring, new_key
from clipsearch.access.rates import Rate
from clipsearch.access.scopes import Scope
from clipsearch.errors import ClipsearchError, Code, ConfigError, KeyInvalid, KeyRevoked, RateLimited, ScopeMissing
from tests.unit.access.test_rates import FakeClock

WHEN = "2026-01-01T00:00:00+00:00"


def made(*scopes: Scope, rate: Rate | None = None) -> tuple[str, Key]:
    return new_key("somebody", scopes or (Scope.READ,), rate, WHEN)


def test_a_key_is_taken_for_its_scopes_and_no_other() -> None:
    whole, key = made(Scope.READ, Scope.WRITE)
    holder = Keyring([key], FakeClock()).holder(whole)
    holder.check(Scope.READ)
    holder.check(Scope.WRITE)
    with pytest.raises(ScopeMissing) as caught:
        holder.check(Scope.ADMIN)
    assert (caught.value.code, caught.value.metadata) == (
        Code.PERMISSION_DENIED,
        {"key_id": key.id, "scope": "admin"},
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[:-1] + ("A" if whole[-1] != "A" else "B"),
        lambda whole: whole[:-1],
        lambda whole: whole + "A",
        lambda whole: whole.replace("cs_", "xx_"),
        lambda whole: whole.rpartition("_")[0] + "_",
        lambda whole: "cs_000000000000_" + whole.split("_", 2)[2],
        lambda _: "",
        lambda _: "__",
        lambda _: "\udcff",
    ],
)
def test_what_is_not_the_very_key_is_none_of_ours(spoil: Callable[[str], str]) -> None:
    whole, key = made()
    with pytest.raises(KeyInvalid):
        Keyring([key], FakeClock()).holder(spoil(whole))


def test_keys_do_not_repeat_and_their_secret_is_nowhere_in_what_is_stored() -> None:
    made_keys = [made() for _ in range(100)]
    assert len({whole for whole, _ in made_keys}) == 100
    whole, key = made_keys[0]
    assert whole.split("_", 2)[2] not in repr(key)
    assert len(whole.split("_", 2)[2]) == 43, "32 random bytes in base64"


def test_only_who_has_the_whole_key_learns_that_it_was_revoked(tmp_path: Path) -> None:
    whole, key = made()
    keys = [key]
    revoke(keys, key.id, WHEN)
    ring = Keyring(keys, FakeClock())
    assert len(ring) == 0
    with pytest.raises(KeyRevoked):
        ring.holder(whole)
    with pytest.raises(KeyInvalid):
        ring.holder(f"cs_{key.id}_guess")
    with pytest.raises(ConfigError, match="was revoked at"):
        revoke(keys, key.id, WHEN)
    with pytest.raises(ConfigError, match="no key with the id 'x'"):
        revoke(keys, "x", WHEN)


def test_a_key_used_too_often_is_told_when_to_come_back_and_reading_the_file_again_refills_nothing() -> None:
    clock = FakeClock()
    whole, key = made(rate=Rate(1.0, 2.0))
    ring = Keyring([key], clock)
    for _ in range(2):
        ring.holder(whole).check(Scope.READ)
    for ring_now in (ring, Keyring([key], clock, ring)):
        with pytest.raises(RateLimited) as caught:
            ring_now.holder(whole).check(Scope.READ)
        assert caught.value.retry_after_s == pytest.approx(1.0)
    clock.now += 1.0
    ring.holder(whole).check(Scope.READ)


def test_a_call_out_of_scope_costs_nothing_of_the_rate() -> None:
    whole, key = made(rate=Rate(1.0, 1.0))
    holder = Keyring([key], FakeClock()).holder(whole)
    with pytest.raises(ScopeMissing):
        holder.check(Scope.WRITE)
    holder.check(Scope.READ)


def test_the_file_gives_back_what_was_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = [made()[1], made(Scope.WRITE, Scope.ADMIN, rate=Rate(0.5, 7.0))[1]]
    with editing(path) as known:
        known.append(keys[0])
    with editing(path) as known:
        known.append(keys[1])
    assert read_keys(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_fails_while_editing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with editing(path) as known:
        known.append(made()[1])
    before = path.read_bytes()
    with pytest.raises(ConfigError), editing(path) as known:
        known.clear()
        revoke(known, "x", WHEN)
    assert path.read_bytes() == before


def with_entry(**changes: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        document = json.loads(text)
        document["keys"][0] |= changes
        return json.dumps(document)

    return change


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda _: "{", "not as `clipsearch keys` writes it"),
        (lambda _: "[]", "not as `clipsearch keys` writes it"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "of version 2"),
        (with_entry(scopes=["everything"]), "not as `clipsearch keys` writes it"),
        (with_entry(hash="sha256:00"), "not as `clipsearch keys` writes it"),
        (with_entry(hash="md5:" + "00" * 32), "not as `clipsearch keys` writes it"),
        (with_entry(rate={"calls_per_second": 0, "burst": 1}), "not as `clipsearch keys` writes it"),
        (lambda text: json.dumps({**json.loads(text), "keys": json.loads(text)["keys"] * 2}), "one id twice"),
    ],
)
def test_a_file_that_means_nothing_is_refused_whole(tmp_path: Path, spoil: Callable[[str], str], sentence: str) -> None:
    path = tmp_path / "keys.json"
    with editing(path) as known:
        known.append(made()[1])
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ConfigError, match=sentence):
        read_keys(path)


def test_a_file_that_everybody_may_write_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with editing(path) as known:
        known.append(made()[1])
    path.chmod(0o646)
    with pytest.raises(ConfigError, match="everybody may write"):
        read_keys(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipsearchError, match=r"cannot read the keys file .*keys\.json: No such file"):
        read_keys(tmp_path / "keys.json")
