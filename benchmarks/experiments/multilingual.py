"""Figure 7 of the Switch paper: experts help in every language."""

import pathlib
import statistics

from benchmarks.experiments import curves, drawing
from benchmarks.experiments.settings import Budget, Experiment, Runs, dense, switch


def gains(runs: Runs) -> dict[str, float]:
  """Language -> by how much the loss with experts is lower at the end, first seed, the largest gain first."""
  ends = [runs[arm][0]['curve'][-1].get('tasks') for arm in ('dense', 'switch_32') if runs.get(arm)]
  if len(ends) < 2 or None in ends:
    return {}
  of_task = {task.rpartition('_')[2]: ends[0][task] - ends[1][task] for task in sorted(ends[0])}
  return dict(sorted(of_task.items(), key=lambda item: -item[1]))


def judge(runs: Runs) -> list[str]:
  """The gain of each language, and whether all are above 0."""
  of_language = gains(runs)
  if not of_language:
    return [curves.verdict(None, 'one of the two was not run, or there is one language only.')]
  text = ', '.join(f'{name} {gain:+.3f}' for name, gain in of_language.items())
  better = sum(gain > 0 for gain in of_language.values())
  head = f'{better} of {len(of_language)} languages gain, {statistics.mean(of_language.values()):+.3f} nats on average'
  return [curves.verdict(better == len(of_language), f'{head}: {text}.')]


def draw(runs: Runs, title: str, path: pathlib.Path) -> None:
  """The gain of each language as a bar; as long as there is none, the curves."""
  of_language = gains(runs)
  if not of_language:
    return drawing.draw(runs, title, path)
  with drawing.figure(title, path) as (axis,):
    axis.bar(list(of_language), list(of_language.values()))
    axis.set_ylabel('dense - 32 experts, nats per token')
    axis.axhline(0, color='black', linewidth=0.8)
    axis.grid(axis='y', alpha=0.3)


EXPERIMENT = Experiment(
  claim='Switch has a lower loss than the dense model in every language',
  arms=(dense(), switch(32)),
  judge=judge,
  # The held-out loss of each of the languages takes a while: few sequences of each, and seldom.
  budget=Budget(task='zoo_local_text_languages', eval_every=500, eval_examples=128),
  seeds=(0,),
  draw=draw,
)
