"""What the commands of all packages have in common: ``--version`` and ``--verbose``."""

import argparse
import logging
import sys


def add_common(top: argparse.ArgumentParser) -> None:
    """Add the options that stand before the command, which is then not required by the parser itself."""
    top.add_argument("--version", action="store_true", help="print the version; with --verbose, those of everything")
    top.add_argument("--verbose", action="store_true", help="say on the error stream what goes on")


def handle_common(top: argparse.ArgumentParser, args: argparse.Namespace) -> str | None:
    """Return what ``--version`` prints; None if there is a command to run, with a log if that is wanted.

    The arguments of the command stay in ``args``.
    """
    version, verbose = (vars(args).pop(name) for name in ("version", "verbose"))
    if version:
        from factorgraph.runtime.machine import about

        return about(verbose=verbose)
    if getattr(args, "command", None) is None:
        top.error("the following arguments are required: COMMAND")
    if verbose:
        start_log()
    return None


def start_log() -> None:
    """Write what our packages log to the error stream."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    for name in ("factorgraph", "models", "deepnet"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
