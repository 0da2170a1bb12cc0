# SPDX-License-Identifier: GPL-2.0-only
"""The command line: one module per command, which parses, calls and renders."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback

import click

from harness import __version__
from harness.errors import ExitCode, HarnessError
from harness.visible import visible

_COMMANDS = {
    "b4-check": "harness.cli.b4_check",
    "bisect": "harness.cli.bisect",
    "compare": "harness.cli.compare",
    "doctor": "harness.cli.doctor",
    "help": "harness.cli.help",
    "inject": "harness.cli.inject",
    "ktap": "harness.cli.ktap",
    "matrix": "harness.cli.matrix",
    "mcp": "harness.cli.mcp",
    "mutants": "harness.cli.mutants",
    "race": "harness.cli.race",
    "replay": "harness.cli.replay",
    "report": "harness.cli.report",
    "run": "harness.cli.run",
    "series": "harness.cli.series",
    "shell": "harness.cli.shell",
    "which-tests": "harness.cli.which_tests",
    "worker": "harness.cli.worker",
}


class _Lazy(click.Group):
    """Loads a command's module when it is asked for: start-up is paid a hundred times a day."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = {"help": "help_command"}.get(cmd_name, cmd_name.replace("-", "_"))
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), name)
        assert isinstance(command, click.Command)  # noqa: S101  the table above says so
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Apply a patch series to Linux, build it, boot it in QEMU and run C selftests.

    Every test runs in a guest of its own, restored from a snapshot, and every planned test is
    reported.  harness.toml says what is tested.

    \b
    Exit codes of every command:
      0    everything ended as expected
      1    some test did not end as expected
      2    the input is wrong: usage, project file, series, options
      3    the machine or a tool failed, so there is no result about the kernel
      130  interrupted; the journal of the run is kept
    """


def main(command: click.Command = cli) -> None:
    """Run *command* and exit with one of :class:`harness.errors.ExitCode`."""
    _open_streams()
    sys.exit(_status(command))


def _open_streams() -> None:
    """Open what of standard input, output and error is closed, as the null device.

    Otherwise the next file that is opened, such as a journal, would get the number of standard
    output, and what is printed would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _status(command: click.Command) -> int:
    try:
        status = command.main(standalone_mode=False)
        # What cannot be written is found out here, and not while Python ends.
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        usage = io.StringIO()
        error.show(usage)
        _say(usage.getvalue().removesuffix("\n"))
        return ExitCode.USER
    except (click.Abort, KeyboardInterrupt):
        _say("\ninterrupted")
        return ExitCode.INTERRUPTED
    except HarnessError as error:
        return _tell(error)
    except (BrokenPipeError, SystemExit):
        # The reader of our output has gone (`| head`), which is no verdict on any test.  Where that
        # shows inside a command, click exits with 1.
        _drop_output()
        return ExitCode.MACHINE
    except Exception as error:
        from harness.foreign import translate

        if isinstance(error, OSError):
            _drop_output()
        if (meaning := translate(error)) is not None:
            return _tell(meaning)
        # Python's own exit status would be 1, which says that tests were run and one failed.
        _say(traceback.format_exc())
        _say("error: this is a fault of the harness itself, please report it")
        return ExitCode.MACHINE
    return status if isinstance(status, int) else ExitCode.AS_EXPECTED


def _drop_output() -> None:
    """Let what could not be written to standard output go nowhere: Python would try again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _say(text: str) -> None:
    from harness.report.terminal import Safe

    stream = Safe(sys.stderr)
    stream.write(f"{visible(text)}\n")
    stream.flush()


def _tell(error: HarnessError) -> int:
    from harness.report.console import print_error

    print_error(error, sys.stderr)
    return error.exit_code
