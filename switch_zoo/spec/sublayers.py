"""The kinds of sublayers, how a block is made of them, and which layers have experts.

A sublayer is named by the scope of its variables. A layer is a self-attention and everything up to the next one.
"""

from collections.abc import Iterable, Sequence

SELF_ATTENTION = 'SelfAttention'
ENC_DEC_ATTENTION = 'EncDecAttention'
ATTENTION = (SELF_ATTENTION, ENC_DEC_ATTENTION)
DENSE = 'DenseReluDense'
EXPERTS = 'MoE1D'
# The attention of one layer, by stack.
ATTENTION_OF_STACK = {'encoder': (SELF_ATTENTION,), 'decoder': (SELF_ATTENTION, ENC_DEC_ATTENTION)}

# Mesh-TensorFlow pads a task's vocabulary, and so the rows of embeddings and logits, to a multiple of this.
VOCAB_DIVISOR = 128
# The axis a router's kernel has in place of `experts`: every core chooses among all experts.
ROUTER_AXIS = 'expert_unsplit'


def block_of(stack: str, feed_forward: Iterable[str]) -> tuple[str, ...]:
  """The sublayers of a block whose layers have these feed-forward sublayers.

  >>> block_of('decoder', [DENSE])
  ('SelfAttention', 'EncDecAttention', 'DenseReluDense')

  Args:
    stack: 'encoder' or 'decoder'
    feed_forward: DENSE or EXPERTS for each layer of the block
  """
  return tuple(sublayer for kind in feed_forward for sublayer in (*ATTENTION_OF_STACK[stack], kind))


def layers_per_block(block: Sequence[str]) -> int:
  """How many layers a block holds."""
  return block.count(SELF_ATTENTION)


def sparse_layers(block: Sequence[str], num_layers: int) -> tuple[int, ...]:
  """The layers with experts in a stack that repeats a block, counted from 0.

  >>> sparse_layers(('SelfAttention', 'DenseReluDense', 'SelfAttention', 'MoE1D'), 6)
  (1, 3, 5)
  """
  sparse, layer = [], -1
  for sublayer in block:
    layer += sublayer == SELF_ATTENTION
    if sublayer == EXPERTS:
      sparse.append(layer)
  return tuple(first + layer for first in range(0, num_layers, layers_per_block(block)) for layer in sparse)


def padded_vocabulary(num_ids: int) -> int:
  """Rows of the embeddings of a vocabulary.

  >>> padded_vocabulary(32_100)
  32128
  """
  return num_ids + -num_ids % VOCAB_DIVISOR
