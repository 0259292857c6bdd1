"""What the processor can do."""

from pathlib import Path
from typing import Final

_ABOUT: Final = Path("/proc/cpuinfo")


def multiplies_bytes(about: Path = _ABOUT) -> bool:
    """Whether x86 instructions are there that add products of 8 bits in 32 (VNNI, with AVX-512 or AVX2).

    False where Linux does not tell, in ``about``.
    """
    return about.is_file() and "_vnni" in about.read_text(encoding="utf-8")
