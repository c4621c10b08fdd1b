"""Figures of finished runs: final losses over seeds, and the steps after which one arm has the loss of another."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.experiments.settings import Run, Runs


def final(run: Run) -> float:
  """The held-out loss after the last step, in nats per token; infinite if it is not a number."""
  loss = run['curve'][-1]['loss']
  return math.inf if loss is None or math.isnan(loss) else loss


def lowest(run: Run) -> float:
  """The lowest held-out loss on the way; infinite if there is none."""
  losses = (point['loss'] for point in run['curve'])
  return min((loss for loss in losses if loss is not None and not math.isnan(loss)), default=math.inf)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
  """Mean, and standard deviation of a sample (0 of one value)."""
  return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def finals(runs: Runs, arm: str) -> list[float]:
  """The final losses of an arm, one per seed."""
  return [final(run) for run in runs.get(arm, ())]


def reached(run: Run, loss: float) -> float | None:
  """The step after which a run has a loss, on the straight line between two measurements; None: never.

  >>> reached({'curve': [{'step': 10, 'loss': 3.0}, {'step': 20, 'loss': 2.0}]}, 2.5)
  15.0
  """
  before = None
  for point in run['curve']:
    if point['loss'] is not None and point['loss'] <= loss:
      if before is None:
        return float(point['step'])
      share = (before['loss'] - loss) / (before['loss'] - point['loss'])
      return before['step'] + share * (point['step'] - before['step'])
    before = point
  return None


def table(runs: Runs) -> str:
  """Arm, seeds, steps, tokens, final loss, seconds of a step: a table in Markdown."""
  lines = [
    '| arm | seeds | steps | tokens | held-out loss, nats per token | s a step |',
    '| --- | ---: | ---: | ---: | --- | ---: |',
  ]
  for arm, of_arm in runs.items():
    if not of_arm:
      continue
    steps = of_arm[0]['curve'][-1]['step']
    tokens = steps * of_arm[0]['tokens_per_step'] / 1e6
    seconds = statistics.median([run['seconds_per_step'] or math.nan for run in of_arm])
    lines.append(f'| {arm} | {len(of_arm)} | {steps:,} | {tokens:.1f}M | {shown(finals(runs, arm))} | {seconds:.3f} |')
  return '\n'.join(lines)


def shown(values: Sequence[float]) -> str:
  """'1.8312 +- 0.0040 (1.8271 1.8352)'; of one value itself."""
  if not values:
    return 'not run'
  if len(values) == 1:
    return f'{values[0]:.4f}'
  mean, deviation = mean_and_deviation(values)
  return f'{mean:.4f} +- {deviation:.4f} ({" ".join(f"{value:.4f}" for value in values)})'


def against(runs: Runs, arm: str, baseline: str) -> list[str]:
  """Of each seed: after which share of its steps and seconds an arm has the final loss of a baseline."""
  sentences = []
  by_seed = {run['seed']: run for run in runs.get(baseline, ())}
  for run in runs.get(arm, ()):
    other = by_seed.get(run['seed'])
    if other is None:
      continue
    target, steps = final(other), other['curve'][-1]['step']
    step = reached(run, target)
    head = f'{arm}, seed {run["seed"]}: final loss {final(run):.4f}, {baseline} {target:.4f}; '
    if step is None:
      sentences.append(f'{head}it never has the loss of {baseline}')
      continue
    slower = (run['seconds_per_step'] or math.nan) / (other['seconds_per_step'] or math.nan)
    sentences.append(
      f'{head}it has the loss of {baseline} after {step:,.0f} of {steps:,} steps ({step / steps:.2f}), '
      f'which is {step / steps * slower:.2f} of its seconds (a step takes {slower:.2f} times as long)'
    )
  return sentences


def share_of_steps(runs: Runs, arm: str, baseline: str) -> list[float]:
  """Of each seed that both have: the share of the baseline's steps after which an arm has its loss; inf: never."""
  by_seed = {run['seed']: run for run in runs.get(baseline, ())}
  pairs = [(run, by_seed[run['seed']]) for run in runs.get(arm, ()) if run['seed'] in by_seed]
  steps = [(reached(run, final(other)), other['curve'][-1]['step']) for run, other in pairs]
  return [math.inf if step is None else step / of for step, of in steps]


def extreme(losses: Mapping[str, Sequence[float]], arm: str, choose: Callable[..., str], text: str) -> str:
  """Whether an arm has the lowest (`min`) or the highest (`max`) loss of all, with the first seed."""
  chosen = choose(losses, key=lambda name: losses[name][0]) == arm if all(losses.values()) else None
  return verdict(chosen, f'{text}.')


def verdict(came_out: bool | None, text: str) -> str:
  """'The claim came out: ...', '... did not come out: ...' or '... is not decided: ...'."""
  words = {True: 'came out', False: 'did not come out', None: 'is not decided'}
  return f'The claim {words[came_out]}: {text}'
