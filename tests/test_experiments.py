"""benchmarks/experiments: grids that gin accepts, figures by hand, and a miniature by the real command, twice."""

import json
import math
import os
import pathlib
import subprocess
import sys

import gin
import pytest

from benchmarks.experiments import __main__ as experiments_main
from benchmarks.experiments import arguments, curves, drawing, multilingual, running, settings, training
from switch_zoo.launcher import run as launcher_run
from switch_zoo.spec import gin_files
from switch_zoo.tasks import local_corpus, local_files

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(CHECKOUT), 'PYTHONWARNINGS': 'ignore'}
WORDS = 'experts route tokens and some tokens are dropped while others find the expert that they were looking for'


def run_of(losses, arm='a', seed=0, seconds=0.5):
  curve = [{'step': 10 * (number + 1), 'loss': loss} for number, loss in enumerate(losses)]
  return {'arm': arm, 'seed': seed, 'curve': curve, 'tokens_per_step': 100, 'seconds_per_step': seconds}


def test_a_loss_is_reached_between_two_measurements():
  run = run_of([4.0, 3.0, 2.0])
  assert curves.reached(run, 2.25) == 27.5
  assert curves.reached(run, 5.0) == 10.0
  assert curves.reached(run, 1.0) is None
  assert curves.final(run_of([4.0, None])) == math.inf


def test_an_arm_is_compared_with_the_baseline_seed_by_seed():
  runs = {
    'dense': [run_of([4.0, 3.5, 3.0, 2.8]), run_of([4.0, 3.5, 3.0, 2.8], seed=1)],
    'switch': [run_of([3.5, 2.8, 2.0, 1.9], seconds=1.0), run_of([4.0, 3.9, 3.8, 3.7], seed=1), run_of([1.0], seed=2)],
  }
  assert curves.share_of_steps(runs, 'switch', 'dense') == [0.5, math.inf]
  first, second = curves.against(runs, 'switch', 'dense')
  assert 'after 20 of 40 steps (0.50), which is 1.00 of its seconds (a step takes 2.00 times as long)' in first
  assert 'never has the loss of dense' in second
  assert curves.shown([1.0, 3.0]) == '2.0000 +- 1.4142 (1.0000 3.0000)'
  assert '| dense | 2 | 40 | 0.0M | 2.8000 +- 0.0000 (2.8000 2.8000) | 0.500 |' in curves.table(runs)


def test_the_lowest_loss_and_the_best_arm_of_runs_that_diverged():
  assert curves.lowest(run_of([4.0, 2.5, None])) == 2.5 and curves.lowest(run_of([None])) == math.inf
  losses = {'a': [2.0], 'b': [1.0]}
  assert curves.extreme(losses, 'b', min, 'x') == 'The claim came out: x.'
  assert curves.extreme(losses, 'b', max, 'x') == 'The claim did not come out: x.'
  assert curves.extreme({**losses, 'c': []}, 'b', min, 'x') == 'The claim is not decided: x.'


@pytest.mark.parametrize('name', running.NAMES)
def test_what_was_not_run_is_not_decided(name):
  experiment = running.named(name)
  lines = experiment.judge({arm.name: [] for arm in experiment.arms})
  assert lines[0].startswith('The claim is not decided') and not any('came out' in line for line in lines)


@pytest.mark.parametrize(
  ('seeds', 'dense', 'switch', 'words'),
  [
    (3, 3.0, [3.0, 2.0], 'The claim came out: share of steps with 32 experts: 0.50, 0.50, 0.50.'),
    (1, 3.0, [4.0, 3.0], 'The claim did not come out: share of steps with 32 experts: 1.00 (1 of 3 seeds).'),
  ],
)
def test_the_verdict_on_steps(seeds, dense, switch, words):
  runs = {
    'dense': [run_of([5.0, dense], seed=seed) for seed in range(seeds)],
    'switch_32': [run_of(switch, seed=seed) for seed in range(seeds)],
  }
  assert running.named('switch_vs_dense').judge(runs)[0] == words


