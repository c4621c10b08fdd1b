"""Figures 1, 4 and 5 of the Switch paper: more experts, same work per token, fewer steps to the same loss."""

import math

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Arm, Experiment, Runs, dense, switch

_SIZES = (8, 16, 32, 64)


def judge(runs: Runs) -> list[str]:
  """Whether 32 or 64 experts need at most half of the dense model's steps, and whether more experts are better."""
  lines = []
  for experts in (32, 64):
    shares = curves.share_of_steps(runs, f'switch_{experts}', 'dense')
    came_out = all(share <= 0.5 for share in shares) if shares else None
    text = ', '.join('never' if math.isinf(share) else f'{share:.2f}' for share in shares) or 'not run'
    seeds = f' ({len(shares)} of 3 seeds)' if len(shares) < 3 else ''
    lines.append(curves.verdict(came_out, f'share of steps with {experts} experts: {text}{seeds}.'))
  present = [experts for experts in _SIZES if runs.get(f'switch_{experts}')]
  losses = [curves.final(runs[f'switch_{experts}'][0]) for experts in present]
  ordered = all(a > b for a, b in zip(losses, losses[1:], strict=False)) if len(losses) > 1 else None
  order = ', '.join(f'{experts}: {loss:.4f}' for experts, loss in zip(present, losses, strict=True))
  lines.append(curves.verdict(ordered, f'the more experts the lower the loss, first seed: {order or "not run"}.'))
  for arm in ('switch_8', 'switch_16', 'switch_32', 'switch_64', 'dense_of_8_experts'):
    lines += curves.against(runs, arm, 'dense')
  return lines


EXPERIMENT = Experiment(
  claim='Switch with 32 or 64 experts has the final loss of the dense model in at most half of its steps',
  arms=(
    dense(),
    switch(32),
    switch(64),
    switch(16, one_seed=True),
    switch(8, one_seed=True),
    # As many parameters as with 8 experts, all of them used by every token.
    Arm('dense_of_8_experts', hidden_factor=8, one_seed=True),
  ),
  judge=judge,
)
