"""The graph of the encoder: from ids to what the decoder's attention over the encoder reads.

B batch  S input tokens  N heads  D d_kv  M d_model  R tokens without padding
"""

import numpy as np
import onnx

from switch_zoo.onnx_export.attention import HEADS, KEYS, PackedTokens
from switch_zoo.onnx_export.graph import FLOAT, INT64, model, tensor
from switch_zoo.onnx_export.positions import MASK_BIAS
from switch_zoo.onnx_export.stacks import Stack
from switch_zoo.onnx_runner import tensor_names
from switch_zoo.spec.sublayers import ENC_DEC_ATTENTION, SELF_ATTENTION


def encoder(stack: Stack) -> onnx.ModelProto:
  """
  Args:
    stack: of the encoder, new
  Returns:
    a graph: ids <int64>[B, S], 0 is padding -> mask <float32>[B, 1, 1, S], and for each attention over the encoder
    keys <float32>[B, N, D, S] and values <float32>[B, N, S, D]
  """
  graph, attention = stack.graph, stack.attention
  flat = graph.call('Reshape', tensor_names.IDS, graph.constant([-1]))
  places = graph.call('Transpose', graph.call('NonZero', flat), perm=[1, 0])
  rows = graph.call('Squeeze', places, graph.constant([1]))
  batch, length = stack.size(tensor_names.IDS, 0), stack.size(tensor_names.IDS, 1)
  packing = PackedTokens(places, graph.call('Shape', flat), stack.heads_shape(batch, length))
  stack.begin(stack.products.looked_up(stack.table(), graph.call('Gather', flat, rows)))
  positions = stack.range(length)
  bias = stack.position_bias(positions, positions, bidirectional=True)
  bias = graph.call('Add', bias, _mask(stack))
  for kind, scope in stack.sublayers():
    if kind == SELF_ATTENTION:
      projections = attention.projected(stack.norm(scope), f'{scope}/{kind}', stack.read, 'qkv', packing)
      q, k, v = (
        attention.split_heads(x, packing.shape, order)
        for x, order in zip(projections, (HEADS, KEYS, HEADS), strict=True)
      )
      attended = graph.call('Gather', attention.attended(graph.call('MatMul', q, k), v, bias), rows)
      stack.add(attention.outward(attended, f'{scope}/{kind}', stack.read))
    else:
      stack.feed_forward(kind, scope)
  outputs = _memories(stack, stack.norm('encoder'), packing)
  mask = tensor(tensor_names.MASK, FLOAT, ['batch', 1, 1, 'inputs'])
  return model(graph.graph('encoder', [tensor(tensor_names.IDS, INT64, ['batch', 'inputs'])], [mask, *outputs]))


def _mask(stack: Stack) -> str:
  """The bias of the keys, an output of the graph."""
  graph = stack.graph
  padding = graph.call('Cast', graph.call('Equal', tensor_names.IDS, graph.constant(0)), to=FLOAT)
  padding = graph.call('Unsqueeze', padding, graph.constant([1, 2]))
  graph.node('Mul', [padding, graph.constant(MASK_BIAS, np.float32)], [tensor_names.MASK])
  return tensor_names.MASK


def _memories(stack: Stack, x: str, packing: PackedTokens) -> list[onnx.ValueInfoProto]:
  """Keys and values of each attention over the encoder, as outputs. x: <float32>[R, M] by name"""
  graph, config, outputs = stack.graph, stack.config, []
  for number, scope in enumerate(cross_attentions(stack)):
    keys, values = stack.attention.projected(x, scope, stack.read, 'kv', packing)
    names = tensor_names.cross(number)
    for name, part, order in zip(names, (keys, values), (KEYS, HEADS), strict=True):
      graph.node('Transpose', [graph.call('Reshape', part, packing.shape)], [name], perm=order)
    outputs.append(tensor(names[0], FLOAT, ['batch', config.num_heads, config.d_kv, 'inputs']))
    outputs.append(tensor(names[1], FLOAT, ['batch', config.num_heads, 'inputs', config.d_kv]))
  return outputs


def cross_attentions(stack: Stack) -> list[str]:
  """Scopes of the decoder's attentions over the encoder."""
  config = stack.config
  return [
    f'decoder/block_{number:03d}/layer_{index:03d}/{kind}'
    for number in range(config.num_decoder_blocks)
    for index, kind in enumerate(config.decoder_block)
    if kind == ENC_DEC_ATTENTION
  ]
