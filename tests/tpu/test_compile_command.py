"""switch_zoo compile: mistakes are one paragraph and exit code 2; the table of what was compiled."""

import json
import pathlib

import pytest

from switch_zoo import cli, load_config
from switch_zoo.commands import compiled_table, compiling
from switch_zoo.errors import UserError
from switch_zoo.spec import layouts
from switch_zoo.tpu import compiler, report

REPOSITORY = pathlib.Path(__file__).parents[2]
RECORDS = REPOSITORY / 'benchmarks' / 'compiled.jsonl'


def run(monkeypatch, capsys, *arguments):
  """(exit code, stdout, stderr)."""
  monkeypatch.setattr('sys.argv', ['switch_zoo', 'compile', *arguments])
  code = cli.run()
  return code, *capsys.readouterr()


MISTAKES = {
  'no such model': (['switch_bse_8', '--slice', 'v3-8'], 'Did you mean switch_base_8'),
  'no such slice': (['switch_base_8', '--slice', 'v3-9'], 'The nearest are v3-8'),
  'no slice': (['switch_base_8'], 'A model and a slice are needed'),
  'no model': (['--slice', 'v3-8'], 'A model and a slice are needed'),
  'no ready-made layout': (
    ['switch_c_2048', '--slice', 'v3-8'],
    'no ready-made layout of switch_c_2048 for v3-8. There are some for v3-2048, v4-4096. Give a strategy',
  ),
  'no such layout': (['switch_base_8', '--slice', 'v3-8', '--layout', 'expert_dat'], 'Did you mean expert_data'),
  'an open mesh': (['switch_base_8', '--slice', 'v3-8', '--layout', 'model_data'], "--mesh 'batch:4;model:2'"),
  'another mesh': (
    ['switch_base_8', '--slice', 'v3-8', '--layout', 'data', '--mesh', 'batch:4'],
    'has 4 cores, and v3-8 runs 8 programs',
  ),
  'a mesh that is none': (
    ['switch_base_8', '--slice', 'v3-8', '--layout', 'data', '--mesh', 'eight'],
    '"eight" is not a pair',
  ),
  'a layout that does not divide': (
    ['switch_base_8', '--slice', 'v3-32', '--layout', 'expert_data'],
    'num_experts=8 does not divide over mesh axis "batch" of size 32',
  ),
  'a batch that does not divide': (['switch_base_8', '--slice', 'v3-8', '--batch', '9'], 'does not divide over'),
  'too many layers': (['switch_base_8', '--slice', 'v3-8', '--layers', '7'], 'Use a number from 1 to 6'),
  'no folder': (['switch_base_8', '--slice', 'v3-8', '--save', '/no/such/folder/x'], 'there is no folder /no/such'),
  'no table': (['--table', '/no/such/file'], '/no/such/file cannot be read'),
}


@pytest.mark.parametrize('case', MISTAKES)
def test_a_mistake_is_one_paragraph_and_exit_code_2(case, monkeypatch, capsys):
  arguments, words = MISTAKES[case]
  code, out, err = run(monkeypatch, capsys, *arguments)
  assert (code, out) == (2, '') and err.count('\n') == 1
  assert words in err


def test_libtpu_that_is_missing_is_said_before_the_model_is_lowered(monkeypatch, capsys, tmp_path):
  def missing():
    raise UserError('libtpu is not installed')

  monkeypatch.setattr(compiler, 'library_path', missing)
  monkeypatch.setattr(compiling, '_lower', lambda *_: pytest.fail('lowered'))
  saved = tmp_path / 'program'
  code, _, err = run(monkeypatch, capsys, 'switch_base_8', '--slice', 'v3-8', '--save', str(saved))
  assert code == 2 and 'libtpu is not installed' in err and not saved.exists()


@pytest.mark.parametrize(
  ('model', 'layers', 'compiled'), [('t5_small', 1, 1), ('switch_base_8', 1, 2), ('switch_base_8', 3, 4)]
)
def test_layers_are_whole_blocks(model, layers, compiled):
  assert compiling.checked_request(model, 'v3-8', None, None, None, None, layers).layers == compiled


