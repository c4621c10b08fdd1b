"""Greedy answers, samples and beam searches, in NumPy around the graph of the decoder; and scores.

The rules are those of `keras.sampling`, `keras.beam_search` and `keras.scoring`, which say more about them.

B batch  S input tokens  T targets  K beams  L length of the hypotheses  N answers for each input  V vocabulary
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from switch_zoo.onnx_runner.beam_rules import BeamRule
from switch_zoo.onnx_runner.drawing import IMPOSSIBLE, Sampling
from switch_zoo.onnx_runner.processors import LogitsProcessors
from switch_zoo.onnx_runner.sessions import Decoding, Graphs
from switch_zoo.onnx_runner.settings import AnswerSettings
from switch_zoo.spec.token_ids import PADDING

# Tokens whose logits are in memory at a time when targets are scored.
TOKENS_AT_ONCE = 512


class Answers(NamedTuple):
  """Answers to B inputs, N for each.

  ids: <int64>[B, N, length], padding after the end
  scores: <float32>[B, N], log-probability under the model itself, natural logarithm
  beam_scores: <float32>[B, N], what a beam search ranked them by, best first; None without a beam search
  """

  ids: np.ndarray
  scores: np.ndarray
  beam_scores: np.ndarray | None = None


def answer(graphs: Graphs, ids: np.ndarray, settings: AnswerSettings) -> Answers:
  """Answers to inputs, <int64>[B, S], by beam search, by sampling or greedily, as the settings say."""
  if settings.beam:
    return beam_search(graphs, ids, settings.beam, settings)
  return sample(graphs, ids, settings)


def sample(graphs: Graphs, ids: np.ndarray, settings: AnswerSettings) -> Answers:
  """Greedy answers or samples; stops when all have ended. <int64>[B, S]"""
  n, end_id = settings.num_return_sequences, graphs.facts.end_id
  rows, sampling = len(ids) * n, settings.sampling or Sampling()
  generator = np.random.default_rng(settings.seed)
  decoding = Decoding(graphs, graphs.encode(ids, n), rows)
  answers, scores = np.zeros([rows, 0], np.int64), np.zeros([rows], np.float32)
  alive, last = np.ones([rows], bool), np.full([rows], PADDING)
  for position in range(settings.max_new_tokens):
    logits, normalizers = (part[:, 0] for part in decoding.read(last[:, None], position))
    drawn = sampling.draw(settings.processors.apply(logits, answers, end_id), generator)
    # Under the model itself, whatever processors and sampling made of its logits.
    scores += np.where(alive, logits[np.arange(rows), drawn] - normalizers, 0)
    last = np.where(alive, drawn, PADDING)
    answers = np.concatenate([answers, last[:, None]], 1)
    alive &= last != end_id
    if not alive.any():
      break
  return Answers(answers.reshape(len(ids), n, -1), scores.reshape(len(ids), n))


@dataclasses.dataclass
class Hypotheses:
  """The state of a search between two steps, each list best first; as in `keras.beam_search`.

  alive: <int64>[B, K, L], without an end; with alive_scores and alive_logs, <float32>[B, K]
  finished: <int64>[B, K, L], with an end and padding after it; with finished_scores and finished_logs
  is_open: <bool>[B], whether the search for this input is to continue
  """

  alive: np.ndarray
  alive_scores: np.ndarray
  alive_logs: np.ndarray
  finished: np.ndarray
  finished_scores: np.ndarray
  finished_logs: np.ndarray
  is_open: np.ndarray


class Extensions(NamedTuple):
  """The best 2K hypotheses of one more token, best first, all of [B, 2K] but ids <int64>[B, 2K, L]."""

  ids: np.ndarray
  scores: np.ndarray
  logs: np.ndarray
  parents: np.ndarray


def beam_search(graphs: Graphs, ids: np.ndarray, beam: BeamRule, settings: AnswerSettings) -> Answers:
  """The best hypotheses that a beam search finds. <int64>[B, S]"""
  batch, k, end_id = len(ids), beam.size, graphs.facts.end_id
  decoding = Decoding(graphs, graphs.encode(ids, k), batch * k)
  state, last = _start(batch, k), np.full([batch * k], PADDING)
  for length in range(1, settings.max_new_tokens + 1):
    logits, normalizers = (part[:, 0] for part in decoding.read(last[:, None], length - 1))
    extensions = _extended(settings.processors, k, state, logits - normalizers[:, None], end_id)
    parents = _choose(beam, length, settings.max_new_tokens, state, extensions, end_id)
    if not state.is_open.any():
      break
    decoding.reorder(parents, length)
    last = state.alive[:, :, -1].ravel()
  return _best(beam, state, settings.num_return_sequences)


def _start(batch: int, k: int) -> Hypotheses:
  """One empty hypothesis for each input; the others are IMPOSSIBLE."""
  empty = np.zeros([batch, k, 0], np.int64)
  first = np.tile(np.array([0] + [IMPOSSIBLE] * (k - 1), np.float32), [batch, 1])
  none = np.full([batch, k], IMPOSSIBLE)
  return Hypotheses(empty, first, first, empty, none, none, np.ones([batch], bool))


def _extended(processors: LogitsProcessors, k: int, state: Hypotheses, logs: np.ndarray, end_id: int) -> Extensions:
  """The best extensions of the unfinished hypotheses. logs: <float32>[B * K, V], log-probabilities"""
  batch, vocabulary = len(state.alive), logs.shape[1]
  processed = processors.apply(logs, state.alive.reshape(batch * k, -1), end_id)
  as_rows = lambda values, sums: (values.reshape(batch, k, vocabulary) + sums[:, :, None]).reshape(batch, -1)
  candidates = as_rows(processed, state.alive_scores)
  scores, index = top(candidates, 2 * k)
  sums = scores if processed is logs else np.take_along_axis(as_rows(logs, state.alive_logs), index, 1)
  parents = index // vocabulary
  ids = np.concatenate([_gathered(state.alive, parents), (index % vocabulary)[:, :, None]], 2)
  return Extensions(ids, scores, sums, parents)


def _choose(
  beam: BeamRule, length: int, max_length: int, state: Hypotheses, extensions: Extensions, end_id: int
) -> np.ndarray:
  """Changes the state to the extensions that are kept, and returns the row that each unfinished one continues."""
  k, (ids, scores, logs, parents) = beam.size, extensions
  ended = beam.ended(ids[:, :, -1] == end_id, length, max_length)
  penalized = np.where(beam.finishing(ended, state.is_open), scores / np.float32(beam.penalty(length)), IMPOSSIBLE)
  finished = np.concatenate([np.pad(state.finished, [(0, 0), (0, 0), (0, 1)]), ids], 1)
  finished_logs = np.concatenate([state.finished_logs, logs], 1)
  state.finished_scores, best = top(np.concatenate([state.finished_scores, penalized], 1), k)
  state.finished, state.finished_logs = _gathered(finished, best), _gathered(finished_logs, best)
  state.alive_scores, best = top(np.where(ended, IMPOSSIBLE, scores), k)
  state.alive, state.alive_logs, parents = (_gathered(part, best) for part in (ids, logs, parents))
  worst = state.finished_scores.min(1)
  state.is_open &= beam.still_open(length, max_length, state.alive_scores[:, 0], worst, worst > IMPOSSIBLE / 2)
  return (parents + k * np.arange(len(ids))[:, None]).ravel()


def _best(beam: BeamRule, state: Hypotheses, count: int) -> Answers:
  """The best finished hypotheses of each input; unfinished ones only where fewer have finished."""
  num_finished = (state.finished_scores > IMPOSSIBLE / 2).sum(1, keepdims=True)
  place = np.arange(count)[None]
  index = np.where(place < num_finished, place, beam.size + place - num_finished)
  penalty = np.float32(beam.penalty(state.alive.shape[2]))
  joined = (
    np.concatenate([state.finished, state.alive], 1),
    np.concatenate([state.finished_logs, state.alive_logs], 1),
    np.concatenate([state.finished_scores, state.alive_scores / penalty], 1),
  )
  return Answers(*(_gathered(part, index) for part in joined))


def top(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
  """The k largest of each row and where they are, best first, of equal ones the first. <float32>[B, any]"""
  index = np.arange(values.shape[1])[None].repeat(len(values), 0)
  if k < values.shape[1]:
    index = np.sort(np.argpartition(-values, k - 1, 1)[:, :k], 1)
  chosen = np.take_along_axis(values, index, 1)
  order = np.argsort(-chosen, 1, kind='stable')[:, :k]
  return np.take_along_axis(chosen, order, 1), np.take_along_axis(index, order, 1)


def _gathered(values: np.ndarray, index: np.ndarray) -> np.ndarray:
  """Rows of each input. [B, any, ...], <int>[B, N] -> [B, N, ...]"""
  return values[np.arange(len(values))[:, None], index]


def score(graphs: Graphs, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Log-probabilities of targets, natural logarithm. <int64>[B, S], <int64>[B, T], padded -> <float32>[B]"""
  return predicted(graphs, inputs, targets)[1]


def predicted(graphs: Graphs, inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The most likely tokens, each given the targets before it, and the targets' log-probabilities.

  Args:
    graphs: Graphs
    inputs: <int64>[B, S]
    targets: <int64>[B, T], padding after the end
  Returns:
    <int64>[B, T], <float32>[B]
  """
  before = np.pad(targets, [(0, 0), (1, 0)])[:, :-1]
  logits, normalizers = graphs.decode(before, graphs.encode(inputs))
  logs = np.take_along_axis(logits, targets[:, :, None], 2)[:, :, 0] - normalizers
  return logits.argmax(2), np.where(targets != PADDING, logs, 0).sum(1)
