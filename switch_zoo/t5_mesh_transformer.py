"""The `t5_mesh_transformer` command: T5's, with our gin files, tasks and models, and errors that help.

t5_mesh_transformer --model_dir=DIR --gin_file=models/switch_base_8.gin --gin_file=runs/finetune.gin \
    --gin_file=layouts/cpu.gin --gin_param="MIXTURE_NAME = 'zoo_superglue'"

Differences from T5's command: gin files of this package are found by their names, its tasks are registered, and gin's
dtypes also apply on a CPU. All settings are checked before anything is written.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

from switch_zoo import garbage, interrupts, tf_compat, whole_package
from switch_zoo.errors import UserError, paragraph
from switch_zoo.spec import gin_files, setting_kinds


def console_entry_point() -> None:
  """The function that the installed command calls."""
  sys.exit(main(sys.argv))


def main(arguments: Sequence[str]) -> int:
  """The exit code: 0 done, 1 failed, 2 a user's mistake, 130 interrupted.

  Args:
    arguments: the command's name and its arguments
  """
  interrupts.install()
  try:
    with whole_package.required_by('t5_mesh_transformer'):
      from switch_zoo.launcher import flags, process_flags

    values = flags.parse(arguments)
    if values.help:
      print(f'{__doc__}\nFlags:\n{flags.help_text(values)}')
      return 0
    if values.debug:
      os.environ[tf_compat.DEBUG_VARIABLE] = '1'
    tf_compat.quiet()
    process_flags.check(values)
    with interrupts.outrank_errors():
      _run(values)
    return 0
  except UserError as error:
    return _fail(paragraph(error), 2)
  except KeyboardInterrupt:
    return _fail('interrupted; the checkpoints so far are kept, and the same command resumes from the last one.', 130)
  except Exception as error:  # noqa: BLE001 - the last resort of a command line
    from switch_zoo.launcher import failures

    return _fail(*failures.explain(error))


def _fail(message: str, code: int) -> int:
  if tf_compat.debugging():
    import traceback

    traceback.print_exc()
  processes: Any = sys.modules.get('switch_zoo.pjrt.processes')
  if processes:
    processes.has_words(code)
  print(f't5_mesh_transformer: {message}', file=sys.stderr)
  if processes:
    processes.leave(code)
  return code


def _run(values: Any) -> None:
  if values.tpu:
    from switch_zoo.launcher import tpu_kernels

    tpu_kernels.check(values.tpu)
  # Before the imports that take seconds: most mistakes are in the gin files.
  bound = gin_files.read(values.gin_file or [], values.gin_param or [], values.gin_location_prefix)
  bound.check()
  setting_kinds.check(bound)
  if values.mode and not values.use_model_api:
    raise UserError(f'--mode={values.mode} belongs to --use_model_api. Add that flag, or set utils.run.mode in gin.')
  if 'tensorflow' not in sys.modules:
    print('Loading TensorFlow, then checking the run.', file=sys.stderr, flush=True)
  if values.runtime == 'pjrt':
    from switch_zoo.pjrt import command as pjrt_command

    pjrt_command.run(values, bound)
    return
  with garbage.while_importing():
    from switch_zoo.launcher import command

  command.run(values, bound)


if __name__ == '__main__':
  console_entry_point()
