"""The verb dump: from a running server to a file, and from there into another collection."""

from pathlib import Path

from click.testing import CliRunner, Result

from clipsearch.cli.shell import shell
from clipsearch.settings import Settings
from tests.unit.catalogue.support import flip_embedding

from .support import SAMPLE_BUNDLE, Running
from .test_rpc_catalogue import connected, item, upsert


def run(*arguments: object) -> Result:
    return CliRunner().invoke(shell, [str(argument) for argument in arguments])


def test_a_dump_says_what_it_wrote_and_is_imported_again(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    options = Settings(
        bundle=SAMPLE_BUNDLE,
        data=tmp_path / "data",
        imports=files,
        exports=files,
        listen="127.0.0.1:0",
        device="cpu",
    )
    with Running(options) as running:
        channel, stubs = connected(running)
        with channel:
            upsert(stubs, "", *(item(f"i{n}", n) for n in range(3)))
        dump = ("dump", "--to", "shop.parquet", "--server", running.address)
        first = run(*dump)
        assert first.exit_code == 0, first.output
        assert first.stdout == "3 items at sequence number 1, 0.0 MB\n"
        refused = run(*dump)
        assert refused.exit_code == 1
        assert refused.stderr.splitlines()[-1].startswith("Error: ALREADY_EXISTS (EXPORT_EXISTS): ")
        flip_embedding(tmp_path / "data/default", row=1)
        assert run(*dump, "--overwrite", "--collection", "default").stdout.splitlines() == [
            "2 items at sequence number 1, 0.0 MB",
            "Left out: 1 whose embeddings are damaged; the first are:",
            "  i1",
        ]
        loaded = run("import", "shop.parquet", "--server", running.address)
        assert loaded.stdout == "0 items added, 0 updated, 2 unchanged.\n"
