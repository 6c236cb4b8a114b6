"""What a client would like to get: the Accept header (RFC 9110)."""


def prefers_html(accept: str | None) -> bool:
    """Whether an Accept header likes HTML better than JSON, as a browser's does."""
    return quality(accept, "text/html") > quality(accept, "application/json")


def quality(accept: str | None, media_type: str) -> float:
    """How much an Accept header likes a type; the most exact of its ranges counts."""
    ranges = [media_type, media_type.partition("/")[0] + "/*", "*/*"]
    found: dict[str, float] = {}
    for item in (accept or "*/*").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        try:
            found[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            found[name] = 0.0
    return next((found[name] for name in ranges if name in found), 0.0)
