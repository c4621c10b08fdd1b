"""Appendix B of the Switch paper: sending what does not fit to the next best expert gains nothing."""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Experiment, Runs, dense, switch

_CLOSE = 0.01  # nats


def judge(runs: Runs) -> list[str]:
  """Whether the losses are about the same."""
  plain, rerouted = curves.finals(runs, 'switch_32'), curves.finals(runs, 'no_token_left_behind')
  if not plain or not rerouted:
    return [curves.verdict(None, 'one of the two was not run.')]
  text = f'with dropped tokens {curves.shown(plain)}, rerouted {curves.shown(rerouted)}.'
  return [curves.verdict(rerouted[0] > plain[0] - _CLOSE, text)]


EXPERIMENT = Experiment(
  claim=f'Rerouting tokens that do not fit gains less than {_CLOSE} nats',
  arms=(dense(), switch(32), switch(32, 'no_token_left_behind', ['router = @routing.NoTokenLeftBehind()'])),
  judge=judge,
  seeds=(0,),
)
