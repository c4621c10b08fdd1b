"""The answer of commands that need the sub-packages which `switch-zoo-serve` leaves out."""

import contextlib
from collections.abc import Iterator

from switch_zoo.errors import UserError


@contextlib.contextmanager
def required_by(command: str) -> Iterator[None]:
  """For the imports of a command: a sub-package of ours that is not installed becomes the user's mistake.

  Raises:
    UserError: only `switch-zoo-serve` is installed
  """
  try:
    yield
  except ModuleNotFoundError as error:
    if not (error.name or '').startswith('switch_zoo.'):
      raise
    raise UserError(
      f'{command} needs {error.name}, which switch-zoo-serve does not install: it only converts, exports and serves. '
      'Install the whole switch-zoo in another environment, with `pip install .` in its checkout.'
    ) from error
