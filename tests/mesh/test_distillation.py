"""A student and its teacher in one graph: the loss, what it is made of, and what it does not reach."""

from typing import Any, NamedTuple

import gin
import mesh_tensorflow as mtf
import ml_dtypes
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import zoo_harness
from tensorflow.compat.v1.estimator import ModeKeys

from switch_zoo import load_config
from switch_zoo.errors import UserError
from switch_zoo.launcher import progress, teacher_weights
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh import observe, teaching
from switch_zoo.spec import layouts

SIZES = """
include 'runs/tiny.gin'
d_model = 16
d_ff = 32
num_encoder_layers = 1
num_decoder_layers = 1
vocab_size = 250
"""
# All that differs between training and evaluation. Groups of 16 tokens are the same on every mesh.
TEACHER = f"""
include 'models/tiny_dense.gin'
include 'architectures/switch_all_encdec.gin'
{SIZES}
num_experts = 8
group_size = 16
capacity_factor_train = 0.5
capacity_factor_eval = 1.0
min_expert_capacity = 1
dropout_rate = 0.5
expert_dropout_rate = 0.5
"""
BATCH = mesh_graph.Batch(8, {'inputs': 32, 'targets': 16})
MESHES = {
  'batch and experts': layouts.parse('all:8', 'batch:all;experts:all'),
  'model': layouts.parse('data:2;model:2', 'batch:data;experts:data;expert_hidden:model;d_ff:model;heads:model'),
  'vocabulary': layouts.parse('all:4', 'vocab:all;experts:all'),
}


class Teacher(NamedTuple):
  """folder: of its checkpoint; gin_file: its model; weights: variable -> value."""

  folder: str
  gin_file: str
  weights: dict[str, np.ndarray]


class Step(NamedTuple):
  """What step 1 gave; later: the loss of step 2; reached: whether the loss has a gradient at the teacher's weights."""

  loss: float
  exported: dict[str, Any]
  gradients: dict[str, np.ndarray]
  weights: dict[str, np.ndarray]
  later: float
  reached: bool


def save(folder, weights) -> str:
  with tf.Graph().as_default(), tf.Session() as session:
    variables = [tf.Variable(value, name=name) for name, value in weights.items()]
    session.run(tf.global_variables_initializer())
    tf.train.Saver(variables).save(session, str(folder / 'model.ckpt'), global_step=3)
  return str(folder)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory) -> Teacher:
  folder = tmp_path_factory.mktemp('teacher')
  (folder / 'teacher.gin').write_text(TEACHER)
  (folder / 'student.gin').write_text(f"include 'models/tiny_dense.gin'\n{SIZES}")
  generator = np.random.default_rng(0)
  shapes = {name: tuple(axes.values()) for name, axes in load_config(str(folder / 'teacher.gin')).variables.items()}
  weights = {name: (0.5 * generator.standard_normal(shape)).astype('float32') for name, shape in shapes.items()}
  return Teacher(save(folder, weights), str(folder / 'teacher.gin'), weights)


def configure(teacher: Teacher, parameters=(), run='runs/distill.gin'):
  own = [
    f"TEACHER_CHECKPOINT = '{teacher.folder}'",
    f"TEACHER_MODEL = '{teacher.gin_file}'",
    'INIT_FROM_TEACHER = None',
  ]
  own = [*own, 'INIT_FROM_TEACHER = None'] if 'distill' in run else []
  student = teacher.gin_file.replace('teacher.gin', 'student.gin')
  return mesh_graph.configure([student, run, 'layouts/cpu.gin'], ["MIXTURE_NAME = 'none'", *own, *parameters])


def step(config, layout=zoo_harness.ONE_SLICE, weights=None) -> Step:
  with tf.Graph().as_default():
    tf.set_random_seed(0)
    tf.train.get_or_create_global_step()
    values = {name: tf.constant(value) for name, value in zoo_harness.example(config, BATCH).items()}
    values = {name: tf.minimum(value, 240) for name, value in values.items()}
    model = mesh_graph.build_model(config, *layout.text())
    training = mesh_graph.build_training(model, BATCH, values, layout.outer_batch_size, learning_rate=None)
    frozen = [variable.outputs[0] for variable in training.graph.all_variables if variable.name.startswith('teacher/')]
    reached = any(gradient is not None for gradient in mtf.gradients([training.loss], frozen)) if frozen else False
    variables = {variable.name: variable for variable in training.graph.trainable_variables}
    gradients = dict(zip(variables, map(mtf.anonymize, training.gradients), strict=True))
    assert (
      {v.op.name for v in tf.global_variables()} == {*config.variables, 'global_step'} == {*variables, 'global_step'}
    )
    with zoo_harness.lowered(training.graph, training.mesh, layout) as (lowering, session):
      fetches = {name: lowering.export_to_tf_tensor(gradient) for name, gradient in gradients.items()}
      loss = lowering.export_to_tf_tensor(training.loss)
      session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
      tf.train.get_global_step().load(1, session)
      for name, value in (weights or {}).items():
        variables[name].get_master().load(value, session)
      lesson = teaching.lesson()
      if lesson:
        teacher_weights.TeacherHook(lesson, progress.Lines()).after_create_session(session, None)
      session.run(lowering.copy_masters_to_slices())
      measured = session.run([loss, observe.exported(), fetches])
      values = session.run({name: v.get_master() for name, v in variables.items()})
      tf.train.get_global_step().load(2, session)
      return Step(*measured, values, session.run(loss), reached)


