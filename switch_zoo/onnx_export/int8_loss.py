"""What int8 changes, against the same export in float32, on texts.

T tokens of an answer
"""

from collections.abc import Sequence

import numpy as np

from switch_zoo.onnx_runner.text_model import OnnxTextModel
from switch_zoo.spec.token_ids import PADDING

TEXTS_AT_ONCE = 16


def measure(
  int8: OnnxTextModel, float32: OnnxTextModel, texts: Sequence[bytes], targets: Sequence[str] = ()
) -> dict[str, float]:
  """Compares greedy answers token by token, each given the float32 tokens before it, and scores.

  Args:
    int8, float32: the two exports
    texts: the sample
    targets: what the answers to them should be; empty: nobody knows
  Returns:
    texts: their number; same_tokens and same_answers: shares from 0 to 1; score_difference: of the scores of the
    float32 answers, the mean of its absolute values; with targets also int8_matches and float32_matches: shares of the
    greedy answers that are the target
  """
  same, num_tokens, same_answers, differences = 0, 0, 0, []
  for start in range(0, len(texts), TEXTS_AT_ONCE):
    batch = texts[start : start + TEXTS_AT_ONCE]
    expected, scores = float32.greedy(batch)
    predicted, int8_scores = int8.predicted(batch, expected)
    real = expected != PADDING
    same += int((predicted == expected)[real].sum())
    num_tokens += int(real.sum())
    # An answer of the other is the same if all its tokens are, given those before.
    same_answers += int((predicted == expected).all(1, where=real).sum())
    differences += np.abs(int8_scores - scores).tolist()
  loss = {
    'texts': len(texts),
    'same_tokens': same / max(num_tokens, 1),
    'same_answers': same_answers / len(texts),
    'score_difference': float(np.mean(differences)),
  }
  if targets:
    loss |= {'int8_matches': _matches(int8, texts, targets), 'float32_matches': _matches(float32, texts, targets)}
  return loss


def _matches(model: OnnxTextModel, texts: Sequence[bytes], targets: Sequence[str]) -> float:
  """The share of greedy answers that are the target."""
  matches = 0
  for start in range(0, len(texts), TEXTS_AT_ONCE):
    rows = slice(start, start + TEXTS_AT_ONCE)
    answers = model.decoded(model.greedy(texts[rows])[0])
    matches += sum(answer == target for answer, target in zip(answers, targets[rows], strict=True))
  return matches / len(texts)
