"""The corpus of this machine: what is read of each kind of file, what is kept once, what is held out, and the tasks."""

import gzip
import io
import json
import os
import pathlib

import pytest
import seqio
import tensorflow_datasets as tfds
from babel.messages import catalog, mofile
from typer.testing import CliRunner

from switch_zoo import cli
from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, local_corpus, local_files, local_text, local_texts, vocabularies

LICENCE = 'Permission is granted to everyone to do whatever they like with these very few words of text.'


def written(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def compiled(messages, charset='utf-8'):
  """A gettext catalogue as babel writes it."""
  source = catalog.Catalog(locale='de', charset=charset)
  for original, translated in messages:
    source.add(original, translated)
  file = io.BytesIO()
  mofile.write_mo(file, source)
  return file.getvalue()


@pytest.fixture
def machine(tmp_path):
  """A folder like /usr/share and the folders of an interpreter."""
  share, python = tmp_path / 'share', tmp_path / 'python'
  for number in range(200):
    about = f'Module {number} of the package is about {number * 17} things, all of which are told here.'
    written(python / f'package/m{number}.py', f'# {LICENCE}\n\n"""{about}"""\n')
    written(
      share / f'locale/de/LC_MESSAGES/p{number}.mo', compiled([(f'It is {number}.', f'Es ist die Zahl {number} ' * 9)])
    )
  written(python / 'package/binary.py', b'\0' * 100)
  written(python / 'package/twice.py', (python / 'package/m7.py').read_bytes())
  written(
    share / 'doc/x/README.gz', gzip.compress(b'All that is known about x, in a few words that are long enough. \n' * 3)
  )
  written(
    share / 'man/fr/man1/ls.1.gz',
    gzip.compress('.SH NOM\nls \\- afficher le contenu de répertoires, et bien plus que cela.\n'.encode()),
  )
  os.symlink(python, python / 'package/again')
  os.mkfifo(python / 'package/pipe.py')
  of_machine = local_files.of_machine
  return lambda: of_machine(str(share), dict.fromkeys(('stdlib', 'platstdlib', 'purelib', 'platlib'), str(python)))


def rows(folder, pattern):
  return [json.loads(line) for path in sorted(pathlib.Path(folder, 'local_text').glob(pattern)) for line in path.open()]


def test_a_catalogue_gives_its_translations_in_the_charset_it_names():
  messages = [('one', 'eins für alle'), (('file', 'files'), ('Datei', 'Dateien'))]
  for charset in ('utf-8', 'iso-8859-1'):
    assert local_texts.catalogue(compiled(messages, charset)) == 'Datei\nDateien\neins für alle'
    assert local_texts.messages(compiled(messages, charset)) == [
      (['file', 'files'], ['Datei', 'Dateien']),
      (['one'], ['eins für alle']),
    ]


@pytest.mark.parametrize(
  'data', [b'', b'\xde\x12\x04\x95', b'\xde\x12\x04\x95' + b'\xff' * 30, b'text', compiled([])[:24]]
)
def test_a_damaged_catalogue_has_no_text(data):
  assert not local_texts.catalogue(data)


def test_a_manual_page_loses_its_requests():
  page = b'.TH X 1\n.SH NAME\nx \\- \\fIdo\\fR\n.TP\n.BR \\-a ", " \\-\\-all\nAll\\(emreally.\n\'\\" comment\n.nf\n'
  assert local_texts.manual_page(page) == 'NAME\nx - do\n\n-a ,  --all\nAll really.\n'
  assert local_texts.manual_page(b'.so man1/other.1\n') is None


def test_a_file_that_unpacks_to_too_much_is_left_out(tmp_path):
  path = written(tmp_path / 'bomb.txt', gzip.compress(bytes(local_texts.LARGEST + 1)))
  assert local_texts.content(str(path)) is None


def test_every_document_is_kept_once_and_some_are_held_out(machine, tmp_path):
  index = local_corpus.make(str(tmp_path), machine())
  train, validation = rows(tmp_path, 'train-*'), rows(tmp_path, 'validation.jsonl')
  texts = [row['text'] for row in train + validation]
  assert len(texts) == len(set(texts)) == 402
  assert sum(LICENCE in text for text in texts) == 1  # the paragraph occurred before
  assert {(row['domain'], row['language']) for row in train + validation} == {
    ('python', 'python'), ('catalogue', 'de'), ('docs', 'en'), ('man', 'fr'),
  }  # fmt: skip
  assert 0 < len(validation) < 20
  assert all(path.stat().st_size for path in pathlib.Path(tmp_path, 'local_text').iterdir())
  assert index['left_out'] == {
    **index['left_out'], 'files': 405, 'not_text': 2, 'repeated': 1, 'short': 0,
  }  # fmt: skip
  sizes = [size['bytes'] for languages in index['splits']['train'].values() for size in languages.values()]
  assert sum(sizes) == sum(len(row['text'].encode()) for row in train)


def test_the_same_files_give_the_same_corpus_and_more_files_leave_the_split_as_it_is(machine, tmp_path):
  first, second = (local_corpus.make(str(tmp_path / name), machine()) for name in ('first', 'second'))
  assert first == second
  written(
    tmp_path / 'own/new.txt', 'A text of the user, which is not so short that it would be left out of the corpus.\n'
  )
  more = local_corpus.make(str(tmp_path / 'more'), [*machine(), *local_files.of_folder(str(tmp_path / 'own'))])
  assert more['digest'] != first['digest'] and more['splits']['train'].keys() - first['splits']['train'].keys() <= {
    'own'
  }
  held_out = lambda name: {row['text'] for row in rows(tmp_path / name, 'validation.jsonl')}
  assert held_out('first') <= held_out('more')


def test_a_large_domain_is_cut_to_its_share(machine, tmp_path, monkeypatch):
  whole = local_corpus.make(str(tmp_path / 'whole'), machine())
  monkeypatch.setitem(local_corpus.MOST_BYTES, 'python', 5000)
  part = local_corpus.make(str(tmp_path / 'part'), machine())
  size = lambda index, domain: sum(v['bytes'] for v in index['splits']['train'][domain].values())
  assert 2500 < size(part, 'python') < 8000 < size(whole, 'python')
  assert size(part, 'catalogue') == size(whole, 'catalogue')


def test_a_place_that_cannot_hold_a_corpus_is_refused_before_anything_is_read(tmp_path):
  tmp_path.joinpath('file').write_text('')
  tmp_path.joinpath('other/local_text').mkdir(parents=True)
  unread = (pytest.fail('read') for _ in range(1))
  with pytest.raises(UserError, match='file/local_text cannot be written: Not a directory'):
    local_corpus.make(str(tmp_path / 'file'), unread)
  with pytest.raises(UserError, match='other/local_text exists and is not a corpus'):
    local_corpus.make(str(tmp_path / 'other'), unread)


def test_a_corpus_without_a_document_is_refused_and_leaves_nothing(tmp_path):
  with pytest.raises(UserError, match='none contains a text'):
    local_corpus.make(str(tmp_path), [])
  assert not os.listdir(tmp_path)


def test_the_tasks_read_it(machine, tmp_path, monkeypatch):
  local_corpus.make(str(tmp_path), machine())
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')
  lengths = {'inputs': 64, 'targets': 32}
  for split in ('train', 'validation'):
    dataset = seqio.get_mixture_or_task('zoo_local_text_span').get_dataset(lengths, split, shuffle=False, seed=1)
    (example,) = tfds.as_numpy(dataset.take(1))
    assert len(example['inputs']) == 64
  french = seqio.TaskRegistry.get('zoo_local_text_fr').source
  assert [example['text'][:3] for example in french.examples('train')] == ['NOM']
  assert ', 0 held out' in french.state().missing[0]
  monkeypatch.setattr(local_text, '_LEAST', 1000)
  assert [task.name for task in seqio.MixtureRegistry.get(local_text.MIXTURE).tasks] == ['zoo_local_text_de']


def test_the_command_collects_once_and_says_what_it_has(machine, tmp_path, monkeypatch):
  monkeypatch.setattr(local_files, 'of_machine', machine)
  written(tmp_path / 'mine/a.txt', f'{LICENCE} But not quite.\n')
  call = lambda *words: CliRunner().invoke(cli.app, ['corpus', *words], env={'COLUMNS': '160'})
  folder = str(tmp_path / 'data')
  first = call(folder, '--folder', str(tmp_path / 'mine'))
  assert first.exit_code == 0, first.output
  assert 'own' in first.stdout and 'less than 100 MB' in first.stdout
  assert call(folder).stdout == first.stdout
  assert json.loads(call(folder, '--json').stdout)['held_out'] == 100
  assert 'already contains' in str(call(folder, '--folder', str(tmp_path)).exception)
  assert 'not a folder' in str(call(folder, '--folder', 'nowhere').exception)
