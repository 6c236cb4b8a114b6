"""Where things are on a server."""

from urllib.parse import quote


def path_to(*parts: str) -> str:
    """The path to a resource; each part stays one, whatever characters it has."""
    return "/v1/" + "/".join(map(_segment, parts))


def _segment(text: str) -> str:
    """A part of a path: dots alone would climb, and nothing at all would name the list above."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E") or "%20"
