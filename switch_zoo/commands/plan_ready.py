"""`switch_zoo plan --ready-layouts DIR`: writes the layouts of gin/layouts that are for a model and a slice."""

import pathlib
from collections.abc import Callable

from switch_zoo.errors import UserError
from switch_zoo.planner import ready
from switch_zoo.spec import layouts


def names(slice_name: str = '') -> list[str]:
  """Ready layouts, 'v3-8/switch_base_8': those of a slice, or all.

  Raises:
    UserError: a slice that has none
  """
  every = [name for name in layouts.list_layouts() if '/' in name]
  chosen = [name for name in every if slice_name in ('', name.partition('/')[0])]
  if not chosen:
    slices = sorted({name.partition('/')[0] for name in every})
    raise UserError(f'--slice {slice_name} has no ready layouts. Slices that have are {", ".join(slices)}.')
  return chosen


def write(folder: str, slice_name: str, report: Callable[[str], None]) -> None:
  """Writes SLICE/MODEL.gin into a folder for each ready layout, as the planner chooses it now.

  Args:
    folder: gin/layouts of a checkout, or another one; it is created
    slice_name: only of this slice; '' for all
    report: is given each file as soon as it is written
  Raises:
    UserError: a slice that has none, a folder that cannot be written
  """
  for name in names(slice_name):
    path = pathlib.Path(folder) / f'{name}.gin'
    text = choice(name)
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text, encoding='utf-8')
    except OSError as error:
      raise UserError(
        f'--ready-layouts {folder}: {path} cannot be written: {error.strerror}. Give a folder that you may write to.'
      ) from error
    report(str(path))


def choice(name: str) -> str:
  """The text of a ready layout, as the planner chooses it."""
  slice_name, _, model = name.partition('/')
  chosen = ready.choose(model, slice_name)
  return ready.text(model, slice_name, chosen.strategy, chosen.plan.layout)
