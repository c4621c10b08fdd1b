"""Which checkpoint a run uses: one answer for training, for evaluation, and for released code that asks TensorFlow.

TensorFlow's answer is what the folder's state file names, and none if that file is lost: a training would begin again
at step 0, next to its checkpoints.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import mesh_folder, tensor_bundle
from switch_zoo.errors import UserError
from switch_zoo.launcher import run_state

# Between two looks at a folder in which another checkpoint is awaited.
_SECONDS = 5


def newest(folder: str) -> str | None:
  """The prefix of the newest checkpoint of a folder, whole or not; None if there is none."""
  if is_remote(folder):
    return tf.train.latest_checkpoint(folder)
  checkpoint = mesh_folder.newest(folder)
  return checkpoint.prefix if checkpoint else None


def is_remote(path: str) -> bool:
  """Whether a path is in a bucket: reading it is left to TensorFlow."""
  return '://' in path


def to_resume(model_dir: str) -> tuple[str | None, str]:
  """The checkpoint that a training resumes from, and a sentence for the user; None if the training starts at step 0.

  Raises:
    UserError: there are checkpoints, and none of them is whole
  """
  checkpoint = None if is_remote(model_dir) else mesh_folder.newest(model_dir)
  if checkpoint is None:
    return newest(model_dir), ''
  if not checkpoint.damage:
    return checkpoint.prefix, checkpoint.note
  if checkpoint.fallback is None:
    raise UserError(
      f'{checkpoint.damage} No checkpoint in {model_dir} is whole. Copy it again, or train in another --model_dir.'
    )
  resumed = os.path.basename(checkpoint.fallback)
  return checkpoint.fallback, f'{checkpoint.damage} {resumed}, the newest checkpoint that is whole, is used instead.'


def prepare_training(model_dir: str) -> str:
  """Makes a folder ready for the training that resumes in it: TensorFlow will find the checkpoint of `to_resume`.

  Returns:
    a sentence for the user, or ''
  """
  if is_remote(model_dir) or not os.path.isdir(model_dir):
    return ''
  prefix, note = to_resume(model_dir)
  mesh_folder.remove_leftovers(model_dir, prefix)
  if prefix is None:
    mesh_folder.remove_state(model_dir)
  elif _tensorflows(model_dir) != os.path.realpath(prefix):
    mesh_folder.write_state(model_dir, prefix)
  return note


def to_evaluate(model_dir: str, steps: Any) -> list[str]:
  """The checkpoints of an evaluation, and nothing where that is decided as it runs.

  Args:
    model_dir: the folder
    steps: -1 for the newest, 'all', a step or a list of steps (the closest are taken); None: all that will be written
  Raises:
    UserError: one of them is damaged
  """
  if is_remote(model_dir) or steps is None:
    return []
  if steps == -1:
    return _newest_whole(model_dir)
  prefixes = mesh_folder.prefixes_in(model_dir)
  if steps != 'all':
    prefixes = _closest(prefixes, np.unique(steps).tolist())
  damaged = next(filter(None, map(tensor_bundle.damage, prefixes)), None)
  if damaged:
    raise UserError(f'{damaged} Copy it again, or choose other steps with EVAL_STEPS.')
  return prefixes


def note(model_dir: str) -> str:
  """Why the state file of a folder did not decide which checkpoint is the newest; '' if it did."""
  checkpoint = None if is_remote(model_dir) else mesh_folder.newest(model_dir)
  return checkpoint.note if checkpoint else ''


def with_newest(released: Callable[..., str | None]) -> Callable[..., str | None]:
  """`tf.train.latest_checkpoint` that finds the newest checkpoint of a folder as every other command does."""

  @functools.wraps(released)
  def latest_checkpoint(checkpoint_dir: str, latest_filename: str | None = None) -> str | None:
    if latest_filename or is_remote(checkpoint_dir):
      return released(checkpoint_dir, latest_filename)
    return newest(checkpoint_dir)

  return latest_checkpoint


def with_whole(released: Callable[..., Any]) -> Callable[..., Any]:
  """`mesh_utils.get_checkpoint_iterator` that lists checkpoints and not whatever has such a name."""

  @functools.wraps(released)
  def get_checkpoint_iterator(
    checkpoint_step: Any, model_dir: str, skip_until: int = 0, *args: Any, **kwargs: Any
  ) -> Any:
    if is_remote(model_dir) or checkpoint_step is None:
      return released(checkpoint_step, model_dir, skip_until, *args, **kwargs)
    prefixes = to_evaluate(model_dir, checkpoint_step)
    if checkpoint_step == 'all':
      return [prefix for prefix in prefixes if mesh_folder.step(prefix) > skip_until]
    return prefixes

  return get_checkpoint_iterator


def of_first_process(get_checkpoints: Callable[..., Any]) -> Callable[..., Any]:
  """`mesh_utils.get_checkpoint_iterator` with which all processes of a run read the checkpoints that the first finds.

  What each of them finds by itself may differ, as a training may write into the folder, and all must read as many.
  """

  @functools.wraps(get_checkpoints)
  def get_checkpoint_iterator(
    checkpoint_step: Any, model_dir: str, skip_until: int = 0, *args: Any, **kwargs: Any
  ) -> Any:
    processes = run_state.current().processes
    get = lambda: get_checkpoints(checkpoint_step, model_dir, skip_until, *args, **kwargs)
    if isinstance(processes, run_state.Alone):
      return get()
    steps = _as_they_come(model_dir, skip_until, processes)
    if checkpoint_step is not None:
      steps = _same_steps(map(mesh_folder.step, get()) if processes.is_chief else (), processes)
    return (os.path.join(model_dir, f'model.ckpt-{step}') for step in steps)

  return get_checkpoint_iterator


@contextlib.contextmanager
def damage_explained(*prefixes: str | None) -> Iterator[None]:
  """Within, an error about a checksum names the file and tensor; TensorFlow names neither.

  Args:
    prefixes: the checkpoints that are read
  """
  try:
    yield
  except tf.errors.OpError as error:
    if 'Checksum does not match' not in str(error):
      raise
    for prefix in prefixes:
      if prefix and not is_remote(prefix):
        _check_tensors(prefix)
    raise


def _newest_whole(model_dir: str) -> list[str]:
  checkpoint = mesh_folder.newest(model_dir)
  if checkpoint and checkpoint.damage:
    older = checkpoint.fallback and mesh_folder.step(checkpoint.fallback)
    remedy = '' if older is None else f', or evaluate an older one: --gin_param="EVAL_STEPS = {older}"'
    raise UserError(f'{checkpoint.damage} It is the newest checkpoint of {model_dir}: copy it again{remedy}.')
  return [checkpoint.prefix] if checkpoint else []


def _same_steps(found: Iterable[int], processes: run_state.Processes) -> list[int]:
  """The steps that the first process has found."""
  steps = list(found)
  count = processes.agreed(len(steps))
  return [processes.agreed(step) for step in (*steps, *[0] * count)[:count]]


def _as_they_come(model_dir: str, done: int, processes: run_state.Processes) -> Iterator[int]:
  """The step of every new checkpoint after a step, as the first process sees it, without an end."""
  while True:
    prefix = newest(model_dir)
    step = processes.agreed(mesh_folder.step(prefix) if prefix else 0)
    if step > done:
      done = step
      yield step
    else:
      time.sleep(_SECONDS)


def _check_tensors(prefix: str) -> None:
  """Reads a checkpoint, and refuses the first tensor that is damaged."""
  bundle = tensor_bundle.TensorBundle(prefix)
  try:
    for name in bundle.infos:
      bundle.read(name)
  except UserError as error:
    others = [path for path in mesh_folder.prefixes_in(os.path.dirname(prefix)) if path != prefix]
    older = next(filter(mesh_folder.is_whole, reversed(others)), None)
    remedy = f' Or delete {prefix}.*, and {older} is used.' if older else ''
    raise UserError(f'{error}{remedy}') from error


def _tensorflows(model_dir: str) -> str | None:
  """The checkpoint that a training of TensorFlow resumes from."""
  try:
    state = tf.train.get_checkpoint_state(model_dir)
  except ValueError:  # an empty file
    return None
  return os.path.realpath(state.model_checkpoint_path) if state else None


def _closest(prefixes: list[str], steps: list[int]) -> list[str]:
  """Of each step the checkpoint that is closest to it, each once, by step."""
  chosen = {min(prefixes, key=lambda prefix: abs(mesh_folder.step(prefix) - step)) for step in steps if prefixes}
  return sorted(chosen, key=mesh_folder.step)
