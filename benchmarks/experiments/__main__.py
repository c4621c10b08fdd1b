"""Trains what the papers claim on this machine, and says whether it came out.

  python -m benchmarks.experiments switch_vs_dense --work FOLDER
  python -m benchmarks.experiments all --miniature --work FOLDER

Every run is the real command, `t5_mesh_transformer`, which is printed before it starts. A run that was killed resumes
from its checkpoint when the same command is given again, and a finished one is not repeated, also where two experiments
share it. FOLDER/NAME.json has the figures of every run, FOLDER/NAME.svg the curves. The corpus is that of
`switch_zoo corpus`, made in FOLDER/data unless --data names another data folder.
"""

import argparse
import dataclasses
import pathlib

from benchmarks.experiments import running


def main() -> None:
  """Parses the arguments, and runs the experiments."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('name', choices=[*running.NAMES, 'all'])
  parser.add_argument('--work', type=pathlib.Path, required=True, help='folder for models, checkpoints and results')
  parser.add_argument('--data', type=pathlib.Path, help='a data folder with a corpus (WORK/data)')
  parser.add_argument('--seeds', type=int, nargs='+', help='instead of those of the experiment')
  parser.add_argument('--learning-rates', type=float, nargs='+', help='instead of those of the experiment')
  parser.add_argument('--arms', nargs='+', default=[], help='only these arms')
  parser.add_argument('--budget', nargs='+', default=[], metavar='NAME=NUMBER', help='changes the budget: steps=1000')
  parser.add_argument('--miniature', action='store_true', help='a few steps of tiny models: checks the machinery')
  parser.add_argument('--so-far', action='store_true', help='train nothing; show unfinished runs as they are')
  arguments = parser.parse_args()
  arguments.work.mkdir(parents=True, exist_ok=True)
  place = running.workplace(
    arguments.work, arguments.data or arguments.work / 'data', arguments.miniature, arguments.so_far
  )
  names = running.NAMES if arguments.name == 'all' else (arguments.name,)
  for name in names:
    experiment = running.named(name)
    if arguments.miniature:
      experiment = running.miniature(experiment)
    changes = {key: int(value) for key, _, value in (change.partition('=') for change in arguments.budget)}
    budget = dataclasses.replace(experiment.budget, **changes)
    seeds, rates = arguments.seeds or experiment.seeds, arguments.learning_rates or experiment.learning_rates
    experiment = dataclasses.replace(experiment, budget=budget, seeds=seeds, learning_rates=rates)
    print(running.shown(running.run(name, experiment, place, arguments.arms)), flush=True)


if __name__ == '__main__':
  main()
