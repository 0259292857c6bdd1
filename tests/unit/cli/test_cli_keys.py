"""``clipsearch keys``: what it prints, and that a server would take it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clipsearch.access.file import read_keys
from clipsearch.access.keys import Keyring
from clipsearch.access.scopes import Scope
from clipsearch.cli.shell import shell
from clipsearch.errors import KeyRevoked


def run(*arguments: object) -> Result:
    return CliRunner().invoke(shell, ["keys", *map(str, arguments)])


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = run("add", file, "--name", "shop [x]", "--scope", "read", "--scope", "write", "--calls-per-second", 5)
    assert made.exit_code == 0, made.output
    whole = made.stdout.strip()
    assert made.stderr.startswith("Made key ")
    holder = Keyring(read_keys(file), lambda: 0.0).holder(whole)
    assert holder.key.scopes == {Scope.READ, Scope.WRITE}
    assert holder.key.rate is not None
    assert (holder.key.rate.per_s, holder.key.rate.burst) == (5.0, 5.0)

    listed = run("list", file).output
    assert all(word in listed for word in (holder.key.id, "shop [x]", "read write", "5"))
    assert whole not in listed

    assert run("revoke", file, holder.key.id).exit_code == 0
    with pytest.raises(KeyRevoked):
        Keyring(read_keys(file), lambda: 0.0).holder(whole)
    again = run("revoke", file, holder.key.id)
    assert (again.exit_code, "was revoked at" in again.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "FILE", "--name", "x"), "Missing option '--scope'"),
        (("add", "FILE", "--name", "x", "--scope", "all"), "'all' is not one of"),
        (("add", "FILE", "--name", "x", "--scope", "read", "--burst", 3), "--burst needs --calls-per-second"),
        (("add", "FILE", "--name", "x", "--scope", "read", "--calls-per-second", 0), "calls a second or more"),
        (("list", "FILE"), "cannot read the keys file"),
        (("revoke", "FILE", "x"), "there is no file"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(
    tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    file = tmp_path / "keys.json"
    result = run(*(file if argument == "FILE" else argument for argument in arguments))
    assert result.exit_code in (1, 2)
    assert sentence in result.output
    assert not file.exists()
