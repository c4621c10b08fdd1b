"""Checkpoints with random weights in every format that is read, written by the libraries the formats come from."""

import numpy as np
import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import format_names
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import load_config

TINY = (
    'd_model = 8', 'd_ff = 12', 'd_kv = 3', 'num_heads = 2', 'num_encoder_layers = 2', 'num_decoder_layers = 2',
    'vocab_size = 128', 'target_vocab_size = 128',
)  # fmt: skip


def tiny(model: str, experts: int = 3) -> ModelConfig:
  """A model of the zoo with a few thousand weights."""
  sparse = load_config(model).num_experts
  return load_config(model, [*TINY, *([f'num_experts = {experts}'] if sparse else [])])


def values(config: ModelConfig, dtype=np.float32, seed=0) -> dict[str, np.ndarray]:
  """Variable -> random value."""
  generator = np.random.default_rng(seed)
  shapes = {name: tuple(axes.values()) for name, axes in config.variables.items()}
  return {name: generator.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def save_mesh(folder, weights, step=0, slots=True) -> str:
  """As a training leaves it: by `tf.train.Saver`, with the step and slots of the optimizer."""
  folder.mkdir(exist_ok=True)
  with tf.Graph().as_default(), tf.Session() as session:
    variables = [tf.Variable(value, name=name) for name, value in weights.items()]
    if slots:
      variables += [tf.Variable(value[0], name=f'{name}_slot_v') for name, value in weights.items()]
    variables.append(tf.Variable(np.int64(step), name='global_step'))
    session.run(tf.global_variables_initializer())
    tf.train.Saver(variables).save(session, str(folder / 'model.ckpt'), global_step=step)
  return str(folder)


def save_t5x(folder, config, weights) -> str:
  """As t5x lays out a checkpoint: one zarr array in chunks for each parameter, the optimizer's state next to it."""
  import tensorstore

  of_t5x = format_names.T5XNames(config)
  for variable, value in weights.items():
    path = of_t5x.locate(variable).name.replace('/', '.')
    for prefix in ('target', 'state.param_states'):
      spec = {
        'driver': 'zarr',
        'kvstore': {'driver': 'file', 'path': str(folder / f'{prefix}.{path}')},
        'metadata': {'compressor': {'id': 'gzip'}, 'chunks': [max(1, size // 2) for size in value.shape]},
      }
      tensorstore.open(spec, create=True, dtype=value.dtype, shape=value.shape).result().write(value).result()
  (folder / 'checkpoint').write_bytes(b'\x80')
  return str(folder)


def restored(folder: str) -> dict[str, np.ndarray]:
  """Name -> value of the latest checkpoint of a folder, read by TensorFlow."""
  reader = tf.train.load_checkpoint(folder)
  return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same(actual, expected):
  """The same names with the same types, shapes and bits."""
  assert actual.keys() == expected.keys()
  for name, value in expected.items():
    assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape), name
    assert actual[name].tobytes() == value.tobytes(), name
