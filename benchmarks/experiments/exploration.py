"""Table 11 of the Switch paper: how the router explores."""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Experiment, Runs, dense, switch

_POLICIES = ('switch_32', 'argmax', 'sample', 'input_dropout')


def judge(runs: Runs) -> list[str]:
  """Whether sampling is the worst: only that exceeds noise in the paper."""
  losses = {arm: curves.finals(runs, arm) for arm in _POLICIES}
  text = '; '.join(f'{"input_jitter" if arm == "switch_32" else arm} {curves.shown(v)}' for arm, v in losses.items())
  return [curves.extreme(losses, 'sample', max, text)]


EXPERIMENT = Experiment(
  claim='Sampling an expert from the softmax is worse than argmax, input dropout and input jitter',
  arms=(
    dense(),
    switch(32),
    *(switch(32, policy, [f"routing.Top1.policy = '{policy}'"]) for policy in _POLICIES[1:]),
  ),
  judge=judge,
  seeds=(0,),
)
