"""The arguments that the commands of all experiments have."""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

from benchmarks.experiments.settings import Budget


def parser(description: str | None) -> argparse.ArgumentParser:
  """A parser with the arguments that are common to them."""
  common = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
  common.add_argument('--work', type=pathlib.Path, required=True, help='folder for models, checkpoints and results')
  common.add_argument('--data', type=pathlib.Path, help='a data folder, instead of WORK/data')
  common.add_argument('--seeds', type=int, nargs='+', help='instead of those of the experiment')
  common.add_argument('--arms', nargs='+', default=[], help='only these arms')
  common.add_argument('--budget', nargs='+', default=[], metavar='NAME=NUMBER', help='changes the budget: steps=1000')
  common.add_argument('--miniature', action='store_true', help='a few steps of tiny models: checks the machinery')
  common.add_argument('--so-far', action='store_true', help='train nothing; show unfinished runs as they are')
  return common


def budget(parsed_by: argparse.ArgumentParser, default: Budget, changes: Iterable[str]) -> Budget:
  """A budget with the changes of --budget; ends the command if one is not NAME=NUMBER."""
  numbers = [field.name for field in dataclasses.fields(Budget) if field.type is int]
  values = {}
  for change in changes:
    name, _, value = change.partition('=')
    if name not in numbers or not value.isdecimal() or not int(value):
      parsed_by.error(f'--budget {change}: give NAME=NUMBER, a number above 0, with one of {", ".join(numbers)}.')
    values[name] = int(value)
  return dataclasses.replace(default, **values)


def check_arms(parsed_by: argparse.ArgumentParser, arms: Iterable[str], known: Sequence[str]) -> None:
  """Ends the command if an arm does not exist."""
  for arm in arms:
    if arm not in known:
      parsed_by.error(f'--arms {arm}: there are {", ".join(known)}.')
