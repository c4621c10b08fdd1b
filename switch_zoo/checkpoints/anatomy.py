"""A model's layers and sizes, read from the names and shapes of the tensors of a checkpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from switch_zoo.checkpoints import names
from switch_zoo.checkpoints.arrays import Info
from switch_zoo.errors import UserError
from switch_zoo.spec.sublayers import DENSE, EXPERTS

Block = tuple[str, ...]
KERNELS = {'switch_gating/kernel': 'top1', 'top_2_gating/kernel': 'top2'}
WAYS_IN = ('wi/kernel', 'wi_0/kernel')


class Anatomy(NamedTuple):
  """What the tensors say.

  blocks: sublayers of a block, by stack
  settings: names of a model's gin file -> values
  gated: whether feed-forward layers have two ways in
  router: as in ModelConfig; '' in a dense model
  """

  blocks: dict[str, Block]
  settings: dict[str, Any]
  gated: bool
  router: str


def of(kind: str, infos: Mapping[str, Info]) -> Anatomy:
  """The anatomy of a checkpoint.

  Raises:
    UserError: what is needed to know the sizes is not there
  """
  found = _Found(kind, infos)
  blocks, layers = {}, {}
  for stack in ('encoder', 'decoder'):
    blocks[stack], layers[stack] = found.stack(stack)
  router = next((name for kernel, name in KERNELS.items() if found.shape(EXPERTS, kernel)), '')
  if any(EXPERTS in block for block in blocks.values()) and not router:
    raise UserError('The checkpoint has layers with experts and no router switch_zoo knows. Give the --model it is of.')
  settings = _sizes(found) | {f'num_{stack}_layers': number for stack, number in layers.items()}
  gated = found.shape(DENSE, 'wi_0/kernel') or found.shape(EXPERTS, 'wi_0/kernel')
  return Anatomy(blocks, settings, bool(gated), router)


class _Found:
  """Shapes by sublayer and the last part of a name, in the axes of Mesh-TensorFlow, of the first layer with one."""

  def __init__(self, kind, infos):
    self.kind = kind
    self.places = {}
    self._shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for name, info in infos.items():
      place = names.parse(kind, name)
      if place:
        self.places[name] = place
        shape = info.shape[::-1] if place.row.transposed and kind == names.HUGGING_FACE else info.shape
        self._shapes.setdefault((place.row.sublayer, last(place.row)), shape)

  def shape(self, sublayer, last):
    return self._shapes.get((sublayer, last))

  def required(self, sublayer, last, what):
    shape = self.shape(sublayer, last)
    if shape is None or len(shape) != 2:
      raise UserError(
        f'The checkpoint has no {what} of two axes: it is not complete, or of no encoder-decoder T5 or Switch '
        'Transformer.'
      )
    return shape

  def stack(self, stack):
    """The block of a stack and its number of layers."""
    places = [p for p in self.places.values() if p.stack == stack and p.row.sublayer and not _is_norm(p.row)]
    if not places:
      raise UserError(f'The checkpoint has no {stack}: switch_zoo converts encoder-decoder models.')
    if self.kind in (names.MESH, names.KERAS):
      block = {p.sublayer: p.row.sublayer for p in places if p.block == 0}
      sublayers = tuple(block[number] for number in sorted(block))
      return sublayers, sublayers.count('SelfAttention') * _count(stack, 'block', {p.block for p in places})
    numbered = [p for p in places if p.layer is not None]
    layers = _count(stack, 'layer', {p.layer for p in numbered})
    sparse = {p.layer for p in numbered if p.row.sublayer == EXPERTS}
    attention = ('SelfAttention',) if stack == 'encoder' else ('SelfAttention', 'EncDecAttention')
    pattern = _period([EXPERTS if layer in sparse else DENSE for layer in range(layers)])
    return tuple(sublayer for ff in pattern for sublayer in (*attention, ff)), layers


def _sizes(found):
  own = found.shape('', 'encoder/embedding')
  vocab, d_model = found.required('', 'encoder/embedding' if own else 'shared/embedding', 'embedding')
  target = found.shape('', 'decoder/embedding')
  heads, buckets = found.required('SelfAttention', 'relative_attention_bias', 'table of relative positions')
  _, inner = found.required('SelfAttention', 'q', 'self-attention')
  if heads < 1 or inner % heads:
    raise UserError(f'The attention is {inner} wide, which the {heads} heads of its relative positions do not divide.')
  settings = {
      'd_model': d_model, 'd_kv': inner // heads, 'num_heads': heads, 'vocab_size': vocab,
      'tied_embeddings': found.shape('', 'decoder/logits/kernel') is None,
      'relative_attention_num_buckets': buckets,
  }  # fmt: skip
  if target:
    settings |= {'shared_embedding': False, 'target_vocab_size': target[0]}
  widths = [next((s[-1] for s in (found.shape(kind, way) for way in WAYS_IN) if s), None) for kind in (DENSE, EXPERTS)]
  if widths == [None, None]:
    raise UserError('The checkpoint has no feed-forward layer: it is not complete.')
  settings['d_ff'] = widths[0] or widths[1]
  if widths[1]:
    settings['expert_d_ff'] = widths[1]
    kernel = next((kernel for kernel in KERNELS if found.shape(EXPERTS, kernel)), 'switch_gating/kernel')
    _, settings['num_experts'] = found.required(EXPERTS, kernel, 'router')
  return settings


def _count(stack, what, numbers):
  """How many blocks or layers there are; a number that is lacking is no model's."""
  lacking = next((number for number in range(len(numbers)) if number not in numbers), None)
  if lacking is not None or not numbers:
    raise UserError(f'The checkpoint has no {what} {lacking or 0} in the {stack}, and others: it is not complete.')
  return len(numbers)


def last(row):
  """'wi/kernel' of '{stack}/block_{block}/layer_{sublayer}/MoE1D/wi/kernel'."""
  return row.mesh.rpartition(f'/{row.sublayer}/')[2] if row.sublayer else row.mesh


def _is_norm(row):
  return row.mesh.endswith('rms_norm/scale')


def _period(pattern):
  """The shortest beginning that repeated gives the whole."""
  for length in range(1, len(pattern) + 1):
    if len(pattern) % length == 0 and pattern[:length] * (len(pattern) // length) == pattern:
      return pattern[:length]
  return pattern
