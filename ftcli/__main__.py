"""Runs `python -m ftcli`."""

from ftcli.cli import main

if __name__ == "__main__":
    main()
