"""The documentation: ``make docs`` builds it into docs/_build."""

import importlib.metadata
import os
import sys
from pathlib import Path

# For the help texts of the command: the one of this environment, without colours.
os.environ |= {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "COLUMNS": "88",
    "NO_COLOR": "1",
}
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "winsockctl"
release = version = importlib.metadata.version("winsockctl")

extensions = [
    "myst_parser",
    "repository_links",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.programoutput",
    "stub_types",
]
exclude_patterns = ["_build"]
nitpicky = True
# What other projects document: no inventory of theirs has to be fetched.
nitpick_ignore = [
    ("py:class", "Source"),
    ("py:class", "NetworkInterface"),
    ("py:class", "Packet"),
    ("py:exc", "Scapy_Exception"),
]
_OTHERS = "asyncio|collections|contextlib|os|scapy|socket|types|typing"
nitpick_ignore_regex = [("py:.*", rf"({_OTHERS})\..*")]

myst_heading_anchors = 3

napoleon_numpy_docstring = False
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"winsockctl {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