@pytest.mark.parametrize('is_estimate', [True, False])
def test_a_step_that_does_not_fit_is_recorded_and_refused(is_estimate, monkeypatch, capsys, tmp_path):
  step = report.Step('t5_small', 'v3-8', 'data', 'batch:8', 8, 64, None, 1, (6, 6))
  refused = report.refusal(step, compiler.OutOfMemoryError(20 * 2**30, 15 * 2**30, 'Used 20G of 15G'), 2**30, '1.2.3')
  too_large = record(fits=False, extrapolated_from_layers=[1, 2]) if is_estimate else refused

  def compile_step(*_):
    raise compiling.DoesNotFitError('it does not fit', too_large)

  monkeypatch.setattr(compiling, 'compile_step', compile_step)
  path = tmp_path / 'records'
  code, out, err = run(monkeypatch, capsys, 't5_small', '--slice', 'v3-8', '--record', str(path))
  assert (code, out) == (2, '') and 'it does not fit' in err
  text = compiled_table.table(compiled_table.read(str(path)))
  if is_estimate:
    assert '| 1 and 2 layers, extrapolated: **does not fit** |' in text
  else:
    assert '| 64 | whole | 1.00 GiB |  |  | 20.00 GiB | 15.00 GiB | 6 + 6 layers: **does not fit** |' in text
    assert 'The compiler on t5_small, v3-8: "Used 20G of 15G"' in text


def record(**changes):
  memory = {
    'arguments': 2**30,
    'temporaries': 2**29,
    'code': 2**20,
    'outputs': 0,
    'total': 2**30 + 2**29,
    'limit': 2**34,
  }
  line = {
    'model': 't5_small',
    'slice': 'v3-8',
    'batch': 2048,
    'microbatch': 2048,
    'memory': memory,
    'fits': True,
    'libtpu': '1.2.3',
    'extrapolated_from_layers': [],
  }
  return {**line, **changes}


def test_the_table_says_what_was_extrapolated_and_what_was_not_compiled(tmp_path):
  path = tmp_path / 'records'
  lines = [record(batch=1), record(), record(model='switch_c_2048', slice='v3-2048', extrapolated_from_layers=[1, 2])]
  path.write_text('\n'.join(map(json.dumps, lines)))
  text = compiled_table.table(compiled_table.read(str(path)))
  assert (
    '| t5_small | v3-8 | 2,048 | 2,048 tokens | 1.00 GiB | 0.50 GiB | 1.0 MiB | 1.50 GiB | 16.00 GiB | whole |' in text
  )
  assert '| 1 and 2 layers, extrapolated |' in text and text.index('switch_c_2048') < text.index('t5_small')
  assert 'libtpu 1.2.3. Not compiled: gshard' in text and 'tiny_' not in text


@pytest.mark.parametrize('line', ['', '{', '[]', '{"model": "t5_small"}'])
def test_a_line_that_is_not_a_report_is_named(line, tmp_path):
  path = tmp_path / 'records'
  path.write_text(json.dumps(record()) + f'\n{line}\n')
  with pytest.raises(UserError, match='line 2 is not a report'):
    compiled_table.read(str(path))


def test_what_was_compiled_are_ready_layouts_that_fit():
  """Arguments, extrapolated ones too, are the weights of a core in float32, and what the optimizer keeps.

  How much that is: tests/planner/test_planner_compiled.py.
  """
  latest = {(record['model'], record['slice']): record for record in compiled_table.read(str(RECORDS))}
  for (model, slice_name), record in latest.items():
    layout = layouts.load_layout(f'{slice_name}/{model}')
    assert record['layout'] == f'{slice_name}/{model}' and record['mesh'] == layout.text()[0], 'compile it again'
    assert record['fits'] and record['memory']['total'] <= record['memory']['limit'], model
    assert 4 * layouts.parameters_per_core(layout, load_config(model)) <= record['memory']['arguments'], model


def test_compiled_programs_send_tokens_as_often_as_by_hand():
  """To the experts and back, forward and backward, in each sparse layer: 48 times in Switch-Base's 6 + 6."""
  counts = {}
  for record in compiled_table.read(str(RECORDS)):
    config = load_config(record['model'])
    sparse = [*config.encoder_sparse_layers, *config.decoder_sparse_layers]
    counts[record['model']] = record['collectives'].get('all-to-all', {'count': 0})['count']
    assert counts[record['model']] == 4 * len(sparse), record['model']
  assert counts['switch_base_128'] == 48 and counts['t5_small'] == 0


def test_the_table_in_the_documentation_is_that_of_the_records():
  text = compiled_table.table(compiled_table.read(str(RECORDS)))
  assert text in (REPOSITORY / 'docs' / 'layouts.md').read_text(encoding='utf-8')
