"""`python -m execstream` is the `execstream` program."""

from execstream.cli import main

if __name__ == "__main__":
    main()
