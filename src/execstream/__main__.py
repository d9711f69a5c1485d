"""The `execstream` program; `python -m execstream` is the same."""


def main() -> None:
    """Run the program with the arguments of the process."""
    import signal  # noqa: PLC0415 - see below

    # Before anything that takes time: imports leave nothing to tidy up.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from execstream import cli  # noqa: PLC0415

    cli.main()


if __name__ == "__main__":
    main()
