"""Text that both databases can keep."""


def is_storable(text: str) -> bool:
    """Whether a text holds neither NUL, which PostgreSQL refuses, nor lone surrogates."""
    return storable(text) == text


def storable(text: str) -> str:
    """The text with a mark in place of what can't be kept, such as bytes of a file name."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
