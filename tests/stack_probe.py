"""What test_stacks_agree.py runs in two interpreters.

python stack_probe.py make FOLDER VOCABULARY     a trained checkpoint, as FOLDER/model.gin says, and FOLDER/export
python stack_probe.py ask NAME FOLDER ...        for each folder all that its model and its export say: FOLDER/NAME.npz
"""

import pathlib
import shutil
import sys

from switch_zoo import tf_compat

tf_compat.repair()

import keras_harness  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import zoo_harness  # noqa: E402

import switch_zoo  # noqa: E402
from switch_zoo.keras import CrossEntropy, export  # noqa: E402
from switch_zoo.keras.export_settings import ExportSettings  # noqa: E402
from switch_zoo.keras.generation import Beam  # noqa: E402
from switch_zoo.mesh import graph as mesh_graph  # noqa: E402
from switch_zoo.serving import saved_model  # noqa: E402

# In float32, and without what is drawn in training: the two stacks draw other numbers.
MODEL = """
include 'models/tiny_switch_8.gin'
include 'runs/tiny.gin'
vocab_size = 512
activation_dtype = 'float32'
dropout_rate = 0.0
routing.Top1.policy = 'argmax'
capacity_factor_eval = 1000.0
"""
TEXTS = [b'Sets a breakpoint.', b'', 'naïve 😀 <extra_id_3>'.encode(), b'x' * 1000]


def main(task, *arguments):
  if task == 'make':
    make(*arguments)
  else:
    name, *folders = arguments
    for folder in folders:
      np.savez(pathlib.Path(folder, f'{name}.npz'), **model_values(folder), **export_answers(folder))


def make(folder, vocabulary):
  folder = pathlib.Path(folder)
  folder.mkdir()
  (folder / 'model.gin').write_text(MODEL)
  shutil.copy(vocabulary, folder / 'vocabulary.model')
  zoo_harness.train(configured(folder), 30, str(folder / 'model.ckpt'))
  # Not in bfloat16, which rounds sums of another order to values that differ by a hundredth.
  settings = ExportSettings('float32', max_new_tokens=8, beam=Beam())
  export.export(export.open_model(str(folder), None, None, settings), str(folder / 'export'))


def configured(folder):
  return mesh_graph.configure([str(pathlib.Path(folder, 'model.gin'))], [])


def model_values(folder):
  """Logits, gradients, ids and scores of the Keras and of the Mesh-TensorFlow model with a checkpoint's weights."""
  config = configured(folder)
  batch = zoo_harness.example(config)
  model = switch_zoo.load(str(folder))
  weights = keras_harness.weights(model)
  greedy, beam = (model.generate(batch['inputs'], 8, search) for search in (None, Beam()))
  step = zoo_harness.step(config, zoo_harness.ONE_SLICE, weights=weights)
  return {
    'keras logits': model(keras_harness.as_inputs(batch)).numpy(),
    **{f'keras gradient {name}': value for name, value in keras_gradients(model, batch).items()},
    'keras greedy ids': greedy.ids.numpy(),
    'keras greedy scores': greedy.scores.numpy(),
    'keras beam ids': beam.ids.numpy(),
    'keras beam scores': beam.scores.numpy(),
    'keras target scores': model.score(batch['inputs'], batch['targets']).numpy(),
    'mesh logits': keras_harness.mesh_logits(config, weights, batch),
    'mesh loss': step.loss,
    **{f'mesh gradient {name}': value for name, value in step.gradients.items()},
    'mesh greedy ids': zoo_harness.decode(config, tf.train.latest_checkpoint(folder) or f'{folder}/model.ckpt'),
  }


def keras_gradients(model, batch):
  """Variable -> gradient of the loss in training."""
  keras_harness.without_chance(model)
  with tf.GradientTape() as tape:
    logits = model(keras_harness.as_inputs(batch), training=True)
    loss = CrossEntropy()(batch['targets'], logits) + tf.add_n(model.losses)
  named = model.named_weights
  gradients = zip(named, tape.gradient(loss, list(named.values())), strict=True)
  return {name: tf.convert_to_tensor(gradient).numpy() for name, gradient in gradients}


def export_answers(folder):
  """What the export answers to texts, and how it scores them, as the server asks it."""
  served = saved_model.load(saved_model.find(f'{folder}/export'))
  answers = served.run('serving_default', {'inputs': TEXTS})
  scores = served.run('score', {'inputs': TEXTS, 'targets': TEXTS[::-1]})
  return {
    'export outputs': np.array(answers['outputs']),
    'export scores': np.array(answers['scores'], np.float32),
    'export target scores': np.array(scores['scores'], np.float32),
  }


if __name__ == '__main__':
  main(*sys.argv[1:])
