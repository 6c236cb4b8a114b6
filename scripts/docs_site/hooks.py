"""What mkdocs takes beside docs/: pages made of the code and of the root's files, links set right.

It is named in mkdocs.yml, and run by `make docs`.
"""

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.docs_site import command_line, http_reference, question_pages, settings_page
from scripts.docs_site.links import ROOT, ROOT_PAGES, redirect


def make_pages() -> dict[str, str]:
    """Every page that is no file of docs/, as Markdown, by its name in the site."""
    return {
        **{name: (ROOT / source).read_text("utf-8") for source, name in ROOT_PAGES.items()},
        **question_pages.make_pages(),
        "command-line.md": command_line.make_page(),
        "http.md": http_reference.make_page(),
        "settings.md": settings_page.make_page(),
    }


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Adds the pages."""
    for name, content in make_pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page with links that lead to where things are in the site."""
    return redirect(markdown, page.file.src_uri)
