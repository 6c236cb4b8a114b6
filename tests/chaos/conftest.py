"""Chaos takes minutes, so it comes only when it is asked for: `make chaos`."""

import os

collect_ignore = [] if os.environ.get("CHAOS_SECONDS") else ["test_chaos.py"]
