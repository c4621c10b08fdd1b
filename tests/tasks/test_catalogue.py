"""`switch_zoo tasks`: states, the table, examples, and the message about a name that does not exist."""

import json
import re

import pytest
from typer.testing import CliRunner

from switch_zoo import cli
from switch_zoo.commands import tasks
from switch_zoo.errors import UserError
from switch_zoo.tasks import catalogue, data_folder, vocabularies
from switch_zoo.tasks.catalogue import CatalogueEntry

CB = {'premise': 'It rains.', 'hypothesis': 'It is dry.', 'label': 'contradiction', 'idx': 7}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')
  monkeypatch.setenv(vocabularies.MT5_VARIABLE, 'no such file')
  return tmp_path


def write_cb(folder, *splits):
  (folder / 'CB').mkdir()
  for split in splits:
    (folder / 'CB' / f'{split}.jsonl').write_text(f'{json.dumps(CB)}\n' * 4)


def run(*arguments):
  result = CliRunner().invoke(cli.app, ['tasks', *arguments], env={'COLUMNS': '160'})
  if result.exception:
    raise result.exception
  return result.stdout


@pytest.mark.parametrize(
  ('splits', 'state', 'missing'),
  [
    ((), 'data missing', ['train', 'validation', 'test']),
    (('train',), 'partly ready', ['validation', 'test']),
    (('train', 'val'), 'ready', ['test']),
    (('train', 'val', 'test'), 'ready', []),
  ],
)
def test_the_state_of_a_task(folder, splits, state, missing):
  write_cb(folder, *splits)
  entry = catalogue.entry('zoo_superglue_cb')
  assert (entry.state, list(entry.missing)) == (state, missing)
  assert 'super.gluebenchmark.com' in entry.where
  for reason in entry.missing.values():
    assert re.search(r'CB/\w+.jsonl \(or .gz\) in .*no such file', reason)


def test_files_are_named_even_without_a_data_folder(monkeypatch):
  monkeypatch.delenv(data_folder.VARIABLE)
  reason = catalogue.entry('zoo_superglue_cb').missing['train']
  assert reason == 'superglue/CB/train.jsonl or CB/train.jsonl (or .gz) in the data folder'


@pytest.mark.parametrize('data', [None, '/nowhere'], ids=['none', 'one that is not there'])
def test_no_reason_contains_the_calls_of_gin(monkeypatch, data):
  """Translation asks gin for its folder, and gin appends its calls to whatever is raised there."""
  monkeypatch.delenv(data_folder.VARIABLE) if data is None else monkeypatch.setenv(data_folder.VARIABLE, data)
  listed = {entry['name']: entry for entry in json.loads(run('--json'))}
  reason = listed['zoo_translate_sw_en']['missing']['train']
  assert re.search('no data folder is set|"/nowhere" is not a folder', reason) and reason.endswith('bucket/folder).')
  reasons = [reason for entry in listed.values() for reason in entry['missing'].values()]
  assert not [reason for reason in reasons if 'In call to' in reason or '\n' in reason]


def test_a_vocabulary_that_is_missing(folder, monkeypatch):
  write_cb(folder, 'train', 'val', 'test')
  monkeypatch.setenv(vocabularies.VARIABLE, '/nowhere')
  entry = catalogue.entry('zoo_superglue_cb')
  assert entry.state == 'vocabulary missing' and 'Set SWITCH_ZOO_VOCAB=FILE' in entry.missing['vocabulary']


def test_a_mixture_lists_the_tasks_that_are_not_ready(folder):
  write_cb(folder, 'train', 'val')
  entry = catalogue.entry('zoo_superglue')
  assert (entry.kind, entry.state) == ('mixture', 'partly ready')
  assert 'zoo_superglue_cb' in entry.tasks and 'zoo_superglue_cb' not in entry.missing
  assert entry.missing['zoo_superglue_rte'] == 'data missing'


