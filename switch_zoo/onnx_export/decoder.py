"""The graph of the decoder: some more tokens of each sequence, with caches of those before.

B batch  T new tokens  S input tokens  C capacity of a cache in tokens  N heads  D d_kv  M d_model  V vocabulary
"""

import numpy as np
import onnx

from switch_zoo.onnx_export.graph import FLOAT, INT64, model, tensor
from switch_zoo.onnx_export.stacks import Stack
from switch_zoo.onnx_runner import tensor_names
from switch_zoo.spec.sublayers import ENC_DEC_ATTENTION, SELF_ATTENTION

# Below every logit: what an id gets that only pads the vocabulary's table.
MASKED = -1e30


def decoder(stack: Stack) -> onnx.ModelProto:
  """
  Args:
    stack: of the decoder, new
  Returns:
    a graph: ids <int64>[B, T], position <int64>[] of the first of them, what the encoder returns, and for each
    self-attention a cache of keys and one of values, <float32>[B, N, C, D] -> logits <float32>[B, T, V], log_normalizer
    <float32>[B, T], which a logit less is a log-probability, and the caches with the new tokens in them
  """
  graph, caches = stack.graph, 0
  batch, length = stack.size(tensor_names.IDS, 0), stack.size(tensor_names.IDS, 1)
  shape = stack.heads_shape(batch, length)
  table = stack.table()
  flat = graph.call('Reshape', tensor_names.IDS, graph.constant([-1]))
  stack.begin(stack.products.looked_up(table, flat))
  queries = graph.call('Add', stack.range(length), tensor_names.POSITION)
  bias = stack.position_bias(queries, stack.range(stack.size(tensor_names.caches(0)[0], 2)), bidirectional=False)
  places = _places(stack, batch, length, queries)
  memories = 0
  for kind, scope in stack.sublayers():
    if kind == SELF_ATTENTION:
      stack.add(_self_attention(stack, scope, caches, shape, places, bias))
      caches += 1
    elif kind == ENC_DEC_ATTENTION:
      stack.add(_cross_attention(stack, scope, memories, shape))
      memories += 1
    else:
      stack.feed_forward(kind, scope)
  _logits(stack, table, batch, length)
  return model(graph.graph('decoder', *_signature(stack, caches, memories)))


def _self_attention(stack: Stack, scope: str, number: int, shape: str, places: str, bias: str) -> str:
  graph, attention, scope_of_weights = stack.graph, stack.attention, f'{scope}/{SELF_ATTENTION}'
  parts = attention.projected(stack.norm(scope), scope_of_weights, stack.read, 'qkv')
  q, k, v = (attention.split_heads(part, shape) for part in parts)
  before, after = tensor_names.caches(number), tensor_names.new_caches(number)
  for new, old, name in zip((k, v), before, after, strict=True):
    graph.node('ScatterND', [old, places, new], [name])
  scores = graph.fused('FusedMatMul', q, after[0], transB=1)
  return attention.outward(attention.attended(scores, after[1], bias), scope_of_weights, stack.read)


def _cross_attention(stack: Stack, scope: str, number: int, shape: str) -> str:
  graph, attention, scope_of_weights = stack.graph, stack.attention, f'{scope}/{ENC_DEC_ATTENTION}'
  (q,) = attention.projected(stack.norm(scope), scope_of_weights, stack.read, 'q')
  keys, values = tensor_names.cross(number)
  scores = graph.call('MatMul', attention.split_heads(q, shape), keys)
  return attention.outward(attention.attended(scores, values, tensor_names.MASK), scope_of_weights, stack.read)


def _places(stack: Stack, batch: str, length: str, queries: str) -> str:
  """Where the new tokens are in a cache. -> <int64>[B, N, T, 3]"""
  graph = stack.graph
  heads = graph.constant([stack.config.num_heads])
  shape = graph.call('Concat', batch, heads, length, axis=0)
  sequence = graph.call('Unsqueeze', stack.range(batch), graph.constant([1, 2]))
  head = graph.call('Unsqueeze', stack.range(heads), graph.constant([1]))
  parts = [
    graph.call('Unsqueeze', graph.call('Expand', part, shape), graph.constant([3]))
    for part in (sequence, head, queries)
  ]
  return graph.call('Concat', *parts, axis=3)


def _logits(stack: Stack, table: tuple[str, ...], batch: str, length: str) -> None:
  """The outputs `logits` and `log_normalizer`."""
  graph, config = stack.graph, stack.config
  if config.tied_embeddings:
    logits = stack.products.times_table(stack.norm('decoder', config.d_model**-0.5), table)
  else:
    name = 'decoder/logits/kernel'
    logits = stack.products.times(stack.norm('decoder'), stack.products.weight(name, stack.read(name)))
  rows = config.target_vocab_size
  if config.num_target_ids < rows:
    mask = np.where(np.arange(rows) < config.num_target_ids, 0.0, MASKED).astype(np.float32)
    logits = graph.call('Add', logits, graph.weight('decoder/padding_ids', mask))
  shape = graph.call('Concat', batch, length, graph.constant([rows]), axis=0)
  graph.node('Reshape', [logits, shape], [tensor_names.LOGITS])
  graph.node('ReduceLogSumExp', [tensor_names.LOGITS, graph.constant([2])], [tensor_names.NORMALIZER], keepdims=0)


def _signature(stack: Stack, caches: int, memories: int) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
  """Inputs and outputs."""
  config = stack.config
  heads, width = config.num_heads, config.d_kv
  cache = lambda name: tensor(name, FLOAT, ['batch', heads, 'capacity', width])
  inputs = [
    tensor(tensor_names.IDS, INT64, ['batch', 'tokens']),
    tensor(tensor_names.POSITION, INT64, []),
    tensor(tensor_names.MASK, FLOAT, ['batch', 1, 1, 'inputs']),
  ]
  for number in range(memories):
    keys, values = tensor_names.cross(number)
    inputs.append(tensor(keys, FLOAT, ['batch', heads, width, 'inputs']))
    inputs.append(tensor(values, FLOAT, ['batch', heads, 'inputs', width]))
  inputs += [cache(name) for number in range(caches) for name in tensor_names.caches(number)]
  outputs = [
    tensor(tensor_names.LOGITS, FLOAT, ['batch', 'tokens', config.target_vocab_size]),
    tensor(tensor_names.NORMALIZER, FLOAT, ['batch', 'tokens']),
  ]
  return inputs, outputs + [cache(name) for number in range(caches) for name in tensor_names.new_caches(number)]
