"""The weights of a distillation: the teacher's in every session, the student's in the first."""

import random
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import progress
from switch_zoo.mesh.teaching import Lesson


class TeacherHook(tf.train.SessionRunHook):
  """Loads the teacher's weights into each new session, one variable at a time: no checkpoint of the training has them.

  It belongs before the hook that copies variables to the slices of the mesh.
  """

  def __init__(self, lesson: Lesson, reporter: progress.Reporter) -> None:
    self._lesson = lesson
    self._reporter = reporter

  def after_create_session(self, session: tf.Session, coord: Any) -> None:
    """Reads them from the teacher's checkpoint, with its checksums.

    Raises:
      UserError: the checkpoint is damaged, or another one than when the run was checked
    """
    if not self._lesson.weights:
      return
    path = self._lesson.teaching.teacher_checkpoint
    progress.note(self._reporter, f'Reading the teacher from {path}.')
    source = self._lesson.teaching.open()
    if set(source.config.variables) != set(self._lesson.weights):
      raise UserError(f'TEACHER_CHECKPOINT = "{path}" changed while the run began. Repeat the command.')
    for name, variable in self._lesson.weights.items():
      variable.load(source.whole(name).astype(variable.dtype.base_dtype.as_numpy_dtype, copy=False), session)


def initial_weights(lesson: Lesson) -> Callable[[tf.train.Scaffold, tf.Session], None] | None:
  """What gives the student its first weights where there is no checkpoint yet; None if they do not come from a teacher.

  It is called when all variables of the default graph have their initial values.
  """
  teaching = lesson.teaching
  if teaching.init_from_teacher is None:
    return None
  variables = {variable.op.name: variable for variable in tf.global_variables()}

  def load(scaffold: tf.train.Scaffold, session: tf.Session) -> None:
    seed = random.SystemRandom().randrange(1 << 31) if teaching.seed is None else abs(teaching.seed)
    twin = teaching.twin(teaching.open(), seed)
    for name in twin.config.variables:
      variables[name].load(twin.whole(name).astype('float32', copy=False), session)

  return load
