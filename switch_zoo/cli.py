"""The `switch_zoo` command. Every subcommand is a module of `switch_zoo.commands`, imported without TensorFlow."""

import os
import sys

import typer
from rich.console import Console

from switch_zoo import interrupts, tf_compat
from switch_zoo.commands import compile as compile_command
from switch_zoo.commands import (
  convert,
  corpus,
  demo,
  describe,
  export,
  generate,
  models,
  plan,
  report,
  score,
  serve,
  tasks,
  verify,
)
from switch_zoo.errors import UserError, full_disk, paragraph

app = typer.Typer(
  name='switch_zoo',
  help='Switch Transformers and their relatives: list, describe, train, compile, convert, export, serve.',
  no_args_is_help=True,
  add_completion=False,
  rich_markup_mode=None,
  pretty_exceptions_enable=False,
)
app.command('models')(models.command)
app.command('describe')(describe.command)
app.command('plan')(plan.command)
app.command('demo')(demo.command)
app.command('compile')(compile_command.command)
app.command('convert')(convert.command)
app.command('verify')(verify.command)
app.command('generate')(generate.command)
app.command('score')(score.command)
app.command('export')(export.command)
app.command('report')(report.command)
app.command('tasks')(tasks.command)
app.command('corpus')(corpus.command)
app.command('serve')(serve.command)


@app.callback()
def options(
  debug: bool = typer.Option(False, '--debug', help="Show tracebacks and TensorFlow's own messages."),
) -> None:
  """Sets what holds for every command."""
  if debug:
    os.environ[tf_compat.DEBUG_VARIABLE] = '1'
  tf_compat.quiet()


def main() -> None:
  """Runs the command line and exits. A user's mistake is one paragraph on stderr and exit code 2."""
  sys.exit(run())


def run() -> int:
  """Runs the command line; returns its exit code: 0 done, 1 our failure, 2 the user's mistake, 130 interrupted."""
  interrupts.install()
  try:
    with interrupts.outrank_errors():
      return app(standalone_mode=False) or 0  # None of a command that ended well
  except UserError as error:
    return _fail(paragraph(error), 2)
  except (typer.Abort, KeyboardInterrupt):
    return interrupts.EXIT_CODE
  except Exception as error:  # noqa: BLE001 - the last resort of a command line
    return _command_line_mistake(error)


def _fail(message: str, code: int) -> int:
  if tf_compat.debugging():
    Console(stderr=True).print_exception()
  Console(stderr=True, highlight=False, soft_wrap=True).print(f'switch_zoo: {message}', markup=False)
  return code


def _command_line_mistake(error: Exception) -> int:
  # Told apart by their attributes: some releases of typer bundle click, and their classes are not click's.
  format_message = getattr(error, 'format_message', None)
  if format_message is not None:
    return _fail(format_message(), 2)
  exit_code = getattr(error, 'exit_code', None)
  if exit_code is not None:
    return exit_code
  full = full_disk(error)
  if full:
    return _fail(f'{full}: {paragraph(error)[:300]} Free some space, and repeat the command.', 2)
  if tf_compat.debugging():
    raise error
  return _fail(f'{type(error).__name__}: {error} (switch_zoo --debug shows where.)', 1)
