"""Python's garbage collector, told what a server is: much that stays for ever, and calls that leave no cycles."""

import gc

_YOUNG = 20_000
"""Objects between two looks at the young ones; Python's 700 is some ten calls."""


def spare_what_stays() -> None:
    """Never look again at what is there now: models and modules, in which a look takes tens of milliseconds of all.

    To be called once, when everything is loaded and warm. What became garbage until then is collected first.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
