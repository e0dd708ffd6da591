"""``python -m grape`` is the command ``grape``."""

from grape.cli import main

if __name__ == "__main__":
    main()
