"""Offers the console command ``grape``; ``main`` is its entry point."""

from grape.cli.run import main

__all__ = ["main"]
