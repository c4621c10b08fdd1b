"""Figures 1, 4 and 5 of the Switch paper: more experts, same work per token, fewer steps to the same loss."""

import math

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Arm, Experiment, Runs, dense, switch

_SIZES = (8, 16, 32, 64)


def judge(runs: Runs) -> list[str]:
  """Whether 32 or 64 experts need at most half of the dense model's steps, and whether more experts are better."""
  lines = [_steps(runs, f'switch_{experts}', f'with {experts} experts') for experts in (32, 64)]
  present = [experts for experts in _SIZES if runs.get(f'switch_{experts}')]
  losses = [curves.final(runs[f'switch_{experts}'][0]) for experts in present]
  ordered = all(a > b for a, b in zip(losses, losses[1:], strict=False)) if len(losses) > 1 else None
  order = ', '.join(f'{experts}: {loss:.4f}' for experts, loss in zip(present, losses, strict=True))
  lines.append(curves.verdict(ordered, f'the more experts the lower the loss, first seed: {order or "not run"}.'))
  for arm in EXPERIMENT.arms[1:]:
    lines += curves.against(runs, arm.name, 'dense')
  return lines


def _steps(runs: Runs, arm: str, words: str) -> str:
  """Whether an arm has the dense model's final loss in at most half of its steps, with every seed."""
  shares = curves.share_of_steps(runs, arm, 'dense')
  came_out = all(share <= 0.5 for share in shares) if shares else None
  text = ', '.join('never' if math.isinf(share) else f'{share:.2f}' for share in shares) or 'not run'
  seeds = f' ({len(shares)} of 3 seeds)' if len(shares) < 3 else ''
  return curves.verdict(came_out, f'share of steps {words}: {text}{seeds}.')


# The loss falls most while the learning rate falls, so each training has a schedule of its own: the dense model is
# trained for twice as many steps as the models that are to have its loss in half of them.
EXPERIMENT = Experiment(
  claim='Switch with 32 or 64 experts has the final loss of the dense model in at most half of its steps',
  arms=(
    dense(steps_factor=2.0),
    switch(32),
    switch(64),
    switch(16, one_seed=True),
    switch(8, one_seed=True),
    # In groups of 256 tokens each of 64 experts has 5 slots, and a quarter of the tokens is dropped.
    switch(64, 'switch_64_larger_groups', ['group_size = 512'], one_seed=True),
    switch(32, 'switch_32_as_long', one_seed=True, steps_factor=2.0),
    # As many parameters as with 8 experts, all of them used by every token.
    Arm('dense_of_8_experts', hidden_factor=8, one_seed=True, steps_factor=2.0),
  ),
  judge=judge,
)
