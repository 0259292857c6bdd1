"""The command line: one module per verb, none of them imported before its verb is called.

This module imports nothing but the standard library, because the base install (the client alone) has the
``clipsearch`` command too, and there it must say what is missing rather than fail to import.
"""

import sys
from importlib.util import find_spec
from typing import NoReturn


def main() -> NoReturn:
    """Entry point of ``clipsearch`` and ``python -m clipsearch``; exits with 0, 1 (it failed) or 2 (wrong usage)."""
    if find_spec("click") is None:
        sys.exit(
            "The command line needs the cli extra: pip install 'clipsearch[cli]' (this install has the client only)."
        )
    from clipsearch.cli.shell import shell

    shell(prog_name="clipsearch")
    raise AssertionError("click's standalone mode exits by itself")
