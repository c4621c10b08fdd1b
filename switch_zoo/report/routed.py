"""The forward pass: which experts took each token, in every sparse layer.

N tokens of all texts, padding left out  E experts  K choices of a token
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from switch_zoo import interrupts, work_progress
from switch_zoo.keras.experts import SwitchFeedForward
from switch_zoo.keras.model import SwitchTransformer
from switch_zoo.keras.routing import Choices
from switch_zoo.report import texts

STACKS = ('encoder', 'decoder')


@dataclasses.dataclass(frozen=True)
class RoutedLayer:
  """What a layer's router did.

  probabilities: <float32>[N, E]
  experts: <int32>[N, K]
  """

  probabilities: np.ndarray
  experts: np.ndarray


@dataclasses.dataclass(frozen=True)
class RoutedTokens:
  """The tokens of one stack.

  ids: <int32>[N]
  domain: <int32>[N]
  sequence: <int32>[N]
  layers: scope ('encoder/block_000/layer_003/MoE1D') -> RoutedLayer, in order
  """

  ids: np.ndarray
  domain: np.ndarray
  sequence: np.ndarray
  layers: Mapping[str, RoutedLayer]


def route(model: SwitchTransformer, pairs: Sequence[texts.TextPair], batch_size: int = 16) -> dict[str, RoutedTokens]:
  """Runs the model on texts, with room for every token.

  Args:
    model: with its weights
    pairs: the texts
    batch_size: of the forward pass
  Returns:
    encoder and decoder -> RoutedTokens
  """
  kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
  tokens: dict[str, list[np.ndarray]] = {stack: [] for stack in STACKS}
  starts = range(0, len(pairs), batch_size)
  for start in work_progress.counted(starts, 'Routing', 'batches', len(starts)):
    interrupts.check()
    batch = pairs[start : start + batch_size]
    inputs, targets = _padded([pair.inputs for pair in batch]), _padded([texts.shifted(p.targets) for p in batch])
    masks = {
      'encoder': _real([len(p.inputs) for p in batch], inputs),
      'decoder': _real([len(p.targets) for p in batch], targets),
    }
    with _watched(model) as seen:
      model({'encoder_input_tokens': tf.constant(inputs), 'decoder_input_tokens': tf.constant(targets)})
    for scope, (probabilities, experts) in seen.items():
      mask = masks[scope.partition('/')[0]].reshape(-1)
      flat = lambda array, mask=mask: array.reshape(mask.size, -1)[mask]
      kept.setdefault(scope, []).append((flat(probabilities), flat(experts)))
    rows = np.arange(start, start + len(batch), dtype=np.int32)
    domains = np.array([pair.domain for pair in batch], np.int32)
    for stack, ids in (('encoder', inputs), ('decoder', targets)):
      columns = [ids, np.broadcast_to(domains[:, None], ids.shape), np.broadcast_to(rows[:, None], ids.shape)]
      tokens[stack].append(np.stack([column[masks[stack]] for column in columns]))
  return {stack: _joined(stack, tokens[stack], kept) for stack in STACKS}


def _joined(
  stack: str, tokens: Sequence[np.ndarray], kept: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]
) -> RoutedTokens:
  layers = {
    scope: RoutedLayer(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    for scope, batches in kept.items()
    if scope.startswith(f'{stack}/')
  }
  ids, domain, sequence = np.concatenate(tokens, axis=1)
  return RoutedTokens(ids, domain, sequence, layers)


@contextlib.contextmanager
def _watched(model: SwitchTransformer) -> Iterator[dict[str, tuple[np.ndarray, np.ndarray]]]:
  """Within, each sparse layer that is called adds its scope -> probabilities and experts of the batch."""
  seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
  layers = dict(sparse_layers(model))

  def watcher(scope: str) -> Callable[[tf.Tensor, Choices], None]:
    def watch(probabilities: tf.Tensor, choices: Choices) -> None:
      seen[scope] = (probabilities.numpy(), choices.expert.numpy())

    return watch

  for scope, layer in layers.items():
    layer.watch = watcher(scope)
  try:
    yield seen
  finally:
    for layer in layers.values():
      layer.watch = None


def sparse_layers(model: SwitchTransformer) -> Iterator[tuple[str, SwitchFeedForward]]:
  """The scope of each sparse layer, and the layer."""
  for stack in (model.encoder, model.decoder):
    for block in stack.names:
      for name, sublayer in zip(getattr(stack, block).names, getattr(stack, block).sublayers, strict=True):
        if isinstance(sublayer.layer, SwitchFeedForward):
          yield f'{stack.name}/{block}/{name}/{sublayer.scope}', sublayer.layer


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
  length = max(map(len, rows))
  return np.array([[*row, *[0] * (length - len(row))] for row in rows], np.int32)


def _real(lengths: Sequence[int], ids: np.ndarray) -> np.ndarray:
  """<bool>[B, T], False for padding."""
  return np.arange(ids.shape[1])[None, :] < np.array(lengths)[:, None]
