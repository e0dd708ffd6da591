"""Tests grapes under failures, load and attacks, as one command: ``python -m gauntlet``. Not part of the package."""
