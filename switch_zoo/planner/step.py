"""A training step of a model as a graph without values: forward, backward, optimizer. See `tensors`.

What `switch_zoo.mesh.graph.build_training` builds with Mesh-TensorFlow, tests compare operation by operation.
"""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from switch_zoo.planner import feed_forward, optimizer, sizes
from switch_zoo.planner.attention import Attention, dropout, logsumexp
from switch_zoo.planner.sizes import Sizes
from switch_zoo.planner.slicing import Cuts, Slicing, reshapes_of
from switch_zoo.planner.tensors import BFLOAT16, FLOAT32, INT32, Axes, Graph, Tensor
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import DENSE, ENC_DEC_ATTENTION, SELF_ATTENTION

LENGTHS = {'inputs': 512, 'targets': 114}

Found = TypeVar('Found')


class Step:
  """The graph of a step, and the gradients by variable."""

  def __init__(self, graph: Graph, gradients: dict[str, Tensor]) -> None:
    self.graph = graph
    self.gradients = gradients
    self._known: dict[Hashable, Any] = {}

  def compiled(self) -> 'Step':
    """The step without what a compiler leaves out: gradients of constants, mostly."""
    return Step(self.graph.pruned(self.gradients.values()), self.gradients)

  @functools.cached_property
  def number_of_products(self) -> int:
    """Matrix products."""
    return sum(operation.is_product for operation in self.graph.operations)

  @functools.cached_property
  def _reshapes(self) -> list[tuple[Axes, Axes]]:
    return reshapes_of(self.graph)

  def once(self, work: Callable[[Cuts], Found], name: str, slicing: Slicing) -> Found:
    """What `work` finds, which is asked once for all layouts that cut the graph alike.

    Args:
      work: depends on the graph and the cuts only
      name: of what it finds
      slicing: of a layout
    """
    cuts = slicing.cuts(self._reshapes)
    key = name, cuts.key
    if key not in self._known:
      self._known[key] = work(cuts)
    return self._known[key]


def activation_dtype(config: ModelConfig) -> str:
  """The dtype of activations on a TPU: the model's, or bfloat16."""
  return FLOAT32 if config.activation_dtype == FLOAT32 else BFLOAT16


def build(
  config: ModelConfig,
  sequences: int,
  lengths: Mapping[str, int] = LENGTHS,
  outer_batch_size: int = 1,
  batch_parts: int = 1,
  with_optimizer: bool = True,
) -> Step:
  """The step of a model on a batch.

  Args:
    config: the model
    sequences: of the batch, a multiple of outer_batch_size
    lengths: tokens of each sequence of 'inputs' and 'targets'
    outer_batch_size: replicas of the experts
    batch_parts: mesh slices over which the layout cuts `batch`: routing groups do not cross them
    with_optimizer: False leaves Adafactor out
  Raises:
    UserError: a router that is not counted, or tokens that cannot be grouped
  """
  return _build(config, sizes.of_step(config, sequences, lengths, outer_batch_size, batch_parts), with_optimizer)


@functools.lru_cache(maxsize=2)
def template(config: ModelConfig) -> Step:
  """The compiled step of a model for every batch and layout: its axes have placeholders for what `Sizes` holds.

  Which operations there are, and how they depend on each other, follows from the model alone.

  Raises:
    UserError: a router that is not counted
  """
  return _build(config, sizes.placeholders(config)).compiled()


def _build(config: ModelConfig, step_sizes: Sizes, with_optimizer: bool = True) -> Step:
  graph = Graph()
  loss = _Model(graph, config, step_sizes).loss()
  gradients = dict(zip(graph.variables, graph.gradients(loss, list(graph.variables.values())), strict=True))
  if with_optimizer:
    for name, gradient in gradients.items():
      optimizer.update(graph, graph.variables[name], gradient)
  graph.use(loss)
  return Step(graph, gradients)


