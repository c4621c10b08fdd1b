"""Runs an experiment: chooses the learning rate on the baseline, trains all arms, judges the claim, draws."""

import dataclasses
import importlib
import itertools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from benchmarks.experiments import curves, drawing
from benchmarks.experiments.settings import MINIATURE, Budget, Experiment, Runs
from benchmarks.experiments.training import TIMES, Workplace

_FEW_FILES = 400
NAMES = (
  'switch_vs_dense',
  'top2_vs_top1',
  'init',
  'precision',
  'exploration',
  'expert_dropout',
  'no_token_left_behind',
  'multilingual',
  'distill',
)


def named(name: str) -> Experiment:
  """The experiment of a name in NAMES."""
  return importlib.import_module(f'benchmarks.experiments.{name}').EXPERIMENT


def miniature(experiment: Experiment) -> Experiment:
  """The same grid at a size that says nothing about the claim: a few steps, one seed, one learning rate."""
  small = lambda arm: arm and dataclasses.replace(arm, experts=min(arm.experts, 4), teacher=small(arm.teacher))
  arms = [small(arm) for arm in experiment.arms]
  return dataclasses.replace(
    experiment,
    arms=arms,
    budget=MINIATURE,
    judge=lambda runs: ['A miniature checks the machinery; nothing follows for the claim.'],
    seeds=experiment.seeds[:1],
    learning_rates=experiment.learning_rates[:1],
  )


def run(name: str, experiment: Experiment, place: Workplace, arms: Sequence[str] = ()) -> dict[str, Any]:
  """Trains what is not trained yet, seed by seed, and writes WORK/NAME.json and WORK/NAME.svg after every run.

  Args:
    name: of the experiment
    experiment: itself
    place: the folder of all runs
    arms: names of those that are trained now; () for all
  """
  rate = tuned(experiment, place)
  runs: dict[str, list[Any]] = {arm.name: [] for arm in experiment.arms}
  record: dict[str, Any] = {}
  for seed in experiment.seeds:
    for arm in experiment.arms:
      if (arm.one_seed and seed != experiment.seeds[0]) or (arms and arm.name not in arms):
        continue
      result = place.result(arm, experiment.budget, seed, rate)
      if not result['curve']:
        continue
      runs[arm.name].append(result)
      print(f'{arm.name}, seed {seed}: held-out loss {curves.final(result):.4f}', flush=True)
      record = written(name, experiment, place, rate, runs)
  return record


def tuned(experiment: Experiment, place: Workplace) -> float:
  """The learning rate with which the baseline has the lowest loss after a fifth of the steps."""
  rates, budget = experiment.learning_rates, _fifth(experiment.budget)
  if len(rates) == 1:
    return rates[0]
  losses = {rate: curves.final(place.result(experiment.arms[0], budget, 0, rate)) for rate in rates}
  print(
    f'Learning rates of {experiment.arms[0].name} after {budget.steps} steps: '
    + ', '.join(f'{rate}: {loss:.4f}' for rate, loss in losses.items()),
    flush=True,
  )
  return min(losses, key=lambda rate: losses[rate])


def written(name: str, experiment: Experiment, place: Workplace, rate: float, runs: Runs) -> dict[str, Any]:
  """Writes and prints the record of an experiment: all of it follows from the results of its runs."""
  record = {
    'experiment': name,
    'claim': experiment.claim,
    'verdict': experiment.judge(runs),
    'budget': dataclasses.asdict(experiment.budget),
    'learning_rate': rate,
    'corpus': place.digest,
    'runs': runs,
  }
  (place.folder / f'{name}.json').write_text(json.dumps(_finite(record), indent=1, allow_nan=False) + '\n')
  (experiment.draw or drawing.draw)(runs, f'{name}: {experiment.claim}', place.folder / f'{name}.svg')
  return record


def shown(record: dict[str, Any]) -> str:
  """The record as text: claim, verdict, table."""
  lines = [f'{record["experiment"]}: {record["claim"]}', *(f'  {line}' for line in record['verdict'])]
  return '\n'.join([*lines, '', curves.table(record['runs'])])


def without_times(value: Any) -> Any:
  """A record without what differs when the experiment is repeated."""
  if isinstance(value, dict):
    return {key: without_times(inner) for key, inner in value.items() if key not in (*TIMES, 'verdict')}
  return [without_times(inner) for inner in value] if isinstance(value, list) else value


def _fifth(budget: Budget) -> Budget:
  steps = max(budget.steps // 5, 1)
  return dataclasses.replace(budget, steps=steps, warmup=min(budget.warmup, steps // 2), eval_every=steps)


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _finite(inner) for key, inner in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(inner) for inner in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def workplace(work: pathlib.Path, data: pathlib.Path, tiny: bool = False, so_far: bool = False) -> Workplace:
  """The folder of all runs, with the corpus made if it is not there.

  Args:
    work: for models, checkpoints and results
    data: a data folder
    tiny: for miniatures: a corpus of a few files, and all runs in this process
    so_far: nothing is trained
  """
  from switch_zoo.tasks import local_corpus, local_files

  if local_corpus.index_of(str(data)) is None:
    print(f'$ switch_zoo corpus {data}', flush=True)
    local_corpus.make(str(data), itertools.islice(local_files.of_machine(), _FEW_FILES if tiny else None))
  return Workplace(work, data, in_process=tiny, so_far=so_far)
