"""``python -m grug`` is ``grug``."""

from grug.cli import main

if __name__ == "__main__":
    main()
