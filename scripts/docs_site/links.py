"""Links of the Markdown files, which are right in the repository, made right in the site."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the root that are pages, and their names in the site."""

_ELSEWHERE = {"fmx_store/settings.py": "settings.md"}  # sources that a page of the site shows
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def redirect(markdown: str, page: str) -> str:
    """The text of a page with its links set; what the site has not is no link any more."""
    source = {name: source for source, name in ROOT_PAGES.items()}.get(page, f"docs/{page}")
    parts = _FENCE.split(markdown)
    return "".join(
        part if part.startswith("```") else _LINK.sub(lambda m: _set(m, source, page), part)
        for part in parts
    )


def _set(link: re.Match[str], source: str, page: str) -> str:
    mark, text, target, anchor = link.groups()
    if ":" in target:
        return link[0]
    place = _find(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
    if place is None:
        return text
    return (
        f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{anchor or ''})"
    )


def _find(path: str) -> str | None:
    """Where the site has a file of the repository; None where it has not."""
    if path in ROOT_PAGES or path in _ELSEWHERE:
        return ROOT_PAGES.get(path) or _ELSEWHERE[path]
    folder, _, rest = path.partition("/")
    return rest if folder == "docs" else None