@pytest.mark.parametrize(
  ('clocks', 'top2', 'words'),
  [
    # As good as top-1 after three quarters of the steps: with steps of 1.2 times the time sooner, with 1.6 times later.
    (
      (0.5, 0.8),
      [4.0, 3.0, 2.0, 1.0],
      'came out: top-1 2.0000, top-2 1.0000; top-2 has the loss of top-1 after 30 of 40',
    ),
    (
      (0.5, 0.6),
      [4.0, 3.0, 2.0, 1.0],
      'did not come out: top-1 2.0000, top-2 1.0000; top-2 has the loss of top-1 after',
    ),
    ((0.5, 0.6), [4.0, 3.0, 2.6, 2.5], 'came out: top-1 2.0000, top-2 2.5000; top-2 never has the loss of top-1.'),
  ],
)
def test_the_verdict_on_two_experts(clocks, top2, words):
  seconds = [{'processor_seconds': None, 'seconds_per_step': clock} for clock in clocks]
  runs = {
    'switch_32': [{**run_of([4.0, 3.5, 3.0, 2.0]), **seconds[0]}],
    'top2_32': [{**run_of(top2), **seconds[1]}],
  }
  judge = running.named('top2_vs_top1').judge
  assert judge(runs)[0].startswith(f'The claim {words}')
  for (run,), clock in zip(runs.values(), (10.0, 30.0), strict=True):
    run['processor_seconds'] = clock
  assert ('which is 2.25 of the time (processor_seconds: 3.00' in judge(runs)[0]) == ('after' in words)


@pytest.mark.parametrize(('french', 'words'), [(1.4, 'came out: 2 of 2'), (1.75, 'did not come out: 1 of 2')])
def test_the_gain_of_each_language(french, words):
  ends = {'dense': {'zoo_local_text_fr': 1.5, 'zoo_local_text_de': 2.0}, 'switch_32': {'zoo_local_text_fr': french}}
  ends['switch_32']['zoo_local_text_de'] = 1.75
  runs = {arm: [{'curve': [{'tasks': {}}, {'tasks': tasks}]}] for arm, tasks in ends.items()}
  assert list(multilingual.gains(runs).items()) == [('de', 0.25), ('fr', pytest.approx(1.5 - french))]
  assert words in multilingual.judge(runs)[0]


def test_the_verdict_on_students():
  ends = {'dense': 3.0, 'teacher': 2.0, 'from_teacher': 2.5, 'soft_labels': 2.9, 'both': 2.6}
  runs = {arm: [run_of([4.0, end], arm, seed) for seed in range(3)] for arm, end in ends.items()}
  share, start, soft = running.named('distill').judge(runs)
  assert share.startswith('The claim came out') and 'both 40%, 40%, 40%' in share and 'of 3 seeds' not in share
  assert start.startswith('The claim came out: the start') and soft.startswith('The claim did not come out: soft')


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (['--arms', 'dens'], '--arms dens: there are dense, switch_32, init_0.1.'),
    (['--budget', 'step=5'], '--budget step=5: give NAME=NUMBER, a number above 0, with one of steps, warmup, batch,'),
    (['--budget', 'steps=-5'], '--budget steps=-5: give NAME=NUMBER'),
    (['--budget', 'steps'], '--budget steps: give NAME=NUMBER'),
  ],
)
def test_a_wrong_argument_changes_nothing(options, message, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['experiments', 'init', f'--work={tmp_path / "work"}', *options])
  with pytest.raises(SystemExit, match='2'):
    experiments_main.main()
  assert message in capsys.readouterr().err and not (tmp_path / 'work').exists()


def test_a_budget_with_changes():
  changed = arguments.budget(arguments.parser(None), settings.Budget(), ['steps=5', 'batch=2'])
  assert (changed.steps, changed.batch, changed.width) == (5, 2, settings.Budget().width)


@pytest.mark.parametrize('name', running.NAMES)
def test_gin_accepts_every_arm(name, tmp_path):
  experiment = running.miniature(running.named(name))
  assert len({arm.name for arm in experiment.arms}) == len(experiment.arms)
  for arm in experiment.arms:
    path = tmp_path / f'{arm.name}.gin'
    path.write_text(arm.gin(experiment.budget))
    files = [str(path), 'runs/pretrain.gin', 'layouts/cpu.gin']
    teacher = ["TEACHER_CHECKPOINT = 'teacher'"] if arm.teacher else []
    launcher_run.configure(gin_files.read(files, [*training.parameters(arm, experiment.budget, 0, 0.1), *teacher]))
    has_experts = '@experts.SwitchFeedForward' in str(gin.query_parameter('encoder/make_layer_stack.layers'))
    assert has_experts == bool(arm.experts)


