"""Table 1 of the Switch paper: one expert per token does as well as two, in less time."""

import math

from benchmarks.experiments import curves
from benchmarks.experiments.settings import DENSE, SWITCH, TOP2, Arm, Experiment, Runs, dense, switch


def judge(runs: Runs) -> list[str]:
  """Losses next to each other, and whether top-2 takes longer to the loss that Switch ends with."""
  if not runs.get('switch_32') or not runs.get('top2_32'):
    return [curves.verdict(None, 'one of the two was not run.')]
  top1, top2 = runs['switch_32'][0], runs['top2_32'][0]
  losses = f'top-1 {curves.final(top1):.4f}, top-2 {curves.final(top2):.4f}'
  step, steps = curves.reached(top2, curves.final(top1)), top1['curve'][-1]['step']
  if step is None:
    return [curves.verdict(True, f'{losses}; top-2 never has the loss of top-1.')]
  # Processor time compares runs that shared the machine with others.
  clock = 'processor_seconds' if top1['processor_seconds'] and top2['processor_seconds'] else 'seconds_per_step'
  slower = (top2[clock] or math.nan) / (top1[clock] or math.nan)
  share = step / steps * slower
  return [
    curves.verdict(
      share > 1,
      f'{losses}; top-2 has the loss of top-1 after {step:,.0f} of {steps:,} steps, which is {share:.2f} of the time '
      f'({clock}: {slower:.2f} times as long).',
    )
  ]


EXPERIMENT = Experiment(
  claim='One expert per token reaches a loss sooner than two experts with the same number of experts',
  arms=(dense(), switch(32), Arm('top2_32', DENSE + SWITCH + TOP2, 32)),
  judge=judge,
  seeds=(0,),
)
