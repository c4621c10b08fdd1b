"""Hugging Face's config.json as it is read: what it says that tensors do not, and where the two disagree."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from switch_zoo.checkpoints.anatomy import Anatomy, activation_text
from switch_zoo.checkpoints.arrays import CheckpointTensors
from switch_zoo.checkpoints.huggingface import CONFIG
from switch_zoo.checkpoints.names import HEAD, SHARED
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.shape import MAX_RELATIVE_DISTANCE, NORM_EPSILON
from switch_zoo.spec.sublayers import padded_vocabulary

SWITCH, T5, MT5 = 'switch_transformers', 't5', 'mt5'
MODEL_TYPES = (SWITCH, T5, MT5)
# dense_act_fn or feed_forward_proj of config.json -> ours. Our gelu is the approximation by tanh, `gelu_new` there.
ACTIVATIONS = {
    'relu': ('relu',), 'gelu_new': ('gelu',), 'gated-gelu': ('gelu', 'linear'), 'gated-gelu_new': ('gelu', 'linear'),
}  # fmt: skip
_FLAN = ' The first files of Flan-T5 said gelu and meant gated-gelu: write that if the model is one.'
# Number of layers of a stack, in config.json.
NUM_LAYERS = {'encoder': 'num_layers', 'decoder': 'num_decoder_layers'}
# Fields of config.json that the tensors decide -> ours.
DECIDED_BY_TENSORS = {
    'd_model': 'd_model', 'd_ff': 'd_ff', 'd_kv': 'd_kv', 'num_heads': 'num_heads',
    'num_layers': 'num_encoder_layers', 'num_decoder_layers': 'num_decoder_layers', 'vocab_size': 'num_ids',
    'num_experts': 'num_experts', 'relative_attention_num_buckets': 'relative_attention_num_buckets',
}  # fmt: skip
# What transformers takes where config.json does not state it.
DEFAULT_EXPERT_CAPACITY = 64
# Fields whose value no gin file changes.
FIXED = {'relative_attention_max_distance': MAX_RELATIVE_DISTANCE, 'layer_norm_epsilon': NORM_EPSILON}


class LogitsHead(NamedTuple):
  """How a model computes its logits.

  tied: with the embedding, scaled, as T5 1.0 does
  from_embedding: its own matrix is missing and has the values of the embedding, not scaled
  """

  tied: bool
  from_embedding: bool


def check_model_type(path: str, stated: Mapping[str, Any]) -> None:
  """Refuses the configuration of another family.

  Raises:
    UserError: model_type is none of MODEL_TYPES
  """
  model_type = stated.get('model_type')
  if stated and model_type is None:
    raise UserError(
      f'{path}/{CONFIG} does not say model_type. If it is that of the model and old, add "model_type": "{T5}" (or '
      f'{SWITCH}, or {MT5}); otherwise copy it again.'
    )
  if model_type not in (None, *MODEL_TYPES):
    raise UserError(f'{path}/{CONFIG} is of a "{model_type}"; switch_zoo converts {", ".join(MODEL_TYPES)}.')


def read_activation(path: str, anatomy: Anatomy, stated: Mapping[str, Any], notes: list[str]) -> tuple[str, ...]:
  """ff_activation of a model: what config.json says, unless the tensors contradict it.

  Args:
    path: the folder, for messages
    anatomy: what the tensors say
    stated: the contents of config.json
    notes: gets a sentence if the tensors contradict it
  Raises:
    UserError: an activation that is not known here
  """
  name = stated.get(_activation_field(stated)) or 'relu'
  activation = ACTIVATIONS.get(name)
  if activation is None:
    raise UserError(
      f'{path}/{CONFIG}: the activation "{name}" cannot be converted; known are {", ".join(ACTIVATIONS)}.'
      f'{_FLAN if name == "gelu" and anatomy.gated else ""}'
    )
  if (len(activation) > 1) == anatomy.gated:
    return activation
  tensors = 'two inward projections (wi_0 and wi_1)' if anatomy.gated else 'one inward projection (wi)'
  notes.append(
    f'{CONFIG} says "{name}", but the feed-forward layers have {tensors}: the tensors are followed, with '
    f'{activation_text(anatomy.usual_activation)}.'
  )
  return anatomy.usual_activation


def read_head(tensors: CheckpointTensors, stated: Mapping[str, Any]) -> LogitsHead:
  """How a model computes its logits.

  T5 1.0 multiplies by d_model ** -0.5 and uses the embedding; T5 1.1 does not multiply, and has a matrix of its own.
  transformers 5 ties every T5 and mT5, and says in `scale_decoder_outputs` which of the two it was.
  """
  model_type, tied = stated.get('model_type'), bool(stated.get('tie_word_embeddings', True))
  scaled = model_type == SWITCH or (model_type == T5 and tied and stated.get('scale_decoder_outputs') is not False)
  if HEAD in tensors.infos:
    return LogitsHead(tied and scaled and same_as_embedding(tensors, HEAD), from_embedding=False)
  if model_type in (T5, MT5) and not scaled:
    return LogitsHead(False, from_embedding=True)
  return LogitsHead(tied, from_embedding=False)


def read_expert_capacity(path: str, stated: Mapping[str, Any]) -> int:
  """Tokens of one sequence that transformers has room for in an expert.

  Args:
    path: the folder, for messages
    stated: the contents of the config.json of a Switch Transformer
  Raises:
    UserError: it is not a number of tokens
  """
  value = stated.get('expert_capacity', DEFAULT_EXPERT_CAPACITY)
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise UserError(
      f'{path}/{CONFIG} says expert_capacity = {value}: it is a number of tokens, at least 1. Released models have '
      f'{DEFAULT_EXPERT_CAPACITY}.'
    )
  return value


def same_as_embedding(tensors: CheckpointTensors, name: str) -> bool:
  """Whether a tensor is a copy of the embedding."""
  if SHARED not in tensors.infos or tensors.infos[name] != tensors.infos[SHARED]:
    return False
  return np.array_equal(tensors.read(name).view(np.uint8), tensors.read(SHARED).view(np.uint8))


def contradictions(stated: Mapping[str, Any], config: ModelConfig) -> list[str]:
  """Where config.json contradicts the model read from the tensors, a sentence for each."""
  return [
    *_contradicted_sizes(stated, config),
    *_contradicted_activation(stated, config),
    *_contradicted_constants(stated),
    *_contradicted_sparse_layers(stated, config),
  ]


def transformers_sparse_layers(layers: int, sparse: int) -> tuple[int, ...]:
  """The layers transformers makes sparse for num_layers and num_sparse_layers of a configuration.

  From 5.23.0: 0 still gives one (layer 1, or the only layer), and more than there are layers gives none.

  >>> transformers_sparse_layers(12, 6), transformers_sparse_layers(12, 0), transformers_sparse_layers(12, 15)
  ((1, 3, 5, 7, 9, 11), (1,), ())
  """
  step = layers // sparse if sparse else layers
  return tuple(layer for layer in range(layers) if step and (step == 1 or layer % step == 1))


def _activation_field(stated: Mapping[str, Any]) -> str:
  return 'dense_act_fn' if stated.get('model_type') == SWITCH else 'feed_forward_proj'


def _contradicted_sizes(stated: Mapping[str, Any], config: ModelConfig) -> Iterator[str]:
  for field, ours in DECIDED_BY_TENSORS.items():
    value, actual = stated.get(field), getattr(config, ours)
    agrees = value in (None, actual)
    if field == 'vocab_size' and isinstance(value, int):
      # The tensors may have the rows that pad it.
      agrees = agrees or padded_vocabulary(value) == actual
    if field == 'num_experts' and not actual:
      agrees = True
    if not agrees:
      yield f'{CONFIG} says {field} = {value}, the tensors {actual}: the tensors are followed.'


def _contradicted_activation(stated: Mapping[str, Any], config: ModelConfig) -> Iterator[str]:
  activation = ACTIVATIONS.get(stated.get(_activation_field(stated), ''))
  if activation and activation != config.ff_activation:
    yield (
      f'{CONFIG} says the activation is {activation_text(activation)}, the model says '
      f'{activation_text(config.ff_activation)}: the model is followed.'
    )


def _contradicted_constants(stated: Mapping[str, Any]) -> Iterator[str]:
  for field, constant in FIXED.items():
    if stated.get(field, constant) != constant:
      yield (f'{CONFIG} says {field} = {stated[field]}. Here it is always {constant}: the logits will not be the same.')


def _contradicted_sparse_layers(stated: Mapping[str, Any], config: ModelConfig) -> Iterator[str]:
  for stack, num_layers in NUM_LAYERS.items() if config.num_experts else ():
    field, actual = f'num_sparse_{stack}_layers', getattr(config, f'{stack}_sparse_layers')
    sparse, layers = stated.get(field), stated.get(num_layers)
    if not isinstance(sparse, int) or not isinstance(layers, int):
      continue
    built = transformers_sparse_layers(layers, sparse)
    if built != actual:
      yield (
        f'{CONFIG} says {field} = {sparse} of {layers}, from which transformers builds {len(built)} sparse layers; '
        f'the tensors have {len(actual)}, and are followed.'
      )
