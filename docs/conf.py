"""Configures Sphinx: ``make docs`` builds the site from the pages that docs/_ext/source.py brings together.

Nothing is fetched: no intersphinx, and a theme that carries its own fonts and scripts.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs._ext import references  # noqa: E402
from grape import __version__  # noqa: E402

project = "Grape for Python"
author = "the Grape for Python developers"
copyright = author
version = release = __version__
html_title = f"Grape {__version__}"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
highlight_language = "text"
# Two dashes of a flag are no long dash.
smartquotes = False

# Every reference is checked, those to types of grape, too. These lead nowhere: names of other libraries, type
# variables, and the types of keywords, which are listed elsewhere as settings.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!grape\.).*"), (r"py:.*", r"grape\..*\.(T|Keywords)")]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"Storable": "Storable", "Value": "Value"}
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 100

html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#7a3fb5", "color-brand-content": "#7a3fb5"},
    "dark_css_variables": {"color-brand-primary": "#c79bf2", "color-brand-content": "#c79bf2"},
}

setup = references.setup
