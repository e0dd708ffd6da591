"""Offers a Grenache discovery node for Twisted: ``Grape`` is the service, ``Config`` its settings.

Short on purpose: importing it loads no Twisted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grape.config import Config, ConfigError
from grape.errors import GrapeError

__all__ = ["Config", "ConfigError", "Grape", "GrapeError", "__version__"]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from grape.service import Grape
else:

    def __getattr__(name: str) -> object:
        """Imports ``Grape`` at its first use: the command decides first how Twisted is loaded (grape.cli.run)."""
        if name == "Grape":
            from grape.service import Grape

            return Grape
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
