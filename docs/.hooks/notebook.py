"""A mkdocs hook that renders the notebooks of docs/ as pages, with their stored outputs."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)\s#]+)\.ipynb(?=[)#])")
"""The target of a link to a notebook of docs/."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page `NAME.md` for each notebook `NAME.ipynb`."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            text = Path(file.abs_src_path or "").read_text(encoding="utf-8")
            name = file.src_uri.removesuffix(".ipynb")
            page = "\n\n".join(map(cell_to_markdown, json.loads(text)["cells"]))
            files.append(File.generated(config, f"{name}.md", content=page + "\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to notebooks into links to their pages.

    In the repository, only the notebooks exist. The page of a notebook keeps the link to its file.
    """
    notebook = page.file.src_uri.removesuffix(".md") + ".ipynb"
    return markdown if notebook in files.src_uris else LINK.sub(r"\1.md", markdown)


def cell_to_markdown(cell: dict[str, Any]) -> str:
    """Return a cell as Markdown: its text, or its code with the outputs."""
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return source
    return "\n\n".join([fenced(source, "python"), *map(output_to_markdown, cell["outputs"])])


def output_to_markdown(output: dict[str, Any]) -> str:
    """Return an output as Markdown: an image, or text."""
    data = output.get("data", {})
    if "image/png" in data:
        image = "".join(data["image/png"]).replace("\n", "")
        return f"![Output of the cell](data:image/png;base64,{image})"
    return fenced("".join(output.get("text", data.get("text/plain", ""))), "text")


def fenced(text: str, language: str) -> str:
    """Return a fenced code block."""
    return f"```{language}\n{text.rstrip()}\n```"
