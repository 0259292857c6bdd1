"""``clipsearch serve``."""

import asyncio
from pathlib import Path
from typing import Any

import click

from clipsearch.cli.options import settings_options


@click.command(context_settings={"show_default": False})
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings. [CLIPSEARCH_CONFIG]")
@settings_options
def serve(config: Path | None, **flags: Any) -> None:
    """Serve a model bundle, and an index if one is given, over gRPC until SIGTERM or Ctrl-C."""
    from clipsearch import garbage
    from clipsearch.app import App
    from clipsearch.event_loop import loop_factory
    from clipsearch.settings import load
    from clipsearch.telemetry.logs import configure

    garbage.keep_large_blocks_apart()
    settings = load({name: value for name, value in flags.items() if value is not None}, config)
    configure(settings.log_level, settings.log_format)

    async def run() -> None:
        await App(settings).run()  # built inside the loop: grpc.aio's server belongs to the loop it was made on

    with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
        runner.run(run())
