"""The documentation as a site: `make docs` writes docs/_build/html, which needs no network to be read.

The pages are those that can be read in the repository; what the site needs beyond them is in docs/site/.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "site"))

import grmrewards

project = "grmrewards"
author = "the grmrewards developers"
release = version = grmrewards.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "contents",
    "repository",
    "docstrings",
    "command_help",
]
exclude_patterns = ["_build", "site"]
root_doc = "index"
nitpicky = False

myst_heading_anchors = 4  # links to headings, as a repository's viewer has them
myst_enable_extensions = ["fieldlist"]
suppress_warnings = ["myst.header"]  # a page may begin below the first level

autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"grmrewards {release}"
html_show_sphinx = False
html_copy_source = html_show_sourcelink = False
pygments_style, pygments_dark_style = "friendly", "monokai"