class _Model:
  """mesh_tensorflow.transformer.transformer.Bitransformer with this package's sublayers and loss."""

  def __init__(self, graph: Graph, config: ModelConfig, step_sizes: Sizes) -> None:
    self._g = graph
    self._config = config
    self._sizes = step_sizes
    self._dtype = activation_dtype(config)
    self._losses: list[Tensor] = []

  def loss(self) -> Tensor:
    g, config = self._g, self._config
    outer, batch, lengths, _ = self._sizes
    inputs, targets = (
      g.pointwise(
        [
          g.reshape(
            g.source((('_outer', outer), ('_batch', batch), ('_length', length)), INT32),
            (('outer_batch', outer), ('batch', batch), ('length', length)),
          ),
          g.source((), INT32),
        ]
      )
      for length in lengths
    )
    table = self._table('shared' if config.shared_embedding else 'encoder', config.vocab_size)
    encoded = self._stack('encoder', self._embed(table, inputs), inputs, None, None)
    encoder_loss = self._added(self._losses)
    self._losses = []
    encoded = g.reshape(encoded, encoded.renamed('length', 'memory_length'))
    encoder_ids = g.reshape(inputs, inputs.renamed('length', 'memory_length'))
    shifted = self._shifted(targets)
    g.reshape(inputs, inputs.renamed('length', 'memory_length'))
    if not config.shared_embedding:
      table = self._table('decoder', config.target_vocab_size)
    decoded = self._stack('decoder', self._embed(table, shifted), targets, encoded, encoder_ids)
    entropy = self._cross_entropy(self._logits(decoded, table), targets, encoder_ids)
    total = self._added([*self._losses, entropy]) or entropy
    return total if encoder_loss is None else g.add(total, encoder_loss)

  def _added(self, losses: list[Tensor]) -> Tensor | None:
    """mtf.add_n; None of none."""
    return functools.reduce(self._g.add, losses) if losses else None

  def _table(self, scope: str, rows: int) -> Tensor:
    return self._g.variable(f'{scope}/embedding', (('vocab', rows), ('d_model', self._config.d_model)), self._dtype)

  def _embed(self, table: Tensor, ids: Tensor) -> Tensor:
    g = self._g
    with g.section('embedding'):
      one_hot = g.source((*ids.axes, table.axes[0]), self._dtype, [ids])
      return g.einsum([one_hot, table], (*ids.axes, table.axes[1]))

  def _shifted(self, targets: Tensor) -> Tensor:
    """transformer.autoregressive_inputs: the targets one to the right; new sequences start with 0."""
    g = self._g
    shifted = g.pointwise([targets])
    shifted = g.multiply(shifted, g.pointwise([shifted]))
    same = g.pointwise([g.compare(targets, g.pointwise([targets]))], dtype=INT32)
    return g.multiply(shifted, same)

  def _stack(
    self, stack: str, x: Tensor, sequence_ids: Tensor, encoded: Tensor | None, encoder_ids: Tensor | None
  ) -> Tensor:
    g, config = self._g, self._config
    block = config.encoder_block if stack == 'encoder' else config.decoder_block
    number = config.num_encoder_blocks if stack == 'encoder' else config.num_decoder_blocks
    groups = self._sizes.groups[stack == 'decoder']
    attention = Attention(g, config, self._dtype, stack)
    position = g.source((('length', dict(x.axes)['length']),), INT32)
    x = self._dropout(x)
    for i in range(number):
      for j, sublayer in enumerate(block):
        scope = f'{stack}/block_{i:03d}/layer_{j:03d}'
        y = self._masked(self._norm(scope, x), sequence_ids)
        scope = f'{scope}/{sublayer}'
        if sublayer == SELF_ATTENTION:
          y = attention.over_itself(scope, y, sequence_ids, position)
        elif sublayer == ENC_DEC_ATTENTION and encoded is not None and encoder_ids is not None:
          y = attention.over_encoder(scope, y, encoded, sequence_ids, encoder_ids)
        elif sublayer == DENSE:
          y = feed_forward.dense(g, config, scope, y)
        elif groups is not None:
          y, loss = feed_forward.experts(g, config, scope, y, sequence_ids, groups)
          if config.balance_loss_coef:
            self._losses.append(loss)
        x = g.add(x, self._dropout(y))
    x = self._dropout(self._norm(stack, x))
    return self._masked(x, sequence_ids)

  def _norm(self, scope: str, x: Tensor) -> Tensor:
    g = self._g
    with g.section('norm'):
      scale = g.variable(f'{scope}/rms_norm/scale', x.axes[-1:], self._dtype)
      variance = g.mean(g.square(x), x.axes[:-1])
      return g.multiply(g.multiply(x, g.rsqrt(g.shifted(variance))), scale)

  def _masked(self, x: Tensor, sequence_ids: Tensor) -> Tensor:
    """transformer.sublayer_mask_padding"""
    g = self._g
    with g.section('norm'):
      return g.multiply(x, g.cast(g.compare(sequence_ids), x.dtype))

  def _dropout(self, x: Tensor) -> Tensor:
    return dropout(self._g, x, self._config.dropout_rate, x.without('length'))

  def _logits(self, x: Tensor, table: Tensor) -> Tensor:
    g, config = self._g, self._config
    vocab = ('vocab', config.target_vocab_size)
    with g.section('logits'):
      if config.tied_embeddings:
        return g.einsum([g.scaled(x), table], (*x.axes[:-1], vocab))
      kernel = g.variable('decoder/logits/kernel', (x.axes[-1], vocab), self._dtype)
      return g.einsum([x, kernel], (*x.axes[:-1], vocab))

  def _cross_entropy(self, logits: Tensor, targets: Tensor, encoder_ids: Tensor) -> Tensor:
    """switch_zoo.mesh.loss.cross_entropy"""
    g = self._g
    with g.section('loss'):
      unmasked = logits
      logits = self._mask_ids(g.cast(logits, FLOAT32))
      weights = g.cast(g.compare(targets), FLOAT32)
      num_targets = g.sum(weights, ())
      denominator = g.scaled(g.at_least(num_targets))

      def per_token(values: Tensor) -> Tensor:
        return g.divide(g.sum(g.multiply(values, weights), ()), denominator)

      log_z = logsumexp(g, logits, 'vocab')
      labels = g.source(logits.axes, FLOAT32, [g.at_least(targets)])
      entropy = per_token(g.subtract(log_z, g.sum(g.multiply(logits, labels), log_z.axes)))
      g.use(g.stop(entropy))
      num_inputs = g.sum(g.cast(g.compare(encoder_ids), FLOAT32), ())
      g.use(g.stop(g.add(num_targets, num_inputs)))
      z_loss = g.scaled(per_token(g.square(log_z)))
      g.use(g.stop(z_loss))
      total = g.add(entropy, z_loss)
      self._mask_ids(unmasked)
      return total

  def _mask_ids(self, logits: Tensor) -> Tensor:
    """switch_zoo.mesh.vocabulary.masked"""
    g, config = self._g, self._config
    if config.num_target_ids == config.target_vocab_size:
      return logits
    vocab = logits.axes[-1:]
    real = g.cast(g.compare(g.source(vocab, INT32)), FLOAT32)
    mask = g.scaled(g.subtract(g.source((), FLOAT32), real))
    return g.add(logits, g.cast(mask, logits.dtype))
