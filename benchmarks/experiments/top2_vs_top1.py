"""Table 1 of the Switch paper: one expert per token does as well as two, in less time."""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import DENSE, SWITCH, TOP2, Arm, Experiment, Runs, dense, switch


def judge(runs: Runs) -> list[str]:
  """Losses next to each other, and whether Switch is ahead after the same time."""
  top1, top2 = curves.finals(runs, 'switch_32'), curves.finals(runs, 'top2_32')
  if not top1 or not top2:
    return [curves.verdict(None, 'one of the two was not run.')]
  seconds = [runs[arm][0]['seconds_per_step'] or 1.0 for arm in ('switch_32', 'top2_32')]
  # The loss that Switch has when top-2, after all its steps, takes as long as Switch for all of its.
  steps = runs['top2_32'][0]['curve'][-1]['step'] * min(1.0, seconds[0] / seconds[1])
  then = [point['loss'] for point in runs['top2_32'][0]['curve'] if point['step'] <= steps][-1:]
  text = (
    f'top-1 {curves.shown(top1)}, top-2 {curves.shown(top2)}; a step takes {seconds[1] / seconds[0]:.2f} times as long'
  )
  ahead = top1[0] < then[0] if then else None
  return [curves.verdict(ahead, f'{text}; top-2 after the time of all steps of top-1: {then[0] if then else "?"}.')]


EXPERIMENT = Experiment(
  claim='One expert per token reaches a loss sooner than two experts with the same number of experts',
  arms=(dense(), switch(32), Arm('top2_32', DENSE + SWITCH + TOP2, 32)),
  judge=judge,
  seeds=(0,),
)
