"""Offers a Grenache discovery node for Twisted: ``Grape`` is the service, ``Config`` its settings.

Short on purpose: importing it loads no Twisted, and nothing that ``grape.client`` has no use for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grape.errors import ConfigError, GrapeError

__all__ = ["Config", "ConfigError", "Grape", "GrapeError", "__version__"]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from grape.config import Config
    from grape.service import Grape
else:

    def __getattr__(name: str) -> object:
        """Imports ``Grape`` and ``Config`` at their first use.

        The command decides first how Twisted is loaded (grape.cli.run).
        """
        if name == "Grape":
            from grape.service import Grape

            return Grape
        if name == "Config":
            from grape.config import Config

            return Config
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
