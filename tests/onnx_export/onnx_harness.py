"""What tests of the ONNX export share: small models, and exports of them."""

import dataclasses

import numpy as np
import pytest

from switch_zoo.spec.zoo import load_config

pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from switch_zoo.keras import generation  # noqa: E402
from switch_zoo.keras.export_settings import ExportSettings  # noqa: E402
from switch_zoo.keras.inference import Inference  # noqa: E402
from switch_zoo.onnx_export import folder  # noqa: E402
from switch_zoo.onnx_runner import folder as runner_folder  # noqa: E402
from switch_zoo.onnx_runner import text_ids  # noqa: E402
from switch_zoo.onnx_runner.sessions import Graphs  # noqa: E402
from switch_zoo.onnx_runner.text_model import OnnxTextModel  # noqa: E402

# Heads x d_kv is not d_model. The vocabulary is that of bytes, 359 ids, and rows that pad it.
SIZES = ('d_model = 16', 'd_ff = 24', 'd_kv = 4', 'num_heads = 3', 'num_encoder_layers = 2', 'num_decoder_layers = 2')
VOCABULARY = ('vocab_size = 384', 'target_vocab_size = 384')
# Name -> model of the zoo, and its experts; 19 are computed in groups, the last of which is not full.
ARCHITECTURES = {
  'dense': ('t5_base', 0),
  'gated': ('mt5_base', 0),
  'top-1': ('switch_base_8', 4),
  'top-1 of many': ('switch_base_8', 19),
  'top-1, gated, untied': ('switch_xxl_128', 9),
  'top-2': ('moe_base_128', 5),
  'an expert layer in every block': ('switch_c_2048', 3),
}


def tiny(architecture):
  """A ModelConfig, and random weights large enough that answers are not one token again and again."""
  name, experts = ARCHITECTURES[architecture]
  config = load_config(name, [*SIZES, *VOCABULARY, *([f'num_experts = {experts}'] if experts else [])])
  config = dataclasses.replace(config, unpadded_vocab_size=359, unpadded_target_vocab_size=359)
  generator = np.random.default_rng(0)
  weights = {}
  for variable, axes in config.variables.items():
    shape = tuple(axes.values())
    fan_in = 1 if variable.endswith('embedding') else shape[-2] if len(shape) > 1 else 1
    weights[variable] = (generator.standard_normal(shape) * 1.5 * fan_in**-0.5).astype(np.float32)
  return config, weights


def export(config, weights, path, dtype='float32', **settings):
  """Exports a model; the folder of the version."""
  settings = ExportSettings(dtype, **{'max_new_tokens': 9, **settings})
  source = folder.OnnxSource(config, weights.__getitem__, text_ids.ByteIds(), settings)
  folder.write(source, str(path))
  return str(path / '1')


def graphs(version):
  """The graphs of an export."""
  return Graphs(version, runner_folder.read_facts(version), threads=1)


def keras(config, weights):
  """The same model in Keras."""
  return Inference(config, weights.__getitem__, 'float32')


def ids(config, lengths=(7, 12, 1, 5)):
  """Inputs of different lengths, each with its end. -> <int64>[batch, longest]"""
  generator = np.random.default_rng(1)
  rows = np.zeros([len(lengths), max(lengths)], np.int64)
  for row, length in zip(rows, lengths, strict=True):
    row[:length] = [*generator.integers(3, config.num_ids, length - 1), 1]
  return rows


__all__ = ['ARCHITECTURES', 'OnnxTextModel', 'export', 'generation', 'graphs', 'ids', 'keras', 'tiny']
