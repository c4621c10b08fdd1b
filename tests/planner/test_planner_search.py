"""The search, its command, and what it writes."""

import dataclasses
import json
import re
import sys

import pytest
from typer.testing import CliRunner

from switch_zoo import load_config
from switch_zoo.cli import app
from switch_zoo.commands import plan as plan_command
from switch_zoo.errors import UserError
from switch_zoo.planner import cost, gin_lines, hardware, hints, lowering, search
from switch_zoo.spec import layouts

LENGTHS = {'inputs': 32, 'targets': 16}


@pytest.fixture(scope='module')
def found():
  judge = search.Judge(load_config('switch_base_8'), hardware.slice_named('v3-32'), 128, LENGTHS)
  return judge.search()


def test_candidates_hold_the_strategies_of_gin():
  every = [(dict(o.mesh), dict(o.rules)) for o in search.candidates(load_config('switch_base_8'), 32)]
  for name, mesh, replicas in (
    ('expert_replication', 'outer:4;batch:8', 4),
    ('expert_model_data', 'batch:8;model:4', 1),
    ('model_data', 'batch:8;model:4', 1),
    ('data', 'batch:32', 1),
    ('model', 'model:32', 1),
  ):
    parameters = [f"mesh_shape = '{mesh}'"] + ([f'expert_replicas = {replicas}'] if replicas > 1 else [])
    layout = layouts.load_layout(name, tuple(parameters))
    assert (dict(layout.mesh), dict(layout.rules)) in every, name


def test_every_candidate_fills_the_slice_and_is_judged(found):
  assert all(one.layout.num_slices == 32 for one in (*found.plans, *found.rejected))
  assert len(found.plans) > 3 and any('does not divide' in one.reason for one in found.rejected)


def test_the_fastest_comes_first_and_its_times_add_up(found):
  times = [plan.total_seconds for plan in found.plans]
  assert times == sorted(times)
  for plan in found.plans:
    assert set(plan.seconds) == set(cost.CAUSES) and plan.total_seconds == pytest.approx(sum(plan.seconds.values()))
    assert plan.memory.total < hardware.CHIPS['v3'].limit
    # Two cores of one chip exchange in no time.
    exchanged = any(kind == lowering.ALL_TO_ALL for kind, _ in plan.sent)
    assert exchanged == ('experts' in plan.layout.rules) >= (plan.seconds[cost.EXCHANGE] > 0)


@pytest.mark.parametrize(
  ('rules', 'reason'),
  [
    ('batch:batch;length:model', 'does not count the rule "length:model"'),
    ('batch:batch;d_ff:model', 'mesh axis "model" cuts neither the batch nor the heads'),
  ],
)
def test_a_layout_whose_lowering_is_not_counted_is_rejected(rules, reason):
  judge = search.Judge(load_config('t5_base'), hardware.slice_named('v3-32'), 128, LENGTHS)
  assert reason in judge.judge(layouts.parse('batch:16;model:2', rules)).reason


def test_less_memory_takes_more_microbatches():
  config, target = load_config('switch_base_8'), hardware.slice_named('v3-32')
  layout = layouts.parse('outer:4;batch:8', 'outer_batch:outer;batch:batch;experts:batch', 4)
  lengths = {'inputs': 512, 'targets': 114}
  few, many = (search.Judge(config, target, n, lengths).judge(layout) for n in (32, 2048))
  assert few.microbatches == 1 < many.microbatches and many.memory.gradients > 0


@pytest.mark.parametrize('model', ['switch_base_8', 't5_base'])
def test_gin_lines_are_a_layout(model, tmp_path):
  plan = search.Judge(load_config(model), hardware.slice_named('v3-32'), 128, LENGTHS).search().plans[0]
  path = tmp_path / 'plan.gin'
  plan_command.write_gin(str(path), plan, model, 'v3-32', LENGTHS)
  read = layouts.load_layout(str(path))
  assert (read.text(), read.outer_batch_size) == (plan.layout.text(), plan.layout.outer_batch_size)


