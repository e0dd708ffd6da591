"""Grape: a Grenache discovery node for Twisted. ``Grape`` is the service, ``Config`` its settings."""

from grape.config import Config, ConfigError
from grape.errors import GrapeError
from grape.service import Grape

__all__ = ["Config", "ConfigError", "Grape", "GrapeError", "__version__"]

__version__ = "0.1.0"
