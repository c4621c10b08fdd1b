"""The last validation of a training that was killed while it was made: the same command makes it, without a step."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from switch_zoo.launcher import latest


class EndBeforeFirstStep(tf.train.SessionRunHook):
  """Ends a training when its session is there, and the hooks before this one have done what they do then."""

  def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
    """Asks for the end."""
    coord.request_stop()


def with_owed_validation(get_estimator: Callable[..., Any]) -> Callable[..., Any]:
  """`mesh_utils.get_estimator` whose estimators make a session, for its hooks, where all steps are done.

  The released `train` returns at once, and `launcher.run` calls it only if a validation is owed.
  """

  @functools.wraps(get_estimator)
  def get(*args: Any, **kwargs: Any) -> Any:
    estimator = get_estimator(*args, **kwargs)
    train = estimator.train

    def train_or_validate(
      input_fn: Callable[[Any], Any], hooks: Sequence[Any] | None = None, max_steps: int | None = None, **more: Any
    ) -> Any:
      checkpoint = latest.to_resume(estimator.model_dir)[0]
      step = int(tf.train.load_variable(checkpoint, 'global_step')) if checkpoint else 0
      if max_steps is None or step < max_steps:
        return train(input_fn, hooks=hooks, max_steps=max_steps, **more)
      return train(input_fn, hooks=[*(hooks or ()), EndBeforeFirstStep()], steps=1, **more)

    estimator.train = train_or_validate
    return estimator

  return get
