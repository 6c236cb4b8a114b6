import hashlib

from fmx_ml.engine.seeding import derive_seed


def test_a_seed_and_purpose_have_one_seed() -> None:
    assert derive_seed(3, "order") == derive_seed(3, "order")
    digest = hashlib.sha256(b"fmx/3/order").digest()
    assert derive_seed(3, "order") == int.from_bytes(digest[:8], "big") // 2


def test_purposes_and_seeds_are_independent() -> None:
    seeds = {
        derive_seed(seed, *purpose)
        for seed in range(50)
        for purpose in (("weights",), ("order",), ("split", 0), ("split", 1))
    }
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
