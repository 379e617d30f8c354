"""Links between files of the repository become links between pages of the documentation."""

import re

from sphinx.application import Sphinx

# Pages that show a file from elsewhere in the repository.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/METHOD.md": "method.md",
}
LINK = re.compile(r"\]\((?:\.\./)*([\w/-]+\.md)\)")


def _page(link: re.Match[str]) -> str:
    page = PAGES.get(link[1]) or (link[1].startswith("docs/") and link[1].removeprefix("docs/"))
    return f"](/{page})" if page else link[0]


def _change(app: Sphinx, *about: object) -> None:
    text = about[-1]
    assert isinstance(text, list)
    text[0] = LINK.sub(_page, text[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", _change)
    app.connect("include-read", _change)
    return {"parallel_read_safe": True}