def test_a_picture_of_the_same_runs_is_the_same_file(tmp_path):
  pytest.importorskip('matplotlib')
  runs = {'dense': [run_of([4.0, 3.0]), run_of([4.0, 3.2], seed=1)], 'broken': [run_of([4.0, None])], 'not run': []}
  pictures = [tmp_path / 'one.svg', tmp_path / 'two.svg']
  for path in pictures:
    drawing.draw(runs, 'a title', path)
  assert pictures[0].read_bytes() == pictures[1].read_bytes() and len(pictures[0].read_bytes()) < 200_000


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """A data folder with a small corpus."""
  folder = tmp_path_factory.mktemp('data')
  for number in range(300):
    (folder / f'{number}.txt').write_text(f'{number}: {WORDS[number % 50 :]} {WORDS}\n')
  local_corpus.make(str(folder), local_files.of_folder(str(folder)))
  return folder


@pytest.mark.slow
def test_a_miniature_is_the_same_in_one_process_and_in_its_own_but_for_times(data, tmp_path, monkeypatch):
  pytest.importorskip('matplotlib')
  one = tmp_path / 'one'
  arguments = ['init', '--miniature', '--arms', 'switch_32', f'--work={one}', f'--data={data}']
  command = [sys.executable, '-m', 'benchmarks.experiments', *arguments]
  done = subprocess.run(command, cwd=CHECKOUT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  assert 'init: With init scale 1.0' in done.stdout and '| switch_32 | 1 | 4 |' in done.stdout
  assert (one / 'init.svg').stat().st_size > 1000
  (other,) = json.loads((one / 'init.json').read_text())['runs']['switch_32']
  assert [point['step'] for point in other['curve']] == [2, 4] and all(0 < p['loss'] < 10 for p in other['curve'])
  experiment = running.miniature(running.named('init'))
  place = running.workplace(tmp_path / 'two', data)
  record = running.run('init', experiment, place, ['switch_32'])
  (run,) = record['runs']['switch_32']
  assert running.without_times(run) == running.without_times(other) and run['processor_seconds'] > 0
  # What is finished is not trained again; what resumes does not have the processor time of before.
  popen = training.subprocess.Popen
  monkeypatch.setattr(training.subprocess, 'Popen', None)
  assert running.run('init', experiment, place, ['switch_32']) == record
  monkeypatch.setattr(training.subprocess, 'Popen', popen)
  next((tmp_path / 'two').glob('runs/*/result.json')).unlink()
  (resumed,) = running.run('init', experiment, place, ['switch_32'])['runs']['switch_32']
  assert running.without_times(resumed) == running.without_times(run) and resumed['processor_seconds'] is None


# In a process of its own, because `t5_mesh_transformer` switches TensorFlow to graphs.
LAST_ARMS = """
import pathlib, sys
from benchmarks.experiments import running
place = running.workplace(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), tiny=True)
for name in running.NAMES:
  experiment = running.miniature(running.named(name))
  running.run(name, experiment, place, [experiment.arms[-1].name])
"""


@pytest.mark.slow
def test_a_miniature_of_each_trains_its_last_arm(data, tmp_path):
  pytest.importorskip('matplotlib')
  command = [sys.executable, '-c', LAST_ARMS, str(tmp_path), str(data)]
  done = subprocess.run(command, cwd=CHECKOUT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  for name in running.NAMES:
    arm = running.miniature(running.named(name)).arms[-1]
    runs = json.loads((tmp_path / f'{name}.json').read_text())['runs']
    assert [other for other, of_arm in runs.items() if of_arm] == [arm.name]
    (run,) = runs[arm.name]
    steps = range(2, round(4 * arm.steps_factor) + 1, 2)
    assert [point['step'] for point in run['curve']] == list(steps) and all(0 < p['loss'] < 10 for p in run['curve'])
    assert (tmp_path / f'{name}.svg').stat().st_size > 1000


def test_a_run_that_fails_says_how_and_is_not_taken_for_finished(data, tmp_path):
  place = running.workplace(tmp_path, data)
  arm = settings.switch(4, settings=['no_such_thing = 1', 'd_model = @no_such_thing()'])
  with pytest.raises(RuntimeError, match='no_such_thing'):
    place.result(arm, settings.MINIATURE, 0, 0.1)
  assert not list(pathlib.Path(tmp_path).glob('runs/*/result.json'))
