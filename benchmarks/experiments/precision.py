"""Table 2 of the Switch paper: bfloat16 with a float32 router is as good as float32; all in bfloat16 is not."""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Experiment, Runs, dense, switch

_CLOSE, _DIVERGED = 0.01, 0.5  # nats
_ARMS = ('switch_32', 'selective', 'bfloat16')
_ACTIVATIONS = "activation_dtype = 'bfloat16'"


def judge(runs: Runs) -> list[str]:
  """Losses and speeds, and whether bfloat16 everywhere diverged."""
  losses = {arm: curves.finals(runs, arm) for arm in _ARMS}
  if not losses['switch_32'] or not losses['selective']:
    return [curves.verdict(None, 'float32 or selective precision was not run.')]
  close = abs(losses['selective'][0] - losses['switch_32'][0]) < _CLOSE
  text = '; '.join(f'{arm} {curves.shown(values)}' for arm, values in losses.items())
  seconds = ', '.join(f'{arm} {runs[arm][0]["seconds_per_step"] or 0:.3f}' for arm in _ARMS if losses[arm])
  sentences = [
    curves.verdict(close, f'selective precision within {_CLOSE} of float32: {text}.'),
    f'Seconds of a step: {seconds}.',
  ]
  if losses['bfloat16']:
    worse = losses['bfloat16'][0] - losses['switch_32'][0]
    diverged = f'did{"" if worse > _DIVERGED else " not"} diverge'
    sentences.append(f'With the router in bfloat16 too, training {diverged}: {worse:+.4f} nats against float32.')
  return sentences


EXPERIMENT = Experiment(
  claim='bfloat16 activations with a float32 router have the loss of float32',
  arms=(
    dense(),
    switch(32),
    switch(32, 'selective', [_ACTIVATIONS]),
    switch(32, 'bfloat16', [_ACTIVATIONS, "experts.SwitchFeedForward.precision = 'bfloat16'"]),
  ),
  judge=judge,
  seeds=(0,),
)
