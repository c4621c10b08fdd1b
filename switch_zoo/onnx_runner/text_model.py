"""An ONNX export that answers texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from switch_zoo.errors import UserError
from switch_zoo.onnx_runner import folder, searching, text_ids
from switch_zoo.onnx_runner.sessions import Graphs
from switch_zoo.onnx_runner.settings import AnswerSettings
from switch_zoo.spec.token_ids import END


class OnnxTextModel:
  """Text to text.

  facts: of the export
  settings: how it answers; at first as it was exported
  """

  def __init__(self, path: str, threads: int | None = None, every_byte: bool = False) -> None:
    """
    Args:
      path: the folder of the version
      threads: as in `Graphs`
      every_byte: as in `folder.check`
    Raises:
      UserError: a file is missing, damaged, or of another program
    """
    self.facts = folder.read_facts(path)
    folder.check(path, every_byte)
    self.settings: AnswerSettings = self.facts.settings
    self._texts = text_ids.read(path)
    self._graphs = Graphs(path, self.facts, threads)

  def answer(self, inputs: Sequence[bytes]) -> dict[str, Any]:
    """Answers to texts.

    Args:
      inputs: texts in UTF-8
    Returns:
      outputs [batch], scores <float32>[batch]; with N answers to each input both have an axis of N, and a beam search
      adds beam_scores
    """
    n = self.settings.num_return_sequences
    if not inputs:
      return self._named([], np.zeros([0, n], np.float32), np.zeros([0, n], np.float32) if self.settings.beam else None)
    answers = searching.answer(self._graphs, self._ids(inputs), self.settings)
    outputs = [self.decoded(rows) for rows in answers.ids]
    return self._named(outputs, answers.scores, answers.beam_scores)

  def score(self, inputs: Sequence[bytes], targets: Sequence[bytes]) -> dict[str, Any]:
    """Log-probabilities of targets: scores <float32>[batch].

    Raises:
      UserError: there are not as many targets as inputs
    """
    if len(inputs) != len(targets):
      raise UserError(f'{len(inputs)} inputs and {len(targets)} targets: give one target for each input.')
    lengths = [len(target) for target in targets]
    order, scores = np.argsort(lengths, kind='stable'), np.zeros([len(inputs)], np.float32)
    start = 0
    while start < len(order):
      # Logits of some targets at a time: a token has as many as the vocabulary.
      stop = start + 1
      while stop < len(order) and (stop + 1 - start) * (lengths[order[stop]] + 1) <= searching.TOKENS_AT_ONCE:
        stop += 1
      rows = order[start:stop]
      columns = ([texts[row] for row in rows] for texts in (inputs, targets))
      scores[rows] = searching.score(self._graphs, *map(self._ids, columns))
      start = stop
    return {'scores': scores}

  def greedy(self, inputs: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Greedy answers, whatever the settings say: ids <int64>[batch, length] and scores <float32>[batch]."""
    answers = searching.sample(self._graphs, self._ids(inputs), AnswerSettings(self.settings.max_new_tokens))
    return answers.ids[:, 0], answers.scores[:, 0]

  def decoded(self, ids: np.ndarray) -> list[str]:
    """Answers as texts. <int64>[batch, length]"""
    return [self._texts.decode(row) for row in ids.tolist()]

  def predicted(self, inputs: Sequence[bytes], targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most likely token at each place of targets, given those before it, and the targets' scores.

    Args:
      inputs: texts
      targets: <int64>[batch, length], padding after the end
    Returns:
      <int64>[batch, length], <float32>[batch]
    """
    return searching.predicted(self._graphs, self._ids(inputs), targets)

  def _ids(self, texts: Sequence[bytes]) -> np.ndarray:
    """<int64>[batch, length], each with its end; a text that is too long is cut before it."""
    rows = [[*self._texts.encode(text)[: self.settings.max_input_tokens - 1], END] for text in texts]
    ids = np.zeros([len(rows), max(map(len, rows))], np.int64)
    for row, numbers in zip(ids, rows, strict=True):
      row[: len(numbers)] = numbers
    return ids

  def _named(self, outputs: list[list[str]], scores: np.ndarray, beam_scores: np.ndarray | None) -> dict[str, Any]:
    if self.settings.num_return_sequences == 1:
      return {'outputs': [row[0] for row in outputs], 'scores': scores[:, 0]}
    answers = {'outputs': outputs, 'scores': scores}
    return answers if beam_scores is None else {**answers, 'beam_scores': beam_scores}
