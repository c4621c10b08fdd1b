"""Models of PyTorch's transformers with random weights, and the logits of both sides."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import mesh_tensorflow as mtf
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import zoo_harness
from mesh_tensorflow.transformer import utils

from switch_zoo.mesh import graph as mesh_graph

SIZES = {'d_model': 16, 'd_kv': 6, 'd_ff': 24, 'num_heads': 3, 'vocab_size': 128}
# Everything a test of logits must not depend on: no jitter, room for every token, float32.
QUIET = {'dropout_rate': 0.0, 'initializer_factor': 1.0}
INPUTS, TARGETS = (3, 12), (3, 7)


def switch(num_layers=2, sparse=1, num_experts=3, tied=True, **sizes):
  """A Switch Transformer of transformers; `sparse`: layers with experts in each stack."""
  pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')

  config = transformers.SwitchTransformersConfig(
      **{**SIZES, **QUIET, **sizes}, num_layers=num_layers, num_decoder_layers=num_layers, num_experts=num_experts,
      num_sparse_encoder_layers=sparse, num_sparse_decoder_layers=sparse, expert_capacity=1000,
      router_jitter_noise=0.0, tie_word_embeddings=tied, decoder_start_token_id=0,
  )  # fmt: skip
  return _random(transformers.SwitchTransformersForConditionalGeneration(config))


def t5(version='1.0', num_layers=2, kind='T5', **sizes):
  """A T5 of transformers: 1.0 is ReLU with tied logits, 1.1 GEGLU with a matrix of logits of its own."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')

  gated = version == '1.1'
  config = getattr(transformers, f'{kind}Config')(
      **{**SIZES, **QUIET, **sizes}, num_layers=num_layers, num_decoder_layers=num_layers,
      feed_forward_proj='gated-gelu' if gated else 'relu', tie_word_embeddings=not gated, decoder_start_token_id=0,
  )  # fmt: skip
  model = getattr(transformers, f'{kind}ForConditionalGeneration')(config)
  if gated:
    # transformers 5 ties every T5 and mT5; the released ones of 1.1 have two matrices.
    model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
  return _random(model)


def save(model, folder: pathlib.Path, **options) -> str:
  """Saves as transformers does; a matrix of logits of its own goes along even where transformers ties it."""
  import safetensors.torch

  model.save_pretrained(folder, **options)
  tied = model.lm_head.weight is model.shared.weight
  if not tied and not model.config.model_type.startswith('switch'):
    state = {name: value.contiguous() for name, value in model.state_dict().items() if 'embed_tokens' not in name}
    safetensors.torch.save_file(state, folder / 'model.safetensors', metadata={'format': 'pt'})
  return str(folder)


def batch(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Inputs and targets without padding."""
  generator = np.random.default_rng(5)
  return tuple(generator.integers(2, vocab_size, shape).astype(np.int32) for shape in (INPUTS, TARGETS))


def torch_logits(model, inputs, targets) -> np.ndarray:
  """<float32>[batch, length, vocab], the decoder reading the targets shifted by one."""
  torch = pytest.importorskip('torch')

  shifted = np.concatenate([np.zeros_like(targets[:, :1]), targets[:, :-1]], axis=1)
  with torch.no_grad():
    output = model(input_ids=torch.tensor(inputs).long(), decoder_input_ids=torch.tensor(shifted).long())
  return output.logits.numpy()


def mesh_logits(folder: str, inputs, targets, parameters: Sequence[str] = ()) -> np.ndarray:
  """The logits of our Mesh-TensorFlow model, with the gin file and the checkpoint of a folder."""
  return mesh_outputs(folder, inputs, targets, parameters)[0]


def mesh_outputs(folder: str, inputs, targets, parameters: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
  """The same with the loss of an evaluation."""

  def outputs(model, mesh):
    features = [_imported(mesh, name, value) for name, value in (('inputs', inputs), ('targets', targets))]
    return model.call_simple(
      *features, compute_loss=True, mode=tf.estimator.ModeKeys.EVAL, variable_dtype=utils.get_variable_dtype()
    )

  return _evaluated(folder, parameters, outputs)


def mesh_answers(folder: str, inputs, length: int, beams: int, parameters: Sequence[str] = ()) -> np.ndarray:
  """<int32>[batch, length], what our Mesh-TensorFlow model decodes, beams without a length penalty."""

  def outputs(model, mesh):
    features = _imported(mesh, 'inputs', inputs)
    dtype = utils.get_variable_dtype()
    return [model.decode(features, variable_dtype=dtype, beam_size=beams, alpha=0.0, max_decode_length=length)]

  return _evaluated(folder, parameters, outputs)[0]


def _evaluated(folder: str, parameters: Sequence[str], outputs: Callable[[Any, mtf.Mesh], Sequence[mtf.Tensor]]):
  """The values of what `outputs` makes with the gin file and the checkpoint of a folder."""
  config = mesh_graph.configure([f'{folder}/model.gin'], ["activation_dtype = 'float32'", *parameters])
  with tf.Graph().as_default():
    graph = mtf.Graph()
    mesh = mtf.Mesh(graph, 'mesh')
    fetched = [mtf.anonymize(tensor) for tensor in outputs(mesh_graph.build_model(config), mesh)]
    with zoo_harness.lowered(graph, mesh, zoo_harness.ONE_SLICE) as (lowering, session):
      exported = [lowering.export_to_tf_tensor(tensor) for tensor in fetched]
      tf.train.Saver(tf.global_variables()).restore(session, tf.train.latest_checkpoint(folder))
      session.run(lowering.copy_masters_to_slices())
      return session.run(exported)


def _imported(mesh, name, value):
  shape = mtf.Shape([mtf.Dimension('batch', value.shape[0]), mtf.Dimension('length', value.shape[1])])
  return mtf.import_tf_tensor(mesh, tf.constant(value), shape)


def _random(model):
  """Weights of all tensors, norms and biases of positions too, large enough to tell a wrong place from a right one."""
  torch = pytest.importorskip('torch')

  generator = torch.Generator().manual_seed(3)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      scale = 1.0 if 'norm' in name or 'bias' in name else parameter.shape[-1] ** -0.5
      parameter.normal_(0.0, 1.0, generator=generator).mul_(scale).add_(1.0 if 'norm' in name else 0.0)
    # Without tied logits transformers has a table for each stack; those of a released model are the same.
    for stack in (model.encoder, model.decoder):
      stack.embed_tokens.weight.copy_(model.shared.weight)
  return model.eval()
