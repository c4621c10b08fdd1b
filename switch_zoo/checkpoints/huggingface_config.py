"""Hugging Face's config.json: what it says that tensors do not, where the two disagree, and what to write into one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from switch_zoo.checkpoints import anatomy
from switch_zoo.checkpoints.arrays import Tensors
from switch_zoo.checkpoints.huggingface import CONFIG, HEAD, SHARED
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.shape import MAX_RELATIVE_DISTANCE, NORM_EPSILON
from switch_zoo.spec.sublayers import EXPERTS, padded_vocabulary
from switch_zoo.spec.token_ids import END, PADDING

MODEL_TYPES = ('switch_transformers', 't5', 'mt5')
# dense_act_fn or feed_forward_proj of config.json -> ours. Our gelu is the approximation by tanh, `gelu_new` there.
ACTIVATIONS = {'relu': 'relu', 'gelu_new': 'gelu', 'gated-gelu': ['gelu', 'linear']}
# Fields of config.json that the tensors decide -> ours.
DECIDED = {
    'd_model': 'd_model', 'd_ff': 'd_ff', 'd_kv': 'd_kv', 'num_heads': 'num_heads',
    'num_layers': 'num_encoder_layers', 'num_decoder_layers': 'num_decoder_layers', 'vocab_size': 'vocab_size',
    'num_experts': 'num_experts', 'relative_attention_num_buckets': 'relative_attention_num_buckets',
}  # fmt: skip
# Fields whose value no gin file changes.
FIXED = {'relative_attention_max_distance': MAX_RELATIVE_DISTANCE, 'layer_norm_epsilon': NORM_EPSILON}
# The sequence length from which the capacity of config.json is counted; transformers wants a number of tokens.
CAPACITY_LENGTH = 512


def activation_of(path: str, found: anatomy.Anatomy, said: Mapping[str, Any], notes: list[str]) -> str | list[str]:
  """ff_activation of a model whose layers were found, as config.json says; the tensors say whether it is gated.

  Raises:
    UserError: one that is not known here
  """
  if not said:
    activation = ['gelu', 'linear'] if found.gated else 'relu'
    notes.append(
      f'Nothing in {path} names the activation: {activation} is what the released models with such tensors have.'
    )
    return activation
  stated = said.get(_activation_field(said)) or 'relu'
  activation = ACTIVATIONS.get(stated)
  if activation is None:
    raise UserError(
      f'{path}/{CONFIG}: the activation "{stated}" cannot be converted; known are {", ".join(ACTIVATIONS)}.'
    )
  if isinstance(activation, list) != found.gated:
    tensors = 'two (wi_0 and wi_1)' if found.gated else 'one (wi)'
    activation = ['gelu', 'linear'] if found.gated else 'relu'
    notes.append(
      f'{CONFIG} says "{stated}", and the feed-forward layers have {tensors} ways in: the tensors are '
      f'followed, with {activation}.'
    )
  return activation


def _activation_field(said):
  return 'dense_act_fn' if said.get('model_type') == 'switch_transformers' else 'feed_forward_proj'


def check_model_type(path: str, said: Mapping[str, Any]) -> None:
  """Refuses the configuration of another family."""
  kind = said.get('model_type')
  if said and kind not in MODEL_TYPES:
    raise UserError(f'{path}/{CONFIG} is of a "{kind}"; switch_zoo converts {", ".join(MODEL_TYPES)}.')


def head(tensors: Tensors, said: Mapping[str, Any]) -> tuple[bool, dict[str, str]]:
  """Whether a Hugging Face model scales and shares its logits' matrix as T5 1.0 does, and what stands in for one.

  T5 1.0 multiplies by d_model ** -0.5 and uses the embedding; T5 1.1 does not multiply, and has a matrix of its own.
  transformers 5 ties every T5 and mT5, and says with `scale_decoder_outputs` which of the two it was.
  """
  kind, tied = said.get('model_type'), said.get('tie_word_embeddings', True)
  scaled = kind == 'switch_transformers' or (kind == 't5' and tied and said.get('scale_decoder_outputs') is not False)
  if HEAD in tensors.infos:
    copy = bool(tied and scaled and same_as_embedding(tensors, HEAD))
    return copy, {}
  if kind in ('t5', 'mt5') and not scaled:
    return False, {HEAD: SHARED}
  return bool(tied), {}


def same_as_embedding(tensors: Tensors, name: str) -> bool:
  """Whether a tensor is the embedding once more."""
  if SHARED not in tensors.infos or tensors.infos[name] != tensors.infos[SHARED]:
    return False
  return np.array_equal(tensors.read(name).view(np.uint8), tensors.read(SHARED).view(np.uint8))


def contradictions(said: Mapping[str, Any], config: ModelConfig) -> list[str]:
  """What config.json says and the tensors do not."""
  notes = []
  for field, ours in DECIDED.items():
    actual = getattr(config, ours)
    agreed = said.get(field) in (None, actual)
    if field == 'vocab_size' and not agreed:
      agreed = isinstance(said[field], int) and padded_vocabulary(said[field]) == actual
    if not agreed and not (field == 'num_experts' and not actual):
      notes.append(f'{CONFIG} says {field} = {said[field]}, the tensors {actual}: the tensors are followed.')
  stated = ACTIVATIONS.get(said.get(_activation_field(said), ''))
  if stated and (tuple(stated) if isinstance(stated, list) else (stated,)) != config.ff_activation:
    ours = list(config.ff_activation)
    notes.append(f'{CONFIG} says the activation is {stated}, the model {ours}: the model is followed.')
  for field, ours in FIXED.items():
    if said.get(field, ours) != ours:
      notes.append(f'{CONFIG} says {field} = {said[field]}. Here it is always {ours}: the logits will not be the same.')
  if config.num_experts:
    for stack in ('encoder', 'decoder'):
      stated, sparse = said.get(f'num_sparse_{stack}_layers'), getattr(config, f'{stack}_sparse_layers')
      layers = said.get('num_layers' if stack == 'encoder' else 'num_decoder_layers')
      if isinstance(stated, int) and isinstance(layers, int) and sparse_layers(layers, stated) != sparse:
        notes.append(
          f'{CONFIG} says num_sparse_{stack}_layers = {stated} of {layers}, from which transformers builds '
          f'{len(sparse_layers(layers, stated))} sparse layers; the tensors have {len(sparse)}, and are followed.'
        )
  return notes


def sparse_layers(layers: int, sparse: int) -> tuple[int, ...]:
  """The layers transformers makes sparse for num_layers and num_sparse_layers of a configuration.

  From 5.23.0: none asked for still gives one (layer 1, or the only layer), and more than there are layers none.

  >>> sparse_layers(12, 6), sparse_layers(12, 0), sparse_layers(12, 15)
  ((1, 3, 5, 7, 9, 11), (1,), ())
  """
  step = layers // sparse if sparse else layers
  return tuple(layer for layer in range(layers) if step and (step == 1 or layer % step == 1))


def config_of(model: ModelConfig, dtype: str) -> dict[str, Any]:
  """What config.json says of a model, so that transformers builds the classes that load the weights.

  Raises:
    UserError: transformers cannot make this model
  """
  common = {
      'd_model': model.d_model, 'd_kv': model.d_kv, 'd_ff': model.d_ff, 'num_heads': model.num_heads,
      'num_layers': model.num_encoder_layers, 'num_decoder_layers': model.num_decoder_layers,
      'vocab_size': model.vocab_size, 'relative_attention_num_buckets': model.relative_attention_num_buckets,
      'dropout_rate': 0.1,
      'initializer_factor': 1.0, 'is_encoder_decoder': True, 'use_cache': True, 'pad_token_id': PADDING,
      'eos_token_id': END, 'decoder_start_token_id': PADDING, 'tie_word_embeddings': model.tied_embeddings,
      'torch_dtype': dtype,
  }  # fmt: skip
  common |= FIXED
  activation = _activation(model)
  if not model.num_experts:
    kind = {'architectures': ['T5ForConditionalGeneration'], 'model_type': 't5', 'feed_forward_proj': activation}
    return kind | common
  if model.expert_d_ff != model.d_ff:
    raise UserError(
      f'The experts of this model have a hidden size of {model.expert_d_ff}, its dense layers of {model.d_ff}: '
      'Hugging Face has one size for both. Convert it to mesh or keras.'
    )
  return {
    'architectures': ['SwitchTransformersForConditionalGeneration'],
    'model_type': 'switch_transformers',
    'dense_act_fn': activation,
    'num_experts': model.num_experts,
    'num_sparse_encoder_layers': _num_sparse(model, 'encoder'),
    'num_sparse_decoder_layers': _num_sparse(model, 'decoder'),
    'expert_capacity': _capacity(model),
    'router_aux_loss_coef': model.balance_loss_coef,
    'router_z_loss_coef': 0.0,
    'router_jitter_noise': 0.0,
    'router_dtype': 'float32',
    'router_bias': False,
    'router_ignore_padding_tokens': False,
    'add_router_probs': False,
  } | common


def _capacity(model):
  return max(model.min_expert_capacity, -(-int(CAPACITY_LENGTH * model.capacity_factor_eval) // model.num_experts))


def _activation(model):
  names = {('relu',): 'relu', ('gelu',): 'gelu_new', ('gelu', 'linear'): 'gated-gelu'}
  if model.ff_activation not in names:
    raise UserError(
      f'ff_activation = {list(model.ff_activation)} has no name at Hugging Face here; known are relu, gelu and '
      "['gelu', 'linear']. Convert it to mesh or keras."
    )
  return names[model.ff_activation]


def _num_sparse(model, stack):
  """The number of config.json that makes transformers build the sparse layers of a stack."""
  block = getattr(model, f'{stack}_block')
  layers, wanted = getattr(model, f'num_{stack}_layers'), getattr(model, f'{stack}_sparse_layers')
  if sparse_layers(layers, len(wanted)) != wanted:
    shown = ', '.join(map(str, wanted)) or 'none'
    raise UserError(
      f'Experts in the {stack} layers {shown} of {layers} (blocks of {block.count("SelfAttention")}, with '
      f'{block.count(EXPERTS)} {EXPERTS}) cannot be told to transformers, which places {len(wanted)} of them in '
      f'{", ".join(map(str, sparse_layers(layers, len(wanted)))) or "none"}. Convert it to mesh or keras.'
    )
  return len(wanted)
