"""The command ``deepnet report``: runs side by side on one page that needs no network."""

import argparse
from typing import Any

from deepnet.app.options import path
from deepnet.app.terminal import say

#: File in the folder of the first run.
PAGE = "report.html"

_DESCRIPTION = """Write one HTML page about runs, side by side: settings, curves, confusion, reliability, the most
confident mistakes, the weights of the first layer, and the size and speed of what they can be exported to. The page
contains all of its figures and asks for nothing from elsewhere."""


def add_report(commands: Any) -> None:
    """Add the command to those of ``deepnet``, ``commands`` being the action that holds them."""
    command = commands.add_parser("report", help="a page about runs, side by side", allow_abbrev=False)
    command.description = _DESCRIPTION
    command.set_defaults(command=run)
    add = command.add_argument
    add("runs", metavar="RUN", nargs="+", type=path, help="folder of a run")
    add("--data-dir", metavar="DIR", default=None, help="folder with the files of the data sets")
    add("--out", metavar="FILE", type=path, help="file to write (default: report.html in the folder of the first run)")


def run(args: argparse.Namespace) -> int:
    """Gather what is to be told, and write the page."""
    from deepnet.app.checkpoint import write_text_atomic
    from deepnet.app.told import gathered
    from deepnet.data import DataError

    try:
        from deepnet.app.page import page
    except ImportError as error:
        raise DataError(str(error)) from error
    out = args.out or args.runs[0] / PAGE
    write_text_atomic(out, page([gathered(folder, args.data_dir) for folder in args.runs]))
    say(f"{out}: {out.stat().st_size} bytes, {len(args.runs)} run{'s' if len(args.runs) > 1 else ''}")
    return 0
