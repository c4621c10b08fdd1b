"""What training writes into its folder, and when: checkpoints at their steps or times, and nothing at the start.

The released hook writes a checkpoint, the graph as text, as a meta graph and as an event before the first step:
2.8 GB for a Switch-Base-8, and most of a minute. Nothing reads them.
"""

from typing import Any

import gin
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import disk


@gin.configurable(module='launcher')
class Saving:
  """
  Args:
    at_start: write a checkpoint before the first step too
    graph: write the graph for TensorBoard, once
    summary_steps: steps between two summaries for TensorBoard
    seconds: a checkpoint is also saved when the last one is this old; None: only after SAVE_STEPS
  """

  def __init__(
    self, at_start: bool = False, graph: bool = False, summary_steps: int = 100, seconds: float | None = None
  ) -> None:
    self.at_start = at_start
    self.graph = graph
    self.summary_steps = summary_steps
    self.seconds = seconds


class SaverHook(tf.train.CheckpointSaverHook):
  """Saves every so many steps or seconds and at the end, without the graph: a checkpoint is an index and its data."""

  def __init__(
    self, released: tf.train.CheckpointSaverHook, at_start: bool = False, seconds: float | None = None
  ) -> None:
    """
    Args:
      released: the hook this one takes the place of
      at_start: save before the first step
      seconds: save when the last checkpoint is this old, even if not enough steps have been done
    """
    super().__init__(
      released._checkpoint_dir,  # pylint: disable=protected-access - it has no public attributes
      save_steps=released._timer._every_steps,
      saver=released._saver,
      listeners=released._listeners,
      save_graph_def=False,
    )
    # The timer heeds both, but its constructor takes only one of them.
    self._timer._every_secs = seconds
    self._at_start = at_start
    self._saved_step: int | None = None
    # The released saver also keeps one every two hours for good: only the last ones are kept, as many as gin says.
    if released._saver:
      released._saver._next_checkpoint_time = float('inf')

  def after_create_session(self, session: tf.Session, coord: Any) -> None:
    """Notes the step that training begins with."""
    step = session.run(self._global_step_tensor)
    if self._at_start:
      self._save(session, step)
    self._timer.update_last_triggered_step(step)

  def saved(self, session: tf.Session, step: int) -> str:
    """The prefix of the checkpoint of this step, the last that was done; it is saved if it is not yet."""
    prefix = f'{self._save_path}-{step}'
    # A training that resumes has the checkpoint that it resumes from.
    if not tf.io.gfile.exists(f'{prefix}.index'):
      self._save(session, step)
    return prefix

  def _save(self, session: tf.Session, step: int) -> bool:
    if step == self._saved_step:
      return False
    # TensorFlow calls a file that is too large "out of range", which an Estimator takes for the end of the data.
    with disk.full_explained(self._checkpoint_dir):
      stop = super()._save(session, step)
    self._saved_step = step
    return stop


def lean(hooks: tuple[tf.train.SessionRunHook, ...], settings: Saving) -> tuple[tf.train.SessionRunHook, ...]:
  """Hooks of a training, with ours in the place of the one that saves."""
  released = tf.train.CheckpointSaverHook
  return tuple(_saver(hook, settings) if isinstance(hook, released) else hook for hook in hooks)


def _saver(hook: tf.train.CheckpointSaverHook, settings: Saving) -> SaverHook:
  return SaverHook(hook, settings.at_start, settings.seconds)


def refuse_seconds_with(flag: str) -> None:
  """Refuses SAVE_SECONDS in a training whose checkpoints the released code saves.

  Args:
    flag: that says so
  Raises:
    UserError: SAVE_SECONDS is set
  """
  if Saving().seconds is not None:
    raise UserError(f'SAVE_SECONDS does not work with {flag}, where checkpoints are saved by steps: set SAVE_STEPS.')


def open_events(model_dir: str, settings: Saving) -> None:
  """Opens the file of summaries, which is shared by all who ask for that of the same folder.

  TensorFlow writes the graph at hand into a file of summaries that it opens: 10 MB for a tiny model, at every start.
  """
  graph = tf.get_default_graph() if settings.graph else tf.Graph()
  with graph.as_default():
    tf.summary.FileWriterCache.get(model_dir)
