"""The Mesh-TensorFlow variables of a model, by name, with named axes: what checkpoints hold and layouts split.

Names and axes are those of the released code, so that a layout rule `d_ff:model` applies to the axis `d_ff` here.
In attention weights the axis `heads` has num_heads x d_kv entries.
"""

from switch_zoo.spec.shape import ModelShape
from switch_zoo.spec.sublayers import ATTENTION, DENSE, ROUTER_AXIS

Axes = dict[str, int]


def variables_of(config: ModelShape) -> dict[str, Axes]:
  """Variables of a model in the order in which its graph creates them: name -> {axis: size}."""
  variables = {}
  if config.shared_embedding:
    variables['shared/embedding'] = _table(config, config.vocab_size)
  else:
    variables['encoder/embedding'] = _table(config, config.vocab_size)
  variables |= _stack(config, 'encoder', config.encoder_block, config.num_encoder_blocks)
  if not config.shared_embedding:
    variables['decoder/embedding'] = _table(config, config.target_vocab_size)
  variables |= _stack(config, 'decoder', config.decoder_block, config.num_decoder_blocks)
  if not config.tied_embeddings:
    variables['decoder/logits/kernel'] = {'d_model': config.d_model, 'vocab': config.target_vocab_size}
  return variables


def _stack(config: ModelShape, stack: str, block: tuple[str, ...], num_blocks: int) -> dict[str, Axes]:
  variables = {}
  for number in range(num_blocks):
    for index, sublayer in enumerate(block):
      scope = f'{stack}/block_{number:03d}/layer_{index:03d}'
      variables[f'{scope}/rms_norm/scale'] = {'d_model': config.d_model}
      variables |= {f'{scope}/{sublayer}/{name}': shape for name, shape in _sublayer(config, sublayer).items()}
      if number == index == 0 and config.relative_attention_num_buckets:
        # The first self-attention of a stack holds the relative positions of all of them.
        bias = {'heads': config.num_heads, 'buckets': config.relative_attention_num_buckets}
        variables[f'{scope}/{sublayer}/relative_attention_bias'] = bias
  variables[f'{stack}/rms_norm/scale'] = {'d_model': config.d_model}
  return variables


def _sublayer(config: ModelShape, sublayer: str) -> dict[str, Axes]:
  if sublayer in ATTENTION:
    inner = config.num_heads * config.d_kv
    into = {'d_model': config.d_model, 'heads': inner}
    return {'q': into, 'k': into, 'v': into, 'o': {'heads': inner, 'd_model': config.d_model}}
  if sublayer == DENSE:
    return _feed_forward(config, {}, {'d_ff': config.d_ff})
  into_router = {'d_model': config.d_model, ROUTER_AXIS: config.num_experts}
  routers = {f'{scope}/kernel': into_router for scope in config.router_kernels}
  return routers | _feed_forward(config, {'experts': config.num_experts}, {'expert_hidden': config.expert_d_ff})


def _feed_forward(config: ModelShape, experts: Axes, hidden: Axes) -> dict[str, Axes]:
  """Kernels of a dense feed-forward layer or of all experts of a layer; a gated layer has two input kernels."""
  d_model = {'d_model': config.d_model}
  into = ('wi_0', 'wi_1') if config.gated else ('wi',)
  kernels = {f'{name}/kernel': experts | d_model | hidden for name in into}
  return kernels | {'wo/kernel': experts | hidden | d_model}


def _table(config: ModelShape, rows: int) -> Axes:
  return {'vocab': rows, 'd_model': config.d_model}