def test_tokens_of_a_microbatch_give_that_many_microbatches(found):
  """As mesh_tensorflow.transformer.utils.serialize_num_microbatches derives them."""
  for plan in found.plans:
    tokens = gin_lines.tokens_per_microbatch(plan, LENGTHS)
    each = plan.sequences // plan.layout.outer_batch_size // plan.layout.parts('batch')
    assert plan.microbatches == (1 if tokens is None else each // (tokens // 32))


def test_a_capacity_that_is_rounded_up_is_named():
  config, target = load_config('switch_c_2048'), hardware.slice_named('v3-2048')
  layout = layouts.load_layout('v3-2048/switch_c_2048')
  plan = search.Judge(config, target, 2048, LENGTHS).judge(layout)
  # 32 tokens a core, 2 slots of each of 2048 experts for them.
  assert 'Experts have 128.0 times the slots' in hints.of_plan(plan, config, target, LENGTHS)[0]


@pytest.mark.parametrize(('share', 'is_told'), [(0.85, False), (0.87, True)])
def test_a_plan_that_may_not_fit_after_all_is_named(share, is_told):
  config, target = load_config('t5_small'), hardware.slice_named('v3-8')
  plan = search.Judge(config, target, 64, LENGTHS).judge(layouts.load_layout('v3-8/t5_small'))
  rest = round(share * target.chip.limit) - plan.memory.total
  memory = dataclasses.replace(plan.memory, activations=plan.memory.activations + rest)
  told = hints.of_plan(dataclasses.replace(plan, memory=memory), config, target, LENGTHS)
  assert any('GiB may not fit: such estimates were up to 14% too low' in hint for hint in told) == is_told


SMALL = ['switch_base_8', '--slice', 'v3-8', '--batch', '32', '--lengths', '32,16']


def run(*arguments):
  return CliRunner().invoke(app, ['plan', *arguments])


def test_the_command_as_json():
  done = run(*SMALL, '--tokens', '1e9', '--price', '2', '--json')
  document = json.loads(done.stdout)
  best = document['slices'][0]['layouts'][0]
  assert document['model'] == 'switch_base_8' and best['memory']['total'] > best['memory']['weights']
  assert best['step_seconds'] == pytest.approx(sum(best['seconds'].values()))
  assert best['days'] == pytest.approx(1e9 / (32 * 48) * best['step_seconds'] / 86_400)
  assert best['cost'] == pytest.approx(best['days'] * 24 * 4 * 2)


def test_the_command_as_a_table():
  done = run(*SMALL)
  assert 'utils.run.mesh_shape' in done.stdout and 'weights' in done.stdout and done.exit_code == 0
  done = run('t5_small', '--compare', 'v3-8,v5e-4', '--batch', '32', '--lengths', '32,16')
  assert 'v5e-4' in done.stdout


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['switch_base_8'], 'Give --slice v3-128'),
    (['--slice', 'v3-8'], 'plan needs a model'),
    (['--all', '--slice', 'v3-16'], 'has no ready layouts'),
    (['t5_small', '--all'], 'Leave out t5_small'),
    (['t5_small', '--ready-layouts', 'x'], 'leave out --ready-layouts'),
    (['--ready-layouts', 'x', '--slice', 'v3-16'], 'has no ready layouts'),
    (['--all', '--ready-layouts', 'x'], 'Leave out --ready-layouts'),
    (['--all', '--tokens', '0', '--batch', '32'], 'Leave out --batch, --tokens'),
    (['t5_small', '--measure', '-1'], 'at least one slice'),
    (['t5_small', '--compare', 'v3-8'], 'Use --slice v3-8'),
    (['t5_small', '--compare', 'v3-8,v3-32,v3-8'], 'Slice v3-8 is given twice'),
    (['t5_small', '--slice', 'v3-8', '--compare', 'v3-8'], 'Slice v3-8 is given twice'),
    (['t5_small', '--compare', ','], 'Give --slice v3-128'),
    (['t5_small', '--compare', 'v3-8,v3-32', '--write', 'x.gin'], '2 are compared'),
    (['switch_base_8', '--slice', 'v3-8', '--layout', 'data'], "includes 'layouts/data.gin' and sets mesh_shape"),
    (['switch_base_8', '--slice', 'v3-9'], 'The closest are v3-8'),
    (['switch_base_8', '--slice', 'v3-8', '--lengths', '512'], 'as in --lengths 512,114'),
    (['switch_base_8', '--slice', 'v3-8', '--price', '2'], 'add --tokens'),
    (['switch_base_8', '--slice', 'v3-8', '--batch', '-1'], 'at least one sequence'),
    (['switch_base_8', '--slice', 'v3-8', '--batch', str(10**20 + 1)], 'makes it fit: --batch 1'),
    (['switch_base_8', '--slice', 'v3-8', '--layout', 'v3-32/switch_base_8'], 'has 32 slices, and v3-8 has 8 cores'),
    (['switch_xxl_128', '--slice', 'v3-8', '--lengths', '32,16'], 'has no layout on v3-8'),
    (['switch_base_8', '--slice', 'v3-32', '--batch', '31', '--lengths', '32,16'], 'makes it fit: --batch 32'),
    ([*SMALL, '--plot', 'x.txt'], 'ends in .png'),
    ([*SMALL, '--plot', '/nowhere/x.png'], 'does not exist'),
    ([*SMALL, '--load', '/nowhere/x.json'], 'cannot be read'),
    (['t5_small', '--slice', 'v3-8', '--load', 'x.json'], 'has no experts'),
    (
      ['switch_base_8', '--slice', 'v3-8', '--batch', '32', '--lengths', '32,16', '--write', '/nowhere/x.gin'],
      '--write',
    ),
  ],
)
def test_mistakes_are_one_paragraph(arguments, message):
  done = run(*arguments)
  assert isinstance(done.exception, UserError) and message in str(done.exception)


