"""A student that learns from a teacher's probabilities as well as from the labels.

The student is the model of the gin files, under its own names: its checkpoint is that of an ordinary model.
The teacher is a second model in the same graph, below `teacher/`: as in an evaluation (no dropout, no noise of routers,
capacity of evaluations), without gradient, and outside of optimizer and checkpoints. Each has its own gin bindings.

Mesh-TensorFlow's own StudentTeacher runs the teacher as in training, saves both under new names, gives layers a name by
their block, and cannot multiply its loss with the share.

Source: arXiv:2101.03961, section 4.2, Table 6 (the shares); arXiv:1503.02531, section 2 (temperature, and its square).
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gin
import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import transformer, utils
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo import machine
from switch_zoo.errors import UserError
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh import loss, observe, soft_labels, teaching, vocabulary
from switch_zoo.mesh.teaching import Lesson, Teaching

SCOPE = 'teacher'


@gin.configurable(module='distillation')
class Student(transformer.Bitransformer):
  """A Bitransformer that is trained by a teacher; for `make_bitransformer.bitransformer_cls`."""

  def __init__(
    self,
    encoder: transformer.Unitransformer,
    decoder: transformer.Unitransformer,
    teacher_checkpoint: str | None = None,
    teacher_model: str | None = None,
    teacher_dtype: str | None = None,
    fraction_soft: float = 0.25,
    temperature: float = 1.0,
    start_step: int = 0,
    init_from_teacher: str | None = None,
    seed: int | None = None,
  ) -> None:
    """
    Args:
      encoder, decoder: of the student
      teacher_checkpoint, teacher_model, ...: as in `Teaching`
    Raises:
      UserError: the decoder has another loss than `loss.cross_entropy`
    """
    super().__init__(encoder, decoder)
    self.teaching = Teaching(
      teacher_checkpoint, teacher_model, teacher_dtype, fraction_soft, temperature, start_step, init_from_teacher, seed
    )
    released = decoder._loss_fn  # pylint: disable=protected-access - there is no public place for it
    if released is None or inspect.unwrap(released) is not inspect.unwrap(loss.cross_entropy):
      raise UserError('A distillation needs decoder/transformer.Unitransformer.loss_fn = @loss.cross_entropy.')

  def call_simple(
    self, inputs: mtf.Tensor, targets: mtf.Tensor, compute_loss: bool, mode: str = ModeKeys.TRAIN, **settings: Any
  ) -> tuple[mtf.Tensor, mtf.Tensor | None]:
    """As of the Bitransformer; in training its loss has the teacher's share.

    Args:
      inputs, targets: <int32>[batch..., length]
      compute_loss, mode, settings: as of the Bitransformer
    Returns:
      <activation>[batch..., length, vocab] and <float32>[]
    """
    call = functools.partial(super().call_simple, inputs, targets, compute_loss, mode=mode, **settings)
    if mode != ModeKeys.TRAIN or not compute_loss:
      return call()
    if not self.teaching.fraction_soft:
      teaching.add_lesson(Lesson(self.teaching, {}))
      return call()
    features = {name: value for name, value in settings.items() if name != 'variable_dtype'}
    teacher = functools.partial(self._teacher_logits, tf.get_variable_scope(), inputs, targets, features)
    of_labels = self.decoder._loss_fn  # pylint: disable=protected-access
    # The loss is computed where the logits are made. By then all variables of the student exist, so that they start as
    # they would without a teacher.
    self.decoder._loss_fn = functools.partial(self._loss, teacher)
    try:
      return call()
    finally:
      self.decoder._loss_fn = of_labels

  def _teacher_logits(
    self, scope: tf.VariableScope, inputs: mtf.Tensor, targets: mtf.Tensor, features: Mapping[str, Any]
  ) -> mtf.Tensor:
    """The teacher's logits, without gradient. scope: the student's -> <activation>[batch..., length, vocab]"""
    graph, source = inputs.mesh.graph, self.teaching.open()
    before = len(graph.all_variables)
    frozen = tf.variable_scope(SCOPE, custom_getter=_without_training)
    with self.teaching.configured(source, machine.fast_format()), tf.variable_scope(scope), frozen, observe.silent():
      model = mesh_graph.make_transformer(
        (self.encoder.input_vocab_size_unpadded, self.decoder.output_vocab_size_unpadded),
        self.decoder.mesh_shape,
        self.decoder.layout,
      )
      weights = tf.as_dtype(teaching.weight_dtype(source))
      dtype = mtf.VariableDType(weights, weights, utils.get_variable_dtype().activation_dtype)
      logits, _ = model.call_simple(inputs, targets, False, mode=ModeKeys.EVAL, variable_dtype=dtype, **features)
    variables = graph.all_variables[before:]
    graph.make_variables_untrainable(variables)
    masters = {variable.name.removeprefix(f'{SCOPE}/'): variable.get_master() for variable in variables}
    teaching.add_lesson(Lesson(self.teaching, masters))
    return mtf.stop_gradient(logits)

  def _loss(
    self,
    teacher: Callable[[], mtf.Tensor],
    model: transformer.Unitransformer,
    context: transformer.Context,
    logits: mtf.Tensor,
    targets: mtf.Tensor,
    vocab_dim: mtf.Dimension,
  ) -> mtf.Tensor:
    """`loss.cross_entropy`, of which a share is that of the teacher's probabilities.

    Exports `loss/soft_cross_entropy` (with the square of the temperature, before its share) and
    `loss/teacher_cross_entropy` (of the labels, as in an evaluation of the teacher).
    """
    terms = loss.loss_terms(model, context, logits, targets, vocab_dim)
    of_teacher = vocabulary.masked(mtf.cast(teacher(), tf.float32), vocab_dim)
    labels = mtf.maximum(targets, 0)
    soft = soft_labels.cross_entropies(model, terms, of_teacher, labels, vocab_dim, self.teaching.temperature)
    of_student, of_labels = terms.per_token(soft.of_student), terms.per_token(soft.of_teacher)
    observe.export('loss/soft_cross_entropy', of_student, summed=True)
    observe.export('loss/teacher_cross_entropy', of_labels, summed=True)
    share = self._share()
    total = terms.labels * (1.0 - share) + of_student * share
    # It bounds the logits, whatever they are compared with.
    return total if terms.logits_z is None else total + terms.logits_z

  def _share(self) -> float | tf.Tensor:
    """The share of the teacher in the loss of this step, <float32>[]."""
    if not self.teaching.start_step:
      return self.teaching.fraction_soft
    begun = tf.greater_equal(tf.train.get_or_create_global_step(), self.teaching.start_step)
    return tf.where(begun, tf.constant(self.teaching.fraction_soft), tf.constant(0.0))


def _without_training(getter: Callable[..., tf.Variable], name: str, *args: Any, **settings: Any) -> tf.Variable:
  """A variable that no checkpoint has and that starts as zeros: its value is loaded into each session."""
  own = {'trainable': False, 'collections': [tf.GraphKeys.LOCAL_VARIABLES], 'initializer': tf.zeros_initializer()}
  return getter(name, *args, **{**settings, **own})
