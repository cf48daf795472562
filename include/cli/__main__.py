"""``python -m include.cli``: the command-line tool where the project is mounted and not installed."""

from include.cli import main

if __name__ == "__main__":
    main()
