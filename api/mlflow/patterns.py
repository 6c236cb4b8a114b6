"""SQL's LIKE over texts: % is any text, _ any character. Its time is bounded by the two lengths."""


def is_like(text: str, pattern: str) -> bool:
    """Whether the whole text fits the pattern."""
    first, *others = pattern.split("%")
    if not others:
        return len(text) == len(first) and _fits(text, first, 0)
    if len(text) < len(first) or not _fits(text, first, 0):
        return False
    *middle, last = others
    place = len(first)
    for piece in middle:
        found = _find(text, piece, place)
        if found is None:
            return False
        place = found + len(piece)
    end = len(text) - len(last)
    return end >= place and _fits(text, last, end)


def _find(text: str, piece: str, start: int) -> int | None:
    """Where a piece first fits, from a place on; what fits first leaves most to what follows."""
    places = range(start, len(text) - len(piece) + 1)
    return next((place for place in places if _fits(text, piece, place)), None)


def _fits(text: str, piece: str, place: int) -> bool:
    part = text[place : place + len(piece)]
    return all(p in {"_", c} for p, c in zip(piece, part, strict=True))
