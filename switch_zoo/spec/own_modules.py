"""Modules that gin files import, such as one of the user's own with a task or a router."""

import importlib
from collections.abc import Mapping

from switch_zoo.errors import UserError

# Of the released code and ours: they have no routers that are not in our table.
_PACKAGES = ('switch_zoo', 'mesh_tensorflow', 't5', 'seqio', 'gin')


def import_module(module: str, place: str) -> None:
  """Imports a module, as a gin file asks for it.

  Args:
    module: its name
    place: where it is asked for
  Raises:
    UserError: it cannot be imported
  """
  try:
    importlib.import_module(module)
  except ImportError as error:
    raise UserError(
      f'{place} imports {module}: {error}. Is the package installed and the name right? A file of your own is found '
      'where PYTHONPATH has its folder: export PYTHONPATH=$PWD.'
    ) from error


def import_own(imports: Mapping[str, str]) -> None:
  """Imports those that are neither ours nor of the released code.

  Args:
    imports: module -> the place that imports it
  Raises:
    UserError: one cannot be imported
  """
  for module, place in imports.items():
    if module.partition('.')[0] not in _PACKAGES:
      import_module(module, place)
