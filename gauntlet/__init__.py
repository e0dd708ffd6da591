"""The gauntlet: what a grape has to live through, as one command, ``python -m gauntlet``. Not part of the package."""
