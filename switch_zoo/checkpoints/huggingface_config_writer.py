"""Hugging Face's config.json as it is written, so that transformers builds the classes that load the weights."""

from typing import Any

from switch_zoo.checkpoints.huggingface_config import ACTIVATIONS, FIXED, SWITCH, T5, transformers_sparse_layers
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import EXPERTS, layers_per_block
from switch_zoo.spec.token_ids import PADDING

# The sequence length from which the capacity in config.json is computed; transformers wants a number of tokens.
CAPACITY_LENGTH = 512


def make_config(model: ModelConfig, dtype: str) -> dict[str, Any]:
  """The contents of config.json for a model.

  Args:
    model: the model
    dtype: NumPy's name of the type of the weights
  Raises:
    UserError: transformers cannot build this model
  """
  if model.num_ids != model.num_target_ids:
    raise UserError(
      f'The model reads {model.num_ids:,} ids and predicts {model.num_target_ids:,}: Hugging Face has one vocab_size '
      'for both. Convert it to mesh or keras.'
    )
  return (_switch_fields(model) if model.num_experts else _t5_fields(model)) | _common_fields(model, dtype) | FIXED


def _common_fields(model: ModelConfig, dtype: str) -> dict[str, Any]:
  return {
      'd_model': model.d_model, 'd_kv': model.d_kv, 'd_ff': model.d_ff, 'num_heads': model.num_heads,
      'num_layers': model.num_encoder_layers, 'num_decoder_layers': model.num_decoder_layers,
      'vocab_size': model.num_ids, 'relative_attention_num_buckets': model.relative_attention_num_buckets,
      'dropout_rate': 0.1,
      'initializer_factor': 1.0, 'is_encoder_decoder': True, 'use_cache': True, 'pad_token_id': PADDING,
      'eos_token_id': model.end_id, 'decoder_start_token_id': PADDING, 'tie_word_embeddings': model.tied_embeddings,
      'torch_dtype': dtype,
  }  # fmt: skip


def _t5_fields(model: ModelConfig) -> dict[str, Any]:
  return {
    'architectures': ['T5ForConditionalGeneration'],
    'model_type': T5,
    'feed_forward_proj': _activation(model),
  }


def _switch_fields(model: ModelConfig) -> dict[str, Any]:
  activation = _activation(model)
  if model.expert_d_ff != model.d_ff:
    raise UserError(
      f'The experts of this model have a hidden size of {model.expert_d_ff}, its dense layers one of {model.d_ff}: '
      'Hugging Face has one size for both. Convert it to mesh or keras.'
    )
  return {
    'architectures': ['SwitchTransformersForConditionalGeneration'],
    'model_type': SWITCH,
    'dense_act_fn': activation,
    'num_experts': model.num_experts,
    'num_sparse_encoder_layers': _num_sparse(model, 'encoder'),
    'num_sparse_decoder_layers': _num_sparse(model, 'decoder'),
    'expert_capacity': model.expert_capacity or _capacity(model),
    'router_aux_loss_coef': model.balance_loss_coef,
    'router_z_loss_coef': 0.0,
    'router_jitter_noise': 0.0,
    'router_dtype': 'float32',
    'router_bias': False,
    'router_ignore_padding_tokens': False,
    'add_router_probs': False,
  }


def _capacity(model: ModelConfig) -> int:
  return max(model.min_expert_capacity, -(-int(CAPACITY_LENGTH * model.capacity_factor_eval) // model.num_experts))


def _activation(model: ModelConfig) -> str:
  for name, activation in ACTIVATIONS.items():
    if activation == model.ff_activation:
      return name
  raise UserError(
    f'ff_activation = {list(model.ff_activation)} has no name in Hugging Face that is known here; known are relu, gelu '
    "and ['gelu', 'linear']. Convert it to mesh or keras."
  )


def _num_sparse(model: ModelConfig, stack: str) -> int:
  """The number in config.json that makes transformers build the sparse layers of a stack."""
  block = getattr(model, f'{stack}_block')
  layers, sparse = getattr(model, f'num_{stack}_layers'), getattr(model, f'{stack}_sparse_layers')
  built = transformers_sparse_layers(layers, len(sparse))
  if built != sparse:
    raise UserError(
      f'Experts in the {stack} layers {_numbers(sparse)} of {layers} (blocks of {layers_per_block(block)}, with '
      f'{block.count(EXPERTS)} {EXPERTS}) cannot be expressed in {SWITCH}, where {len(sparse)} of them are in '
      f'{_numbers(built)}. Convert it to mesh or keras.'
    )
  return len(sparse)


def _numbers(layers: tuple[int, ...]) -> str:
  return ', '.join(map(str, layers)) or 'none'