@pytest.mark.parametrize('value', ['0', '-1', 'nan', 'inf'])
@pytest.mark.parametrize('given', [['--tokens'], ['--tokens', '1e9', '--price']])
def test_tokens_and_price_are_above_0_and_nothing_is_written_otherwise(given, value, tmp_path):
  path = tmp_path / 'plan.gin'
  done = run(*SMALL, '--write', str(path), *given, value)
  assert isinstance(done.exception, UserError) and f'{given[-1]} {value} is not a number above 0' in str(done.exception)
  assert not path.exists()


def test_only_a_plan_is_written_over(tmp_path):
  path = tmp_path / 'plan.gin'
  path.write_text('d_model = 8\n')
  done = run(*SMALL, '--write', str(path))
  assert isinstance(done.exception, UserError) and 'was not written by this command' in str(done.exception)
  assert path.read_text() == 'd_model = 8\n'
  path.unlink()
  for _ in range(2):
    assert run(*SMALL, '--write', str(path)).exit_code == 0
  assert 'mesh_shape' in path.read_text()


def test_three_slices_of_this_computer_that_do_not_divide_the_batch_get_hints():
  config, target = load_config('t5_small'), hardware.processor(3, 1e12, 1e10, 1e12)
  assert hints.changes_that_fit(config, target, 4, LENGTHS)[0] == '--batch 3'


def test_a_layout_that_cuts_an_axis_twice(tmp_path):
  path = tmp_path / 'twice.gin'
  path.write_text("utils.run.mesh_shape = 'model:8'\nutils.run.layout_rules = 'd_model:model;d_ff:model'\n")
  done = run(*SMALL, '--layout', str(path))
  assert isinstance(done.exception, UserError)
  assert re.search('give d_(model|ff) and d_(model|ff) of .* to the same mesh axis "model"', str(done.exception))
  assert 'Leave out --layout' in str(done.exception)


def test_a_picture(tmp_path):
  path = tmp_path / 'plan.png'
  assert run(*SMALL, '--plot', str(path)).exit_code == 0
  assert path.read_bytes().startswith(b'\x89PNG') and path.stat().st_size > 10_000


def test_a_picture_without_matplotlib(monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
  assert 'pip install matplotlib' in str(run(*SMALL, '--plot', 'x.png').exception)


def test_changes_that_fit():
  """Weights and gradients are too much for a core of v3-8: with fewer experts, or on more cores, the model fits."""
  config, target = load_config('switch_large_128'), hardware.slice_named('v3-8')
  config = dataclasses.replace(config, num_encoder_layers=2, num_decoder_layers=2, num_experts=2048)
  fits = lambda slice_name='v3-8', **settings: search.Judge(
    dataclasses.replace(config, **settings), hardware.slice_named(slice_name), 32, LENGTHS).fits()  # fmt: skip
  changes = hints.changes_that_fit(config, target, 32, LENGTHS, number=6)
  assert not fits() and fits('v3-32') and '--slice v3-32' in changes
  number = int(next(change for change in changes if change.startswith('num_experts')).split(' = ')[1])
  assert fits(num_experts=number) and not fits(num_experts=2 * number)


def test_more_microbatches_are_taken_where_they_are_faster():
  """Routing groups are smaller in them, and dispatching to smaller groups is cheaper."""
  config, target = load_config('switch_base_8'), hardware.slice_named('v3-8')
  judge = search.Judge(config, target, 128, {'inputs': 512, 'targets': 114})
  fewest = judge.judge(layouts.parse('batch:8', 'batch:batch;experts:batch'))
  fastest = judge.fastest(fewest)
  assert fastest.microbatches > fewest.microbatches and fastest.total_seconds < fewest.total_seconds


def test_a_table_of_ready_layouts(monkeypatch):
  monkeypatch.setattr(layouts, 'list_layouts', lambda: ['data', 'v3-8/t5_small', 'v3-32/t5_base'])
  monkeypatch.setattr(layouts, 'SEQUENCES', 32)
  lines = run('--all', '--slice', 'v3-8').stdout.splitlines()
  assert len(lines) == 3 and lines[2].startswith('| v3-8 | t5_small | batch:8 |')
  assert len({line.count('|') for line in lines}) == 1


def test_this_computer_is_measured():
  document = json.loads(run('t5_small', '--measure', '2', '--batch', '4', '--lengths', '32,16', '--json').stdout)
  assert document['slices'][0]['slice'] == 'cpu-2' and document['slices'][0]['layouts'][0]['step_seconds'] > 0
