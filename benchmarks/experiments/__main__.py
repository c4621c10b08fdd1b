"""Trains what the papers claim on this machine, and says whether it came out.

  python -m benchmarks.experiments switch_vs_dense --work FOLDER
  python -m benchmarks.experiments all --miniature --work FOLDER

Every run is the real command, `t5_mesh_transformer`, which is printed before it starts. A run that was killed resumes
from its checkpoint when the same command is given again, and a finished one is not repeated, also where two experiments
share it. FOLDER/NAME.json has the figures of every run, FOLDER/NAME.svg the curves. The corpus is that of
`switch_zoo corpus`, made in FOLDER/data unless --data names another data folder.
"""

import dataclasses

from benchmarks.experiments import arguments, running


def main() -> None:
  """Parses the arguments, and runs the experiments."""
  parser = arguments.parser(__doc__)
  parser.add_argument('name', choices=[*running.NAMES, 'all'])
  parser.add_argument('--learning-rates', type=float, nargs='+', help='instead of those of the experiment')
  chosen = parser.parse_args()
  experiments = {name: running.named(name) for name in (running.NAMES if chosen.name == 'all' else (chosen.name,))}
  arms = [arm.name for experiment in experiments.values() for arm in experiment.arms]
  arguments.check_arms(parser, chosen.arms, list(dict.fromkeys(arms)))
  if chosen.miniature:
    experiments = {name: running.miniature(experiment) for name, experiment in experiments.items()}
  budgets = {name: arguments.budget(parser, one.budget, chosen.budget) for name, one in experiments.items()}
  chosen.work.mkdir(parents=True, exist_ok=True)
  place = running.workplace(chosen.work, chosen.data or chosen.work / 'data', chosen.miniature, chosen.so_far)
  for name, experiment in experiments.items():
    seeds, rates = chosen.seeds or experiment.seeds, chosen.learning_rates or experiment.learning_rates
    experiment = dataclasses.replace(experiment, budget=budgets[name], seeds=seeds, learning_rates=rates)
    record = running.run(name, experiment, place, chosen.arms)
    print(running.shown(record) if record else f'{name}: no run has been validated yet.', flush=True)


if __name__ == '__main__':
  main()
