"""Table 2 of the Switch paper: bfloat16 with a float32 router is as good as float32; all in bfloat16 is not."""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Experiment, Runs, dense, switch

_CLOSE = 0.01  # nats


def judge(runs: Runs) -> list[str]:
  """Losses, speeds, and whether bfloat16 diverged."""
  losses = {arm: curves.finals(runs, arm) for arm in ('switch_32', 'selective')}
  if not all(losses.values()):
    return [curves.verdict(None, 'float32 or selective precision was not run.')]
  close = abs(losses['selective'][0] - losses['switch_32'][0]) < _CLOSE
  text = '; '.join(f'{arm}: {curves.shown(values)}' for arm, values in losses.items())
  seconds = {arm: runs[arm][0]['seconds_per_step'] for arm in losses}
  return [
    curves.verdict(close, f'selective precision within {_CLOSE} of float32: {text}.'),
    f'Seconds of a step: {", ".join(f"{arm} {value or 0:.3f}" for arm, value in seconds.items())}.',
    'A router in bfloat16 is not offered by switch_zoo: it always computes in float32, so that arm was not run.',
  ]


EXPERIMENT = Experiment(
  claim='bfloat16 activations with a float32 router have the loss of float32',
  arms=(dense(), switch(32), switch(32, 'selective', ["activation_dtype = 'bfloat16'"])),
  judge=judge,
  seeds=(0,),
)