def test_every_task_is_in_the_json(folder):
  write_cb(folder, 'train', 'val')
  listed = {entry['name']: entry for entry in json.loads(run('--json'))}
  assert listed['zoo_superglue_cb']['state'] == 'ready'
  assert listed['zoo_superglue_cb']['splits'] == ['train', 'validation']
  assert listed['zoo_mc4_sw']['kind'] == 'task' and listed['zoo_mc4']['kind'] == 'mixture'
  assert {'zoo_c4_span', 'zoo_file', 'zoo_text_span', 'zoo_demo_topics', 'zoo_translate'} <= set(listed)


def test_the_table_has_a_line_for_a_family_and_says_where(folder):
  write_cb(folder, 'train', 'val')
  (folder / 'mc4').mkdir()
  for split in ('', '-validation'):
    (folder / f'mc4/c4-sw{split}.tfrecord-0.json').write_text('{"text": "a"}')
  table = run()
  line = lambda name: next(line for line in table.splitlines() if line.startswith(name))
  assert 'ready' in line('zoo_superglue_cb ') and 'CB/test.jsonl' in line('zoo_superglue_cb ')
  assert '1 of 107 languages here: sw' in line('zoo_mc4_<language>')
  assert 'vocabulary missing' in line('zoo_mc4_<language>')
  number = re.search(r'\[\d+\]', line('zoo_superglue_rte '))[0]
  assert line(number).startswith(f'{number} They are in RTE.zip')
  assert 'zoo_mc4_sw' not in table and 'zoo_mc4_sw' in run('--all')


def test_examples(folder):
  write_cb(folder, 'train')
  shown = run('zoo_superglue_cb', '--show', '2')
  assert shown.count(json.dumps(CB)) == 2
  text = 'cb hypothesis: It is dry. premise: It rains.'
  assert shown.count(f'  inputs: {text}\n') == 2
  ids = ' '.join(str(3 + byte) for byte in text.encode())
  assert f'  {len(text) + 1} ids: {ids} 1\n' in shown
  assert '  targets: contradiction\n' in shown


def test_examples_as_json(folder):
  write_cb(folder, 'train')
  shown = json.loads(run('zoo_superglue_cb', '--show', '1', '--json', '--targets-length', '3'))
  assert shown['raw'] == [CB]
  assert shown['processed'][0]['targets'] == {'text': 'co', 'ids': [3 + ord('c'), 3 + ord('o'), 1]}


def test_examples_of_a_users_file(tmp_path):
  path = tmp_path / 'mine.tsv'
  path.write_text('q\ta\nwhy\tso\n')
  bindings = {'train': str(path), 'inputs': 'q', 'targets': 'a', 'prefix': 'ask: '}
  arguments = [word for name, value in bindings.items() for word in ('--gin_param', f'zoo_file.{name} = {value!r}')]
  shown = run('zoo_file', '--show', '1', *arguments)
  assert '{"q": "why", "a": "so"}' in shown and '  inputs: ask: why\n' in shown


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('zoo_superglue_bc',), 'no task or mixture "zoo_superglue_bc". Did you mean .*zoo_superglue_cb'),
    (('--show', '3'), '--show needs the NAME'),
    (('zoo_superglue_cb', '--show', '3'), r'zoo_superglue_cb is not here \(train: .*CB/train.jsonl.*zip'),
    (('zoo_superglue_cb', '--show', '1', '--split', 'dev'), 'has no split "dev". It has: train, validation, test'),
    (('zoo_superglue_cb', '--gin_param', 'task_data.foldr = 1'), "--gin_param: .*named 'foldr'"),
  ],
)
def test_mistakes(arguments, message):
  with pytest.raises(UserError, match=message):
    run(*arguments)


def test_a_malformed_row_is_reported_as_one(folder):
  write_cb(folder)
  (folder / 'CB/train.jsonl').write_text(json.dumps({**CB, 'label': 'perhaps'}))
  with pytest.raises(UserError, match='train.jsonl, line 1: field "label" is \'perhaps\'; it must be one of'):
    run('zoo_superglue_cb', '--show', '1')


def test_folding_keeps_other_tasks():
  task = CatalogueEntry('zoo_x', 'task', 'ready', ('train',), {}, '')
  assert tasks.folded([task]) == [('zoo_x', 'ready', '', '')]
