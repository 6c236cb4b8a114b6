"""Seeds of the generators: every use of chance has its own, derived from the spec's."""

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed of 0 to 2^63 - 1 for one purpose, independent of every other purpose's.

    The same arguments give the same seed on every machine; torch and numpy both take it.
    """
    text = "/".join(["fmx", str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