def evaluated(teacher: Teacher) -> float:
  """The cross-entropy of the teacher in an evaluation of the same batch."""
  config = mesh_graph.configure([teacher.gin_file])
  with tf.Graph().as_default():
    values = {name: tf.constant(value) for name, value in zoo_harness.example(config, BATCH).items()}
    values = {name: tf.minimum(value, 240) for name, value in values.items()}
    forward = mesh_graph.build_forward(mesh_graph.build_model(config), BATCH, values, mode=ModeKeys.EVAL)
    with zoo_harness.lowered(forward.graph, forward.mesh, zoo_harness.ONE_SLICE) as (lowering, session):
      for variable in forward.graph.trainable_variables:
        variable.get_master().load(teacher.weights[variable.name].astype('float32'), session)
      session.run(lowering.copy_masters_to_slices())
      return float(session.run(observe.exported()['loss/cross_entropy']))


@pytest.fixture(scope='module')
def one_slice(teacher) -> Step:
  config = configure(teacher)
  before = gin.config_str()
  result = step(config)
  # The student has its own configuration again.
  assert gin.config_str() == before
  return result


@pytest.fixture(scope='module')
def plain(teacher) -> Step:
  return step(configure(teacher, run='runs/pretrain.gin'))


def test_the_loss_is_the_sum_of_its_shares(one_slice):
  parts = {name.removeprefix('loss/'): value for name, value in one_slice.exported.items()}
  expected = 0.75 * parts['cross_entropy'] + 0.25 * parts['soft_cross_entropy'] + parts['logits_z']
  assert one_slice.loss == pytest.approx(expected, rel=1e-6)


def test_the_teachers_loss_is_that_of_an_evaluation(one_slice, teacher):
  assert one_slice.exported['loss/teacher_cross_entropy'] == pytest.approx(evaluated(teacher), rel=1e-6)


def test_nothing_of_the_teacher_is_trained_or_exported(one_slice):
  assert not one_slice.reached and not [name for name in one_slice.exported if name.startswith(('teacher', 'encoder'))]


def test_without_a_share_it_is_plain_training_bit_for_bit(teacher, plain):
  without = step(configure(teacher, ['FRACTION_SOFT = 0.0']))
  assert plain.loss == without.loss and plain.exported == without.exported
  for name, gradient in plain.gradients.items():
    assert gradient.tobytes() == without.gradients[name].tobytes(), name
    assert plain.weights[name].tobytes() == without.weights[name].tobytes(), name


def test_the_share_begins_at_its_step(teacher, one_slice):
  result = step(configure(teacher, ['DISTILL_START_STEP = 2']))
  assert result.loss == pytest.approx(result.exported['loss/cross_entropy'] + result.exported['loss/logits_z'])
  assert result.later == pytest.approx(one_slice.loss) != result.loss


def test_the_student_starts_as_it_would_without_a_teacher(plain, one_slice):
  assert all(plain.weights[name].tobytes() == value.tobytes() for name, value in one_slice.weights.items())


@pytest.mark.parametrize('mesh', MESHES)
def test_it_does_not_depend_on_the_mesh(mesh, teacher, one_slice):
  result = step(configure(teacher), MESHES[mesh], one_slice.weights)
  assert result.loss == pytest.approx(one_slice.loss, rel=1e-5)
  assert result.exported == pytest.approx(one_slice.exported, rel=1e-5)
  for name, gradient in one_slice.gradients.items():
    np.testing.assert_allclose(result.gradients[name], gradient, atol=2e-5, err_msg=name)


def test_a_teacher_in_bfloat16_keeps_its_bits(teacher, tmp_path):
  rounded = {name: value.astype(ml_dtypes.bfloat16) for name, value in teacher.weights.items()}
  half = teacher._replace(folder=save(tmp_path, rounded), weights=rounded)
  config = configure(half)
  assert step(config).exported['loss/teacher_cross_entropy'] == pytest.approx(evaluated(half), rel=1e-6)


def test_the_teachers_mistakes_are_said_to_be_its(teacher, tmp_path):
  path = tmp_path / 'other.gin'
  path.write_text(f"include '{teacher.gin_file}'\nnum_experts = 4\n")
  config = configure(teacher, [f"TEACHER_MODEL = '{path}'"])
  with pytest.raises(
    UserError, match=r'TEACHER_CHECKPOINT = ".*", TEACHER_MODEL = ".*": .* Give the right model with '
  ):
    step(config)
