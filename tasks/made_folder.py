"""A folder that a command makes inside a data folder: as a whole or not at all, with an index of what it contains."""

import json
import os
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

from switch_zoo.errors import UserError, full_disk

INDEX = 'index.json'


class MadeFolder(NamedTuple):
  """What is made, and where.

  path: below the data folder
  content: for messages: 'corpus'
  """

  path: str
  content: str

  def index(self, data: str) -> dict[str, Any] | None:
    """The index of what a data folder has; None if it has none.

    Raises:
      UserError: it is not JSON
    """
    path = os.path.join(data, self.path, INDEX)
    if not os.path.exists(path):
      return None
    try:
      with open(path, encoding='utf-8') as file:
        return json.load(file)
    except ValueError as error:
      raise UserError(
        f'{path} is not JSON: {error}. Delete {os.path.dirname(path)}, and make the {self.content} again.'
      ) from error

  def make(self, data: str, write: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Makes it and its index.

    Args:
      data: the data folder
      write: fills a folder, and returns the index
    Raises:
      UserError: something else is in the place, or it cannot be written; and what `write` raises
    """
    place = os.path.join(data, self.path)
    if os.path.lexists(place):
      raise UserError(
        f'{place} exists and is not a {self.content} that is complete. Delete it, or name another folder.'
      )
    # Not next to the place: what a kill leaves there could be taken for data.
    partial = os.path.join(data, f'{os.path.basename(place)}.partial')
    try:
      shutil.rmtree(partial, ignore_errors=True)
      for folder in (partial, os.path.dirname(place)):
        os.makedirs(folder, exist_ok=True)
      index = write(partial)
      with open(os.path.join(partial, INDEX), 'w', encoding='utf-8') as file:
        json.dump(index, file, indent=1, sort_keys=True)
      os.replace(partial, place)
    except OSError as error:
      words = full_disk(error) or error.strerror or str(error)
      raise UserError(f'{place} cannot be written: {words}. Name a folder that you may write to.') from error
    finally:
      shutil.rmtree(partial, ignore_errors=True)
    return index
