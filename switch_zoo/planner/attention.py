"""The attention sublayers of the models, as a graph without values. See `tensors`."""

from switch_zoo.planner.tensors import BOOL, FLOAT32, INT32, Axes, Graph, Tensor
from switch_zoo.spec.shape import ModelShape


class Attention:
  """Self-attention of one stack, or the decoder's attention to the encoder.

  Source: mesh_tensorflow.transformer.transformer_layers.SelfAttention and EncDecAttention, attention.attention, with
  relative positions that the first layer of a stack learns for all.
  """

  def __init__(self, graph: Graph, config: ModelShape, dtype: str, stack: str) -> None:
    self._graph = graph
    self._config = config
    self._dtype = dtype
    self._stack = stack
    self._heads = ('heads', config.num_heads)
    self._d_kv = ('d_kv', config.d_kv)
    self._bias_weights: Tensor | None = None
    self._first_bias: tuple[Tensor, Tensor] | None = None

  def over_itself(self, scope: str, x: Tensor, sequence_ids: Tensor, position: Tensor) -> Tensor:
    """Self-attention. x: [batch..., length, d_model] -> same"""
    g = self._graph
    weights = self._weights(scope)
    q = self._project(x, weights['q'])
    memory = g.reshape(x, x.renamed('length', 'memory_length'))
    k, v = (self._project(memory, weights[name]) for name in ('k', 'v'))
    bias = self._bias(scope, sequence_ids, position)
    return self._attend(q, k, v, bias, weights['o'])

  def over_encoder(self, scope: str, x: Tensor, memory: Tensor, sequence_ids: Tensor, encoder_ids: Tensor) -> Tensor:
    """Attention to the encoder's output. x: [batch..., length, d_model] -> same"""
    weights = self._weights(scope)
    q = self._project(x, weights['q'])
    k, v = (self._project(memory, weights[name]) for name in ('k', 'v'))
    return self._attend(q, k, v, self._visible(sequence_ids, encoder_ids), weights['o'])

  def _weights(self, scope: str) -> dict[str, Tensor]:
    inner = ('heads', self._config.num_heads * self._config.d_kv)
    into: Axes = (('d_model', self._config.d_model), inner)
    shapes = {'q': into, 'k': into, 'v': into, 'o': into[::-1]}
    return {name: self._graph.variable(f'{scope}/{name}', axes, self._dtype) for name, axes in shapes.items()}

  def _project(self, x: Tensor, weights: Tensor) -> Tensor:
    g = self._graph
    with g.section('projections'):
      y = g.einsum([x, weights], (*x.without('d_model'), weights.axes[1]))
      return g.reshape(y, (*y.without('heads'), self._heads, self._d_kv))

  def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, o: Tensor) -> Tensor:
    g = self._graph
    with g.section('attention'):
      k, q = g.cast(k, FLOAT32), g.cast(q, FLOAT32)
      memory_length = next(axis for axis in k.axes if axis[0] == 'memory_length')
      logits = g.einsum([q, k], (*q.without('d_kv'), memory_length))
      logits = g.add(logits, g.cast(bias, FLOAT32))
      weights = g.cast(softmax(g, logits, 'memory_length'), v.dtype)
      weights = dropout(g, weights, self._config.dropout_rate, weights.without('length'))
      y = g.einsum([weights, v], (*q.without('d_kv'), self._d_kv))
      y = g.reshape(y, y.axes)
      y = g.einsum([y], y.axes)
    with g.section('projections'):
      y = g.reshape(y, (*y.without('heads', 'd_kv'), o.axes[0]))
      return g.einsum([y, o], (*y.without('heads'), o.axes[1]))

  def _visible(self, ids: Tensor, memory_ids: Tensor) -> Tensor:
    """0 where a position may be seen, a large negative number elsewhere."""
    g = self._graph
    hidden = g.pointwise([g.compare(ids, memory_ids)])
    return g.scaled(g.cast(hidden, self._dtype))

  def _bias(self, scope: str, sequence_ids: Tensor, position: Tensor) -> Tensor:
    g = self._graph
    memory_position = g.reshape(position, position.renamed('length', 'memory_length'))
    distance = g.add(memory_position, g.negative(position))
    biases = []
    if self._stack == 'decoder':
      biases.append(self._visible(position, g.reshape(position, position.renamed('length', 'memory_length'))))
    memory_ids = g.reshape(sequence_ids, sequence_ids.renamed('length', 'memory_length'))
    biases.append(self._visible(sequence_ids, memory_ids))
    if self._config.relative_attention_num_buckets:
      biases.append(self._relative(scope, self._bucket(distance)))
    total = biases[0]
    for bias in biases[1:]:
      total = g.add(total, bias)
    return total

  def _relative(self, scope: str, bucket: Tensor) -> Tensor:
    g = self._graph
    buckets = ('buckets', self._config.relative_attention_num_buckets)
    if self._bias_weights is None:
      self._bias_weights = g.variable(f'{scope}/relative_attention_bias', (self._heads, buckets), self._dtype)
    one_hot = g.source((*bucket.axes, buckets), self._dtype, [bucket])
    bias = g.einsum([one_hot, self._bias_weights], (*bucket.axes, self._heads))
    # Every layer computes what the first one did.
    if self._first_bias is None:
      self._first_bias = one_hot, bias
    for x, earlier in zip((one_hot, bias), self._first_bias, strict=True):
      if x is not earlier:
        g.same(x, earlier)
    return bias

  def _bucket(self, distance: Tensor) -> Tensor:
    """The bucket of a distance. [memory_length, length] -> same. Integers: nothing has a gradient here."""
    g = self._graph
    n = g.pointwise([distance])
    if self._stack == 'encoder':
      side = g.pointwise([g.compare(n)], dtype=INT32)
      n = g.multiply(n, g.pointwise([n]))
    else:
      side = None
      n = g.at_least(n)
    near = g.compare(n)
    far = g.at_least(g.pointwise([n]))
    one, other = (g.pointwise([near], dtype=INT32) for _ in range(2))
    bucket = g.add(g.multiply(one, n), g.multiply(other, far))
    return bucket if side is None else g.add(side, bucket)


def softmax(g: Graph, x: Tensor, axis: str) -> Tensor:
  """mtf.softmax: exponentials of log-probabilities."""
  return g.exp(g.subtract(x, logsumexp(g, x, axis)))


def logsumexp(g: Graph, x: Tensor, axis: str) -> Tensor:
  """mtf.reduce_logsumexp. [..., axis] -> [...]"""
  reduced = x.without(axis)
  largest = g.maximum(g.stop(x), reduced)
  total = g.sum(g.exp(g.subtract(x, largest)), reduced)
  return g.add(g.log(total), largest)


def dropout(g: Graph, x: Tensor, rate: float, noise_axes: Axes | None = None) -> Tensor:
  """mtf.dropout, whose noise is the same along the axes that `noise_axes` does not have."""
  if not rate:
    return x
  noise = g.noise(x.axes if noise_axes is None else noise_axes, x.dtype)
  kept = g.pointwise([g.cast(g.pointwise([noise], dtype=BOOL), x.dtype)])
  return g.multiply(x, kept)
