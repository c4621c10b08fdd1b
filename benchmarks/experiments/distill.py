"""Tables 6 and 7 of the Switch paper: how much of a teacher's gain a dense student of the same width keeps.

The paper's student keeps 29 percent of the gain of a teacher of 3.8 billion weights: 20 from starting with its weights
outside the experts, and the rest from a quarter of soft labels.
"""

import statistics

from benchmarks.experiments import curves
from benchmarks.experiments.settings import DENSE, Arm, Experiment, Runs, dense

# Experts in every other layer: the dense layers between them are what a student takes over.
_EVERY_OTHER = """
include 'architectures/switch_encdec.gin'
num_experts = {experts}
group_size = 256
"""
# The file of the model is read first: what runs/pretrain.gin sets afterwards is the same in it.
_TAUGHT = DENSE + "include 'runs/distill.gin'\n"
_TEACHER = Arm('teacher', DENSE + _EVERY_OTHER, 32, ('expert_init_scale = 1.0',))
# Arm -> the teacher's share, and what the student starts from.
_STUDENTS = {'from_teacher': (0.0, "'fresh'"), 'soft_labels': (0.25, None), 'both': (0.25, "'fresh'")}


def judge(runs: Runs) -> list[str]:
  """The share of the teacher's gain over the dense baseline that each student keeps, by seed."""
  shares = {arm: kept(runs, arm) for arm in _STUDENTS}
  text = '; '.join(f'{arm} {", ".join(f"{share:.0%}" for share in of) or "not run"}' for arm, of in shares.items())
  if not all(shares.values()):
    return [curves.verdict(None, f'share of the gain: {text}.')]
  start, soft, both = (statistics.mean(shares[arm]) for arm in ('from_teacher', 'soft_labels', 'both'))
  seeds = f' ({len(shares["both"])} of 3 seeds)' if len(shares['both']) < 3 else ''
  return [
    curves.verdict(both >= 0.25, f'share of the gain: {text}{seeds}.'),
    curves.verdict(start > 0 and both > soft, f'the start helps, without soft labels and with them{seeds}.'),
    curves.verdict(soft > 0 and both > start, f'soft labels help, without the start and with it{seeds}.'),
  ]


def kept(runs: Runs, arm: str) -> list[float]:
  """Of each seed: (dense - student) / (dense - teacher), the figures of Table 6 with losses; none without a gain."""
  by_seed = lambda name: {run['seed']: curves.final(run) for run in runs.get(name, ())}
  baseline, teacher, student = map(by_seed, ('dense', 'teacher', arm))
  seeds = [seed for seed in student if seed in baseline and seed in teacher and teacher[seed] < baseline[seed]]
  return [(baseline[seed] - student[seed]) / (baseline[seed] - teacher[seed]) for seed in seeds]


EXPERIMENT = Experiment(
  claim="A dense student keeps at least 25 percent of its teacher's gain, and start and soft labels each help",
  arms=(
    dense(),
    _TEACHER,
    *(
      Arm(name, _TAUGHT, 0, (f'FRACTION_SOFT = {share}', f'INIT_FROM_TEACHER = {start}'), teacher=_TEACHER)
      for name, (share, start) in _STUDENTS.items()
    ),
  ),
  judge=judge,
)
