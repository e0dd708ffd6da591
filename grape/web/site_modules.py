"""Imports the modules of the site behind the server one at a time.

A package such as werkzeug imports all of its modules from its own ``__init__``, and an import of any one of them runs
that first: 32 modules and 10 ms, or 30 ms on a busy machine, which is long enough for other nodes to take this one for
slow. So a package's modules are imported under a bare package, whose ``__init__`` runs after them. The longest step is
then about 3 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec, module_from_spec
from types import ModuleType

# All modules that ``grape.resource`` and ``grape.web.site`` load, in the order in which they finish loading, and what a
# first request loads. A name that another version of a library does not have is passed over; a module that is not named
# here is loaded by the one that imports it. .ci/site-modules compares the names with what is loaded.
SITE_MODULES = tuple(
    """
    twisted.web twisted.protocols.basic twisted.web._abnf twisted.web._responses twisted.web.http_headers
    twisted.cred twisted.cred.error twisted.cred._digest twisted.cred.credentials twisted.web.iweb tempfile email
    email.errors quopri email.encoders email.quoprimime email.charset email.utils email.header email._policybase
    email._encoded_words email.message twisted.web.http twisted.web.error twisted.web.resource
    twisted.copyright twisted.spread twisted.cred.checkers
    twisted.cred.portal twisted.spread.banana numbers _decimal decimal twisted.persisted.crefutil
    twisted.spread.interfaces twisted.spread.jelly twisted.spread.flavors twisted.spread.pb xml xml.sax.handler
    xml.sax._exceptions xml.sax.xmlreader xml.sax hyperlink._socket encodings.charmap
    idna.package_data idna.idnadata idna.core idna hyperlink._url hyperlink
    twisted.python.urlpath twisted.web._element twisted.web._stan twisted.web._flatten xml.parsers pyexpat
    xml.parsers.expat email.feedparser email.parser http.client urllib.error urllib.response urllib.request
    xml.sax.saxutils xml.sax.expatreader twisted.web._template_util twisted.web.util
    twisted.web.server grape.web.site socketserver mimetypes http.server werkzeug._internal markupsafe
    werkzeug.exceptions werkzeug.datastructures.mixins werkzeug.datastructures.structures
    werkzeug.datastructures.accept werkzeug.datastructures.auth werkzeug.datastructures.cache_control
    werkzeug.datastructures.csp werkzeug.datastructures.etag werkzeug.datastructures.headers
    werkzeug.datastructures.file_storage werkzeug.datastructures.range werkzeug.datastructures werkzeug.sansio
    werkzeug.sansio.http werkzeug.http werkzeug.urls werkzeug.serving werkzeug.sansio.multipart pkgutil secrets
    werkzeug.security werkzeug.sansio.utils werkzeug.wsgi werkzeug.utils werkzeug.formparser werkzeug.user_agent
    werkzeug.sansio.request werkzeug.wrappers.request werkzeug.sansio.response werkzeug.wrappers.response
    werkzeug.wrappers werkzeug.test werkzeug werkzeug.routing.converters difflib werkzeug.routing.exceptions pprint
    werkzeug.routing.rules werkzeug.routing.matcher werkzeug.routing.map werkzeug.routing
    twisted.internet._posixstdio twisted.internet.stdio twisted.python.systemd
    twisted.internet.endpoints twisted.web.template encodings.idna klein._decorators klein._interfaces klein._iform
    klein._isession klein.interfaces klein._dihttp klein._resource klein._typing_compat klein._app klein._form
    klein._plating klein._requirer klein._session klein._version klein.resource klein grape.web.parameters
    grape.web.schemas grape.web.routes grape.web.health grape.node.status grape.web.inspection grape.krpc.tracing
    grape.node.tracing grape.web.tracing grape.web.call_schemas grape.web.openapi gzip wsgiref wsgiref.util
    wsgiref.headers wsgiref.handlers wsgiref.simple_server prometheus_client.utils
    prometheus_client.openmetrics.exposition prometheus_client.openmetrics prometheus_client.samples
    prometheus_client.metrics_core prometheus_client.registry prometheus_client.asgi prometheus_client.exposition
    prometheus_client.gc_collector mmap prometheus_client.mmap_dict prometheus_client.values timeit
    prometheus_client.decorator prometheus_client.context_managers prometheus_client.metrics
    prometheus_client.platform_collector prometheus_client.process_collector prometheus_client prometheus_client.core
    grape.node.figures grape.node.families grape.web.exposition grape.logs.recent grape.node.watch grape.web.feed
    grape.web.events grape.web.live_page grape.resource
    """.split()  # noqa: SIM905
)

# Not importlib's function: ``python -X importtime`` does not report what that one loads.
import_module: Callable[[str], object] = __import__


class SteppedImport:
    """The import of a list of modules in steps of one. Modules of a package come before the package."""

    def __init__(self, names: Iterable[str] = SITE_MODULES) -> None:
        self._names = list(names)
        # Packages of which some modules are loaded, by their names. They are in sys.modules only while a step runs.
        self._bare: dict[str, ModuleType] = {}

    def step(self) -> bool:
        """Imports the first module that is not loaded yet. Returns False if there is none."""
        while self._names:
            name = self._names.pop(0)
            if name not in sys.modules:
                try:
                    self._load(name)
                except ImportError:
                    continue
                return True
        return False

    def finish(self) -> None:
        """Completes the packages that are half loaded, so that they can be imported as usual."""
        for package in sorted(self._bare, reverse=True):
            if package in sys.modules:
                self._give_up(package)
            else:
                self._load(package)

    def _load(self, name: str) -> None:
        entered = [package for package in _packages_of(name) if self._enter(package)]
        try:
            if name in self._bare:
                self._run(name)
            else:
                import_module(name)
        finally:
            for package in entered:
                sys.modules.pop(package, None)

    def _enter(self, package: str) -> bool:
        """Puts a bare package in the place of one that is not loaded. Returns False if it is loaded."""
        if package in sys.modules:
            self._give_up(package)
            return False
        if package not in self._bare:
            spec = find_spec(package)
            if spec is None:
                raise ModuleNotFoundError(f"no package {package}", name=package)
            self._bare[package] = module_from_spec(spec)
        sys.modules[package] = self._bare[package]
        return True

    def _run(self, package: str) -> None:
        """Runs the ``__init__`` of a bare package."""
        module = self._bare.pop(package)
        loader = module.__spec__.loader if module.__spec__ is not None else None
        assert loader is not None
        sys.modules[package] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[package]
            raise
        parent, _, child = package.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)

    def _give_up(self, package: str) -> None:
        """Drops the bare package in favour of the one that the program itself imported between two steps.

        Modules that were loaded under the bare one become members of the other.
        """
        bare = self._bare.pop(package, None)
        for name, value in vars(bare).items() if bare is not None else ():
            if isinstance(value, ModuleType) and not hasattr(sys.modules[package], name):
                setattr(sys.modules[package], name, value)


def _packages_of(name: str) -> list[str]:
    """Returns the packages that a module is in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]
