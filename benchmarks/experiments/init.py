"""Table 3 of the Switch paper: experts that begin with a tenth of the usual variance are better and vary less."""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Experiment, Runs, dense, switch


def judge(runs: Runs) -> list[str]:
  """Mean and deviation of the loss after all steps."""
  small, usual = curves.finals(runs, 'init_0.1'), curves.finals(runs, 'switch_32')
  if min(len(small), len(usual)) < 2:
    return [curves.verdict(None, f'0.1: {curves.shown(small)}; 1.0: {curves.shown(usual)}; at least two seeds each.')]
  (mean, deviation), (usual_mean, usual_deviation) = map(curves.mean_and_deviation, (small, usual))
  text = f'0.1: {curves.shown(small)}; 1.0: {curves.shown(usual)}.'
  return [curves.verdict(mean < usual_mean and deviation < usual_deviation, text)]


EXPERIMENT = Experiment(
  claim='With init scale 1.0 mean and deviation of the loss are worse than with 0.1',
  arms=(dense(one_seed=True), switch(32), switch(32, 'init_0.1', init_scale=0.1)),
  judge=judge,
)
