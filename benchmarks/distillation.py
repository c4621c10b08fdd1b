"""What a step of distillation takes, next to a step of the student alone and a forward pass of the teacher.

  python benchmarks/distillation.py

By default the tiny models of the zoo (student dense, 8 experts) on one slice, 64 sequences of 128 + 32 tokens; the
three graphs are built as the launcher does, and run in turn. Weights and tokens are random.
"""

import argparse
import contextlib
import statistics
import tempfile
import time

import numpy as np


def graphs(arguments, folder):
  """Name -> a session and what it runs."""
  import mesh_tensorflow as mtf
  import tensorflow.compat.v1 as tf
  from tensorflow.compat.v1.estimator import ModeKeys

  from switch_zoo.launcher import one_slice, replacements
  from switch_zoo.mesh import graph as mesh_graph
  from switch_zoo.spec.zoo import model_file

  tf.disable_v2_behavior()
  replacements.install()
  own = ["MIXTURE_NAME = ''", f"TEACHER_CHECKPOINT = '{folder}'", f"TEACHER_MODEL = '{arguments.teacher}'"]
  distilled = [*own, 'INIT_FROM_TEACHER = None', f'TEMPERATURE = {arguments.temperature}']
  batch = mesh_graph.Batch(arguments.batch, {'inputs': arguments.inputs, 'targets': arguments.targets})
  generator = np.random.default_rng(0)

  def session_of(files, parameters, training):
    with contextlib.ExitStack() as stack:
      stack.enter_context(tf.Graph().as_default())
      tf.set_random_seed(0)
      tf.train.get_or_create_global_step()
      config = mesh_graph.configure(files, parameters)
      one_slice.mark('')
      values = {
        name: tf.constant(generator.integers(2, config.vocab_size, [batch.size, length], np.int32))
        for name, length in batch.lengths.items()
      }
      model = mesh_graph.build_model(config)
      if training:
        built = mesh_graph.build_training(model, batch, values)
      else:
        built = mesh_graph.build_forward(model, batch, values, mode=ModeKeys.EVAL)
      mesh_impl = mtf.placement_mesh_impl.PlacementMeshImpl(mtf.Shape([]), mtf.LayoutRules([]), [''])
      lowering = mtf.Lowering(built.graph, {built.mesh: mesh_impl}, autostack=False)
      fetched = [lowering.export_to_tf_tensor(built.loss)]
      fetched += [lowering.lowered_operation(update) for update in (built.updates if training else [])]
      session = tf.Session()
      session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
      if not training:
        tf.train.Saver(tf.global_variables()).save(session, f'{folder}/model.ckpt', global_step=0)
      return session, fetched

  student = [model_file(arguments.student), 'runs/distill.gin']
  return {
    'teacher forward': session_of([model_file(arguments.teacher)], [], False),
    'student step': session_of(student, [*distilled, 'FRACTION_SOFT = 0.0'], True),
    'distillation step': session_of(student, distilled, True),
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--student', default='tiny_dense')
  parser.add_argument('--teacher', default='tiny_switch_8')
  parser.add_argument('--temperature', type=float, default=1.0)
  parser.add_argument('--batch', type=int, default=64)
  parser.add_argument('--inputs', type=int, default=128)
  parser.add_argument('--targets', type=int, default=32)
  parser.add_argument('--steps', type=int, default=40)
  arguments = parser.parse_args()
  from switch_zoo import tf_compat

  tf_compat.repair()
  with tempfile.TemporaryDirectory() as folder:
    runs = graphs(arguments, folder)
    seconds = {name: [] for name in runs}
    for step in range(arguments.steps + 3):
      for name, (session, fetched) in runs.items():
        began = time.perf_counter()
        session.run(fetched)
        if step >= 3:
          seconds[name].append(time.perf_counter() - began)
  medians = {name: statistics.median(values) for name, values in seconds.items()}
  for name, median in medians.items():
    print(f'{name:20} {median * 1e3:8.1f} ms')
  parts = medians['student step'] + medians['teacher forward']
  print(f'distillation step / (student step + teacher forward): {medians["distillation step"] / parts:.2f}')


if __name__ == '__main__':
  main()
