"""Figure 7 of the Switch paper: experts help in every language."""

import statistics

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Budget, Experiment, Runs, dense, switch


def judge(runs: Runs) -> list[str]:
  """The gain of each language, and whether all are above 0."""
  ends = [runs[arm][0]['curve'][-1].get('tasks') for arm in ('dense', 'switch_32') if runs.get(arm)]
  if len(ends) < 2 or None in ends:
    return [curves.verdict(None, 'one of the two was not run, or there is one language only.')]
  gains = {task.rpartition('_')[2]: ends[0][task] - ends[1][task] for task in sorted(ends[0])}
  text = ', '.join(f'{name} {gain:+.3f}' for name, gain in sorted(gains.items(), key=lambda item: -item[1]))
  better = sum(gain > 0 for gain in gains.values())
  head = f'{better} of {len(gains)} languages gain, {statistics.mean(gains.values()):+.3f} nats on average'
  return [curves.verdict(better == len(gains), f'{head}: {text}.')]


EXPERIMENT = Experiment(
  claim='Switch has a lower loss than the dense model in every language',
  arms=(dense(), switch(32)),
  judge=judge,
  # The held-out loss of each of the languages takes a while: few sequences of each, and seldom.
  budget=Budget(task='zoo_local_text_languages', eval_every=500, eval_examples=128),
  seeds=(0,),
)
