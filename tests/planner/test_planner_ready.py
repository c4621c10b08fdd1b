"""The files of gin/layouts and the tables of docs/layouts.md are what the planner chooses and writes."""

import pathlib
import re

import pytest
from typer.testing import CliRunner

from switch_zoo.cli import app
from switch_zoo.commands import plan_all, plan_ready
from switch_zoo.errors import UserError
from switch_zoo.planner import memory, ready, search
from switch_zoo.spec import gin_files, layouts

READY = plan_ready.names()
# Those of a model follow each other, so that its graph is built once. One in eight is chosen again by the quick tests.
BY_MODEL = sorted(READY, key=lambda name: name.split('/')[::-1])
CHOSEN = [pytest.param(name, marks=[pytest.mark.slow] if i % 8 else []) for i, name in enumerate(BY_MODEL)]
PAGE = (pathlib.Path(__file__).parents[2] / 'docs' / 'layouts.md').read_text(encoding='utf-8')


def file(name):
  return (gin_files.configs_folder() / 'layouts' / f'{name}.gin').read_text(encoding='utf-8')


def rows():
  """(slice, model) -> line of the table that `plan --all` writes."""
  (block,) = re.findall(r'<!-- switch_zoo plan --all -->\n(.*?)\n<!-- end -->', PAGE, re.DOTALL)
  head, lines = block.splitlines()[:2], block.splitlines()[2:]
  assert tuple(head) == plan_all.HEAD
  return {tuple(line.split(' | ')[:2]): line for line in lines}


@pytest.mark.parametrize('name', CHOSEN)
def test_a_file_and_its_line_are_the_planners_choice(name):
  slice_name, _, model = name.partition('/')
  chosen = ready.choose(model, slice_name)
  assert file(name) == ready.text(model, slice_name, chosen.strategy, chosen.plan.layout)
  assert rows()[f'| {slice_name}', model] == plan_all.line(name, chosen.plan)


def test_every_file_is_written_as_the_planner_writes_one_of_its_candidates():
  for name in READY:
    slice_name, _, model = name.partition('/')
    layout, (strategy,) = layouts.load_layout(name), re.findall(r"^include 'layouts/(\w+)\.gin'$", file(name), re.M)
    config = ready.load_config(model)
    among = [(name, one.text()) for name, one in ready.candidates(config, layouts.cores(slice_name))]
    assert (strategy, layout.text()) in among, name
    assert file(name) == ready.text(model, slice_name, strategy, layout), name


def test_the_page_has_a_line_for_every_file():
  lines = rows()
  assert list(lines) == [(f'| {slice_name}', model) for slice_name, model in (name.split('/') for name in READY)]
  for name in READY:
    slice_name, _, model = name.partition('/')
    mesh = lines[f'| {slice_name}', model].split(' | ')[2]
    assert mesh == plan_all.mesh_text(layouts.load_layout(name)), name


def test_the_page_lists_the_models_of_every_slice():
  for slice_name in {name.partition('/')[0] for name in READY}:
    models = [model for one, model in (name.split('/') for name in READY) if one == slice_name]
    assert f'| {slice_name} | {", ".join(models)} |' in PAGE


def plan(mesh, rules, seconds, replicas=1):
  layout = layouts.parse(mesh, rules, replicas)
  held = memory.Memory(weights=1, optimizer=1, copies=0, gradients=0, activations=1, dispatch=0, code=0)
  return search.Plan(layout, 64, 1, held, {'matmuls': seconds}, 1, {})


@pytest.mark.parametrize(
  ('seconds', 'strategy'),
  [
    # In this order: whole experts on each core, cut ones, replicas of 2, 4 x 2 with a model axis of 2.
    ((1.0, 1.05, 1.0, 0.99), 'expert_data'),  # of those that are close: one axis, then the fewest weights
    ((1.0, 1.2, 1.0, 1.0), 'data'),
    ((1.2, 1.2, 1.15, 1.0), 'expert_model_data'),
    ((2.0, 2.0, 1.0, 1.05), 'expert_model_data'),  # no replicas, with which nothing can be decoded
    ((2.0, 2.0, 1.0, 1.2), 'expert_replication'),
  ],
)
def test_of_layouts_that_are_close_the_simplest_is_chosen(seconds, strategy, monkeypatch):
  experts, model = 'batch:batch;experts:batch', ';d_ff:model;heads:model;vocab:model;expert_hidden:model'
  plans = [
    ('data', plan('batch:8', 'batch:batch', seconds[0])),
    ('expert_data', plan('batch:8', experts, seconds[1])),
    ('expert_replication', plan('outer:2;batch:4', f'outer_batch:outer;{experts}', seconds[2], 2)),
    ('expert_model_data', plan('batch:4;model:2', experts + model, seconds[3])),
  ]
  monkeypatch.setattr(ready, 'candidates', lambda config, cores: [(name, one) for name, one in plans])
  monkeypatch.setattr(ready.Judge, 'judge', lambda self, one: one)
  assert ready.choose('switch_base_8', 'v3-8').strategy == strategy


def test_a_model_that_fits_no_strategy():
  with pytest.raises(UserError, match='switch_c_2048 has no ready layout on v3-8: .*weights and optimizer need'):
    ready.choose('switch_c_2048', 'v3-8')


def test_the_command_writes_the_files(tmp_path, monkeypatch):
  monkeypatch.setattr(layouts, 'list_layouts', lambda: ['data', 'v3-8/t5_small', 'v3-32/t5_base'])
  done = CliRunner().invoke(app, ['plan', '--ready-layouts', str(tmp_path / 'new'), '--slice', 'v3-8'])
  path = tmp_path / 'new' / 'v3-8' / 't5_small.gin'
  assert done.stdout.split() == [str(path)] and path.read_text(encoding='utf-8') == file('v3-8/t5_small')


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'v3-8').write_text('a file', encoding='utf-8')
  with pytest.raises(UserError, match='--ready-layouts .*cannot be written'):
    plan_ready.write(str(tmp_path), 'v3-8', print)
