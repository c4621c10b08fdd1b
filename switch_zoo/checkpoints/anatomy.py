"""A model's layers and sizes, read from the names and shapes of the tensors of a checkpoint."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from switch_zoo.checkpoints.names import ModelPlace, NameRow
from switch_zoo.errors import UserError
from switch_zoo.spec.sublayers import DENSE, EXPERTS, SELF_ATTENTION, block_of, layers_per_block

Block = tuple[str, ...]
Shape = tuple[int, ...]
# Kernel of a router -> its name in ModelConfig.
ROUTER_KERNELS = {'switch_gating/kernel': 'top1', 'top_2_gating/kernel': 'top2'}
INWARD_KERNELS = ('wi/kernel', 'wi_0/kernel')


class Anatomy(NamedTuple):
  """What the tensors say.

  blocks: sublayers of a block, by stack
  settings: names of a model's gin file -> values
  gated: whether feed-forward layers have two inward projections
  router: as in ModelConfig; '' in a dense model
  """

  blocks: dict[str, Block]
  settings: dict[str, Any]
  gated: bool
  router: str

  @property
  def usual_activation(self) -> tuple[str, ...]:
    """ff_activation of the released models with such tensors."""
    return ('gelu', 'linear') if self.gated else ('relu',)


def activation_text(activation: tuple[str, ...]) -> str:
  """An activation for messages.

  >>> activation_text(('relu',)), activation_text(('gelu', 'linear'))
  ('relu', "['gelu', 'linear']")
  """
  return activation[0] if len(activation) == 1 else str(list(activation))


def read_anatomy(tensors: Iterable[tuple[ModelPlace, Shape]]) -> Anatomy:
  """The anatomy of a checkpoint.

  Args:
    tensors: the place of each tensor and its shape in the axes of Mesh-TensorFlow (`FormatNames.place_tensors`)
  Raises:
    UserError: a tensor that is needed to know the sizes is missing
  """
  stored = _StoredShapes(tensors)
  blocks, layers = {}, {}
  for stack in ('encoder', 'decoder'):
    blocks[stack], layers[f'num_{stack}_layers'] = _read_stack(stack, stored.places)
  router = next((name for kernel, name in ROUTER_KERNELS.items() if stored.shape(EXPERTS, kernel)), '')
  if any(EXPERTS in block for block in blocks.values()) and not router:
    raise UserError(
      'The checkpoint has layers with experts, but no router that switch_zoo knows. Give its model with --model.'
    )
  settings = _embedding_sizes(stored) | _attention_sizes(stored) | _feed_forward_sizes(stored) | layers
  gated = stored.shape(DENSE, 'wi_0/kernel') or stored.shape(EXPERTS, 'wi_0/kernel')
  return Anatomy(blocks, settings, bool(gated), router)


class _StoredShapes:
  """Shapes by sublayer and name within it, of the first layer that has one."""

  def __init__(self, tensors: Iterable[tuple[ModelPlace, Shape]]):
    self.places: list[ModelPlace] = []
    self._shapes: dict[tuple[str, str], Shape] = {}
    for place, shape in tensors:
      self.places.append(place)
      self._shapes.setdefault((place.row.sublayer, place.row.name_in_sublayer), shape)

  def shape(self, sublayer: str, name: str) -> Shape | None:
    return self._shapes.get((sublayer, name))

  def matrix(self, sublayer: str, name: str, what: str) -> tuple[int, int]:
    """The shape of a matrix without which no size can be known; `what` is for the message."""
    shape = self.shape(sublayer, name)
    if shape is None or len(shape) != 2:
      raise UserError(
        f'The checkpoint has no {what} with two axes: it is incomplete, or not an encoder-decoder T5 or Switch '
        'Transformer.'
      )
    return shape[0], shape[1]


def _read_stack(stack: str, all_places: Iterable[ModelPlace]) -> tuple[Block, int]:
  """The block of a stack and its number of layers."""
  places = [p for p in all_places if p.stack == stack and p.row.sublayer and not _is_norm(p.row)]
  if not places:
    raise UserError(f'The checkpoint has no {stack}: switch_zoo converts encoder-decoder models.')
  if any(place.block is not None for place in places):
    return _read_blocks(stack, places)
  layers = _count(stack, 'layer', {place.layer for place in places if place.layer is not None})
  sparse = {place.layer for place in places if place.row.sublayer == EXPERTS}
  pattern = _period([EXPERTS if layer in sparse else DENSE for layer in range(layers)])
  return block_of(stack, pattern), layers


def _read_blocks(stack: str, places: Iterable[ModelPlace]) -> tuple[Block, int]:
  """The same for formats whose names number the blocks, not the layers."""
  sublayers = {place.sublayer or 0: place.row.sublayer for place in places if place.block == 0}
  block = tuple(sublayers[number] for number in sorted(sublayers))
  blocks = _count(stack, 'block', {place.block for place in places if place.block is not None})
  return block, layers_per_block(block) * blocks


def _embedding_sizes(stored: _StoredShapes) -> dict[str, Any]:
  own_embedding = stored.shape('', 'encoder/embedding')
  vocab, d_model = stored.matrix('', 'encoder/embedding' if own_embedding else 'shared/embedding', 'embedding')
  settings = {
    'd_model': d_model,
    'vocab_size': vocab,
    'tied_embeddings': stored.shape('', 'decoder/logits/kernel') is None,
  }
  target_embedding = stored.shape('', 'decoder/embedding')
  if target_embedding:
    settings |= {'shared_embedding': False, 'target_vocab_size': target_embedding[0]}
  return settings


def _attention_sizes(stored: _StoredShapes) -> dict[str, Any]:
  heads, buckets = stored.matrix(SELF_ATTENTION, 'relative_attention_bias', 'table of relative positions')
  _, inner = stored.matrix(SELF_ATTENTION, 'q', 'self-attention')
  if heads < 1 or inner % heads:
    raise UserError(
      f'The attention is {inner} wide, which is not a multiple of the {heads} heads of its relative positions. The '
      'checkpoint is damaged, or not a T5 or Switch Transformer.'
    )
  return {'d_kv': inner // heads, 'num_heads': heads, 'relative_attention_num_buckets': buckets}


def _feed_forward_sizes(stored: _StoredShapes) -> dict[str, Any]:
  dense, expert = (_hidden_size(stored, sublayer) for sublayer in (DENSE, EXPERTS))
  if dense is None and expert is None:
    raise UserError('The checkpoint has no feed-forward layer: it is incomplete.')
  if not expert:
    return {'d_ff': dense}
  kernel = next((kernel for kernel in ROUTER_KERNELS if stored.shape(EXPERTS, kernel)), 'switch_gating/kernel')
  _, experts = stored.matrix(EXPERTS, kernel, 'router')
  return {'d_ff': dense or expert, 'expert_d_ff': expert, 'num_experts': experts}


def _hidden_size(stored: _StoredShapes, sublayer: str) -> int | None:
  shapes = (stored.shape(sublayer, kernel) for kernel in INWARD_KERNELS)
  return next((shape[-1] for shape in shapes if shape), None)


def _count(stack: str, what: str, numbers: Collection[int]) -> int:
  """How many blocks or layers there are; they must be numbered without a gap."""
  gap = next((number for number in range(len(numbers)) if number not in numbers), None)
  if gap is not None or not numbers:
    raise UserError(f'The checkpoint has no {what} {gap or 0} in the {stack}, but others: it is incomplete.')
  return len(numbers)


def _is_norm(row: NameRow) -> bool:
  return row.mesh.endswith('rms_norm/scale')


def _period(pattern: list[str]) -> list[str]:
  """The shortest beginning that gives the whole when it is repeated."""
  for length in range(1, len(pattern) + 1):
    if len(pattern) % length == 0 and pattern[:length] * (len(pattern) // length) == pattern:
      return pattern[:length]
  return pattern
