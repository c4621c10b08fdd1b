"""When a training saves, and which of its checkpoints it keeps: what TensorFlow's saver does in the same folder."""

import glob
import os
import time
from collections.abc import Mapping

import jax

from switch_zoo.checkpoints import mesh_folder
from switch_zoo.launcher import disk
from switch_zoo.pjrt import checkpoint_writer, processes


class Saver:
  """Saves every so many steps or seconds and at the end.

  Args:
    folder: of the model
    every: steps between two checkpoints
    keep: how many of the last checkpoints are kept; None or 0: all
    first_step: steps that were done before
    seconds: it also saves when the last checkpoint is this old; None: only after steps
  """

  def __init__(self, folder: str, every: int, keep: int | None, first_step: int, seconds: float | None = None) -> None:
    self._folder, self._every, self._keep, self._seconds = folder, every, keep, seconds
    self._saved = self._counted_from = first_step
    self._timed_from = time.monotonic()

  def save_if_due(self, step: int, variables: Mapping[str, jax.Array]) -> None:
    """Saves if it is time to after a step, which the checkpoints of validations do not change."""
    if step - self._counted_from >= self._every or self._is_old():
      self._counted_from, self._timed_from = step, time.monotonic()
      self.save(step, variables)

  def _is_old(self) -> bool:
    """Whether the seconds are over, by the clock of one process: all of them save the same steps."""
    if self._seconds is None:
      return False
    return bool(processes.same_number(int(time.monotonic() - self._timed_from >= self._seconds)))

  def saved(self, step: int, variables: Mapping[str, jax.Array]) -> str:
    """The prefix of the checkpoint of this step, the last that was done; it is saved if it is not yet."""
    prefix = checkpoint_writer.prefix_of(self._folder, step)
    # What one process sees: all of them save, or none.
    if not processes.same_number(int(os.path.exists(f'{prefix}.index'))):
      self._saved = -1
      self.save(step, variables)
    return prefix

  def save(self, step: int, variables: Mapping[str, jax.Array]) -> None:
    """Saves, unless this step has been saved."""
    if step == self._saved:
      return
    with disk.full_explained(self._folder):
      prefix = checkpoint_writer.write(self._folder, step, variables)
    self._saved = step
    if processes.is_chief():
      mesh_folder.write_state(self._folder, prefix)
      if self._remove_old(step):
        mesh_folder.write_state(self._folder, prefix)

  def _remove_old(self, step: int) -> bool:
    """Removes the oldest checkpoints, each one's index first; whether there were any."""
    older = [prefix for prefix in mesh_folder.prefixes_in(self._folder) if 0 <= mesh_folder.step(prefix) < step]
    surplus = older[: max(0, len(older) + 1 - self._keep)] if self._keep else []
    for prefix in surplus:
      os.remove(f'{prefix}.index')
      for path in glob.glob(f'{glob.escape(prefix)}.data-*') + glob.glob(f'{glob.escape(prefix)}.meta'):
        os.remove(path)
    return bool(surplus)
