"""Runs the command ``grape`` for ``python -m grape``; short, as Python looks for nothing but this file."""

from grape.cli import main

if __name__ == "__main__":
    main()
