"""Makes `switch_zoo.tasks` importable where the wheel's layout is absent: in a checkout and in an editable install.

A wheel holds the repository's `tasks/` folder as `switch_zoo/tasks`; a checkout has it beside the package.
"""
import importlib.abc
import importlib.util
import pathlib
import sys

_PACKAGE = pathlib.Path(__file__).resolve().parent


class _TasksFinder(importlib.abc.MetaPathFinder):
  """Finds `switch_zoo.tasks` in the repository's `tasks/`; its modules are then found as those of any package."""

  def find_spec(self, fullname, path=None, target=None):
    folder = _PACKAGE.parent / 'tasks'
    if fullname != f'{_PACKAGE.name}.tasks' or not (folder / '__init__.py').is_file():
      return None
    return importlib.util.spec_from_file_location(
        fullname, folder / '__init__.py', submodule_search_locations=[str(folder)]
    )


def install() -> None:
  """Adds the finder after all others, so that an installed `switch_zoo/tasks` wins. Imports nothing; idempotent."""
  if not any(isinstance(finder, _TasksFinder) for finder in sys.meta_path):
    sys.meta_path.append(_TasksFinder())
