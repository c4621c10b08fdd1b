"""The `t5_mesh_transformer` command: T5's, with our gin files, tasks and models, and errors that help.

t5_mesh_transformer --model_dir=DIR --gin_file=models/switch_base_8.gin --gin_file=runs/finetune.gin \
    --gin_file=layouts/cpu.gin --gin_param="MIXTURE_NAME = 'zoo_superglue'"

What differs from T5's: gin files of this package are found by their names, its tasks are registered, and gin's dtypes
hold on a CPU too. All settings are checked before anything is written.
"""
import os
import sys
from typing import Sequence

from absl import flags

from switch_zoo import gin_files, tf_compat
from switch_zoo.errors import UserError
from switch_zoo.launcher import flags as launcher_flags

FLAGS = flags.FLAGS


def console_entry_point() -> None:
  """What the installed command calls."""
  sys.exit(main(sys.argv))


def main(arguments: Sequence[str]) -> int:
  """The exit code: 0 done, 1 failed, 2 a user's mistake, 130 interrupted.

  Args:
    arguments: the command's name and its arguments
  """
  try:
    _parse(arguments)
    _run()
    return 0
  except UserError as error:
    return _fail(str(error), 2)
  except KeyboardInterrupt:
    return _fail('interrupted; the checkpoints so far are kept, the same command goes on from the last.', 130)
  except Exception as error:  # noqa: BLE001 - the last resort of a command line
    from switch_zoo.launcher import failures

    return _fail(*failures.explain(error))


def _fail(message, code):
  if tf_compat.debugging():
    import traceback

    traceback.print_exc()
  print(f't5_mesh_transformer: {message}', file=sys.stderr)
  return code


def _parse(arguments):
  launcher_flags.define()
  try:
    rest = FLAGS(list(arguments))[1:]
  except flags.Error as error:
    raise UserError(f'{error}. `t5_mesh_transformer --help` lists the flags.'.replace('..', '.')) from error
  if rest:
    raise UserError(f'"{rest[0]}" is not a flag. Flags begin with --, and their values follow an = or a blank.')
  if FLAGS.debug:
    os.environ[tf_compat.DEBUG_VARIABLE] = '1'
  tf_compat.quiet()


def _run():
  # Before the imports that take seconds: most mistakes are in the gin files.
  gin_files.read(FLAGS.gin_file or [], FLAGS.gin_param or [], FLAGS.gin_location_prefix).check()
  if FLAGS.mode and not FLAGS.use_model_api:
    raise UserError(f'--mode={FLAGS.mode} belongs to --use_model_api. Add that flag, or set utils.run.mode in gin.')
  from switch_zoo.launcher import command

  command.run(FLAGS)


if __name__ == '__main__':
  console_entry_point()
