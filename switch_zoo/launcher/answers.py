"""Answers and scores as text files.

On this TensorFlow the released model decodes ids to text inside the graph, while the released writers still expect ids:
they write Python's `b'...'` for an answer and fail on scores.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import tensorflow.compat.v1 as tf

from switch_zoo.launcher import run_state


def as_text(decode: Callable[..., Iterable[bytes | str]]) -> Callable[..., Iterator[str]]:
  """`mesh_utils.decode` whose answers are text of one line each."""

  @functools.wraps(decode)
  def decode_text(*args: Any, **kwargs: Any) -> Iterator[str]:
    for answer in decode(*args, **kwargs):
      yield one_line(answer)

  return decode_text


def without_mark(get_inputs: Callable[..., list[str]]) -> Callable[..., list[str]]:
  """`mesh_utils.get_inputs_from_file` whose first line has no byte order mark, and that says how many there are."""

  @functools.wraps(get_inputs)
  def get(*args: Any, **kwargs: Any) -> list[str]:
    lines = [line.removeprefix('\ufeff') for line in get_inputs(*args, **kwargs)]
    run_state.current().examples = len(lines)
    return lines

  return get


def one_line(text: bytes | str) -> str:
  """Text on one line: an answer is one line of its file, whatever the model wrote."""
  return ' '.join(tf.compat.as_text(text, 'utf-8').splitlines()) if text else ''


@gin.configurable('save_scores', module='launcher')  # pyright: ignore[reportCallIssue] - gin has no types
def save_scores(
  results: Iterable[Mapping[str, Any]], vocabulary: Any, scores_filename: str | None = None
) -> tuple[list[float], list[str]]:
  """Writes <scores_filename>.scores and .targets, a line for each example, in the order of the inputs.

  Args:
    results: of each example `scores` (<float32>[], natural logarithm) and `targets` (text, or <int32>[length])
    vocabulary: of the inputs and the targets
    scores_filename: None writes nothing
  Returns:
    scores and targets, two lists
  """
  results = list(results)
  decode = mesh_utils.targets_vocabulary(vocabulary).decode
  text = lambda target: target if isinstance(target, (bytes, str)) else decode([abs(int(i)) for i in target])
  scores = [float(result['scores']) for result in results]
  targets = [one_line(text(result['targets'])) for result in results]
  if scores_filename is not None:
    mesh_utils.write_lines_to_file([f'{score:.6f}' for score in scores], scores_filename + '.scores')
    mesh_utils.write_lines_to_file(targets, scores_filename + '.targets')
  return scores, targets
