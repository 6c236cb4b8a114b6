"""The report on finished jobs: one document, rendered as HTML, PDF and Markdown.

Needs the extra `report` (jinja2, typst), and neither torch nor matplotlib.
"""

from fmx_ml.report.compose import JobReport, compose
from fmx_ml.report.document import Document
from fmx_ml.report.html import render_html
from fmx_ml.report.markdown import list_figure_files, render_markdown
from fmx_ml.report.pdf import render_pdf

__all__ = [
    "Document",
    "JobReport",
    "compose",
    "list_figure_files",
    "render_html",
    "render_markdown",
    "render_pdf",
]
