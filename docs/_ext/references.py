"""Has Sphinx link the short names of types in signatures, and know the languages of all code blocks.

Annotations are texts (``from __future__ import annotations``) with the names that a module imports, such as
``Deferred[Got | None]``. A name that belongs to one documented object leads there.
"""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import Element, reference
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

#: Languages of code blocks that Pygments does not know.
PLAIN = ("haproxy",)
FUNCTION = re.compile(r"<function [\w.<>]*>")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> reference | None:
    """Returns a link to the one documented object of the package that has the name of a reference, or None."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains["py"]
    assert isinstance(domain, PythonDomain)
    target = str(node["reftarget"])
    found = [
        entry
        for name, entry in domain.objects.items()
        if not entry.aliased and entry.objtype in ("class", "exception", "data", "attribute") and _is(name, target)
    ]
    # Links of the three styles are named alike: the one of the same module is meant.
    if len(found) != 1:
        return None
    return make_refnode(app.builder, str(node["refdoc"]), found[0].docname, found[0].node_id, content)


def without_functions(
    app: Sphinx, what: str, name: str, documented: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Returns a signature in which dots stand for defaults that are functions: it could not be parsed otherwise."""
    return (None if signature is None else FUNCTION.sub("...", signature)), returned


def _is(name: str, target: str) -> bool:
    short = target.rpartition(".")[2] if target.startswith("grape.") else target
    return name == target or name.rpartition(".")[2] == short


def setup(app: Sphinx) -> dict[str, Any]:
    """Is called by Sphinx at the start of a build."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", without_functions)
    for language in PLAIN:
        app.add_lexer(language, TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
