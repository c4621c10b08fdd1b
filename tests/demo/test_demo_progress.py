"""What is shown and kept while a model trains."""

import dataclasses
import io
import json

import numpy as np
from rich.console import Console

from switch_zoo.demo import progress
from switch_zoo.launcher.progress import StepReport

LAYER = 'encoder/block_000/layer_003/MoE1D'


def record(step, last_step=4, seconds_left=65.0):
  exported = {f'{LAYER}/load': np.array([0.25, 0.75]), f'{LAYER}/dropped': np.float32(0), 'tokens': np.float32(100)}
  return StepReport(
    step=step,
    last_step=last_step,
    loss=2.5,
    cross_entropy=2.25,
    balance_loss=0.25,
    tokens_per_second=1234.5,
    seconds_left=seconds_left,
    exported=exported,
  )


def watched(curve, terminal, first_step=0, steps=range(1, 5)):
  out = io.StringIO()
  reporter = progress.TrainingProgress(Console(file=out, force_terminal=terminal, width=100), curve)
  reporter.start(first_step, 4)
  for step in steps:
    reporter.step(record(step))
  reporter.finish()
  reporter.finish()
  return out.getvalue()


def test_lines_where_there_is_no_terminal(tmp_path):
  text = watched(tmp_path / 'curve.jsonl', terminal=False)
  assert text.splitlines()[0] == (
    '  step 1/4  loss 2.5000  cross-entropy 2.2500  balance 0.2500  1,234 tokens/s  01:05 left'
  )
  assert '\x1b' not in text and len(text.splitlines()) == 4


def test_a_bar_in_a_terminal(tmp_path):
  text = watched(tmp_path / 'curve.jsonl', terminal=True)
  assert '━' in text and 'loss 2.500  ce 2.250  1,234 tok/s  01:05 left' in text


def test_the_curve_is_kept(tmp_path):
  watched(tmp_path / 'curve.jsonl', terminal=False, steps=[1, 2])
  rows = progress.read_curve(tmp_path / 'curve.jsonl')
  assert [row['step'] for row in rows] == [1, 2]
  assert rows[0]['load'] == {LAYER: [0.25, 0.75]} and rows[0]['cross_entropy'] == 2.25


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path):
  curve = tmp_path / 'curve.jsonl'
  watched(curve, terminal=False, steps=[1, 2, 3])
  curve.write_text(curve.read_text() + '{"step": 4, "los')  # a kill in the middle of a line
  text = watched(curve, terminal=False, first_step=2, steps=[3, 4])
  assert 'resuming after step 2 of 4' in text
  assert [json.loads(line)['step'] for line in curve.read_text().splitlines()] == [1, 2, 3, 4]


def test_figures_that_are_not_known_yet_are_left_out():
  first = dataclasses.replace(record(1, seconds_left=None), cross_entropy=None, tokens_per_second=None)
  assert progress.figures(first) == 'loss 2.500'


def test_no_curve_yet(tmp_path):
  assert progress.read_curve(tmp_path / 'none.jsonl') == []
