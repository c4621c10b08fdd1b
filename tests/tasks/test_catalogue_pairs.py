"""Pairs of lines from gettext catalogues: which messages are kept, what is held out, and the task that reads them."""

import gettext
import io
import json
import os
import shutil

import pytest
import seqio
from babel.messages import catalog, mofile
from typer.testing import CliRunner

from switch_zoo import cli
from switch_zoo.errors import UserError
from switch_zoo.tasks import catalogue_pairs, data_folder, local_files, parallel_files
from switch_zoo.tasks.catalogue_pairs import Pair


def compiled(messages, context=None):
  source = catalog.Catalog(locale='de')
  for original, translated in messages:
    source.add(original, translated, context=context)
  file = io.BytesIO()
  mofile.write_mo(file, source)
  return file.getvalue()


def pairs(messages, **options):
  return list(catalogue_pairs.pairs_of(compiled(messages, **options)))


def test_a_message_is_one_line_without_its_context():
  assert pairs([('Open the\n  file', 'Datei\töffnen')], context='menu') == [Pair('Datei öffnen', 'Open the file')]


@pytest.mark.parametrize(
  ('forms', 'kept'),
  [
    (('Datei', 'Dateien'), [Pair('Datei', 'file'), Pair('Dateien', 'files')]),
    (('soubor', 'soubory', 'souborů'), []),
    (('ファイル',), []),
  ],
)
def test_forms_of_a_plural_are_kept_where_they_correspond(forms, kept):
  assert pairs([(('file', 'files'), forms)]) == kept


def test_messages_are_those_that_gettext_reads():
  data = compiled([(f'message {number}', f'Nachricht {number}') for number in range(50)])
  read = gettext.GNUTranslations(io.BytesIO(data))
  assert len(pairs([(f'message {number}', f'Nachricht {number}') for number in range(50)])) == 50
  assert all(read.gettext(pair.english) == pair.translated for pair in catalogue_pairs.pairs_of(data))


def test_the_split_depends_on_the_letters_of_the_english_side():
  held_out = [n for n in range(2000) if Pair('x', f'message {n}').held_out]
  assert 60 < len(held_out) < 140  # one in 20
  for number in held_out:
    assert Pair('anders', f'_Message {number}...').held_out


@pytest.fixture
def machine(tmp_path):
  """Catalogues of German in two variants, of Zulu with few messages, of English, and one that is damaged."""
  share = tmp_path / 'share'

  def add(language, name, messages):
    path = share / f'locale/{language}/LC_MESSAGES/{name}.mo'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(messages if isinstance(messages, bytes) else compiled(messages))

  add('de', 'a', [(f'Message {n} is here', f'Nachricht {n} ist da') for n in range(300)])
  add(
    'de_AT',
    'b',
    [(f'Message {n} is here', f'Nachricht {n} ist da') for n in range(100)] + [('Same', 'Same'), ('%d', '%i')],
  )
  add('de', 'long', [('long ' * 100, 'lang ' * 100)])
  add('de', 'broken', b'not a catalogue')
  add('zu', 'a', [(f'Message {n}', f'Umlayezo {n}') for n in range(30)])
  add('en_GB', 'a', [('color', 'colour')])
  (tmp_path / 'python').mkdir()
  python = dict.fromkeys(('stdlib', 'platstdlib', 'purelib', 'platlib'), str(tmp_path / 'python'))
  of_machine = local_files.catalogues_of_machine
  return lambda: of_machine(str(share), python)


def lines(folder, split, ending):
  path = folder / f'data/translation/catalogues/{split}/catalogues.de-en.{ending}'
  return path.read_text().splitlines()


def test_every_pair_is_written_once_and_the_same_files_give_the_same(machine, tmp_path):
  index = catalogue_pairs.make(str(tmp_path / 'data'), machine())
  assert index == catalogue_pairs.make(str(tmp_path / 'again'), reversed(list(machine())))
  assert index['left_out'] == {
    'files': 5, 'damaged': 1, 'repeated': 100, 'untranslated': 2, 'long': 1, 'small': 1,
  }  # fmt: skip
  assert list(index['languages']) == ['de'] and sum(index['languages']['de'].values()) == 300
  for split in ('train', 'validation'):
    german, english = lines(tmp_path, split, 'de'), lines(tmp_path, split, 'en')
    assert len(german) == len(english) == index['languages']['de'][split]
    numbers = lambda texts: [text.split()[1] for text in texts]
    assert numbers(german) == numbers(english) != sorted(numbers(english))
    assert all(Pair('', text).held_out == (split == 'validation') for text in english)


def test_the_tasks_read_them(machine, tmp_path, monkeypatch):
  index = catalogue_pairs.make(str(tmp_path / 'data'), machine())
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path / 'data'))
  parallel_files._read_folder.cache_clear()
  (task,) = seqio.get_mixture_or_task('zoo_translate').tasks
  assert task.name == 'zoo_translate_de_en' and list(task.splits) == ['train', 'validation']
  for split in task.splits:
    task.source.check(split)
    assert task.num_input_examples(split) == index['languages']['de'][split]


def test_what_cannot_be_made_is_refused_and_leaves_nothing(machine, tmp_path):
  with pytest.raises(UserError, match='0 catalogues were read, and no language has 200 pairs.* with --folder'):
    catalogue_pairs.make(str(tmp_path / 'data'), [])
  assert os.listdir(tmp_path / 'data') == ['translation'] and not os.listdir(tmp_path / 'data/translation')
  (tmp_path / 'data/translation/catalogues').mkdir()
  with pytest.raises(UserError, match='is not a set of pairs that is complete'):
    catalogue_pairs.make(str(tmp_path / 'data'), machine())
  (tmp_path / 'data/translation/catalogues/index.json').write_text('{')
  with pytest.raises(UserError, match='make the set of pairs again'):
    catalogue_pairs.index_of(str(tmp_path / 'data'))


def test_what_a_kill_left_is_not_taken_for_pairs(machine, tmp_path, monkeypatch):
  def killed(files):
    yield files[0]
    assert not list((tmp_path / 'data/translation').rglob('*'))
    raise KeyboardInterrupt

  monkeypatch.setattr(shutil, 'rmtree', lambda *_, **__: None)
  with pytest.raises(KeyboardInterrupt):
    catalogue_pairs.make(str(tmp_path / 'data'), machine(), killed)
  monkeypatch.undo()
  assert list((tmp_path / 'data').glob('*.partial/*')) and not list((tmp_path / 'data/translation').rglob('*'))
  assert catalogue_pairs.make(str(tmp_path / 'data'), machine())
  assert os.listdir(tmp_path / 'data') == ['translation']


def test_the_command_makes_them_once_and_says_what_it_has(machine, tmp_path, monkeypatch):
  monkeypatch.setattr(local_files, 'catalogues_of_machine', machine)
  call = lambda *words: CliRunner().invoke(cli.app, ['corpus', str(tmp_path / 'data'), '--pairs', *words])
  first = call()
  assert first.exit_code == 0, first.output
  assert 'de 28' in first.stdout and '5 catalogues, 1 languages; left out: 1 damaged' in first.stdout
  assert call().stdout == first.stdout
  assert json.loads(call('--json').stdout)['held_out'] == 20
  assert 'already contains pairs, to which --folder adds nothing' in str(call('--folder', str(tmp_path)).exception)
