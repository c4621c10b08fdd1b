"""Files of `zoo_file` as public threads describe them: read as their authors meant them, or refused with the reason.

Each row names the thread that describes such a file: OWNER/REPOSITORY#NUMBER on GitHub.
"""

import gzip

import pytest

from switch_zoo.errors import UserError
from switch_zoo.tasks import file_rows, own_file, own_file_formats

ROW = {'q': 'who', 'a': 'me'}
POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 791656\n'


def examples(path, content):
  """(inputs, targets) of every row of a file, as zoo_file makes them of the fields q and a."""
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  reader, rows = own_file_formats.reader_for([str(path)]), own_file.OwnFileRows('q', 'a', '')
  found = [file_rows.examples_of(file_rows.well_formed(row), rows) for row in reader.rows(str(path))]
  return [(example['inputs'], example['targets']) for several in found for example in several]


READ = {
  'TabViewer/tabview#150, a long cell': ('a.csv', f'q,a\n{"x" * 200_000},me\n', [('x' * 200_000, 'me')]),
  'huggingface/tau#354, U+2028 in JSON': (
    'a.jsonl',
    '{"q": "a\u2028b\x85c", "a": "me"}\n',
    [('a\u2028b\x85c', 'me')],
  ),
  'datalad/datalad#3523, U+2028 in a table': ('a.tsv', 'q\ta\na\u2028b\x0cc\tme\n', [('a\u2028b\x0cc', 'me')]),
  'an index without a name': ('a.csv', ',q,a\n0,who,me\n', [('who', 'me')]),
  'PowerShell/PowerShell#7776, the line for Excel': ('a.csv', 'sep=,\nq,a\nwho,me\n', [('who', 'me')]),
  'gzip files one after another': (
    'a.csv.gz',
    gzip.compress(b'q,a\nwho,me\n') + gzip.compress(b'x,y\n'),
    [('who', 'me'), ('x', 'y')],
  ),
  'a backslash before the end of a cell': ('a.csv', 'q,a\n"a dir\\",me\n', [('a dir\\', 'me')]),
}


@pytest.mark.parametrize('case', READ)
def test_read(tmp_path, case):
  name, content, expected = READ[case]
  assert examples(tmp_path / name, content) == expected


REFUSED = {
  'JoshClose/CsvHelper#1186, semicolons': (
    'a.csv',
    'q;a\nwho;me\n',
    'line 2: field "q" is missing; the row has: q;a. Is the table separated by .;.[?] A .csv must be separated by comm',
  ),
  'JoshClose/CsvHelper#1186, semicolons and commas': (
    'a.csv',
    'q;a\nwho, is it;me\n',
    'line 2: 2 columns instead of 1 .*Is the table separated by .;.',
  ),
  'mholt/PapaParse#951, semicolons for Excel': ('a.csv', 'sep=;\nq;a\nwho;me\n', 'Is the table separated by .;.'),
  'tabs in a .csv': ('a.csv', 'q\ta\nwho\tme\n', r'Is the table separated by .\\t.'),
  'commas in a .tsv': ('a.tsv', 'q,a\nwho,me\n', 'Is the table separated by .,.'),
  'whitfin/s3-concat#3, files with headers one after another': (
    'a.csv',
    'q,a\nwho,me\nq,a\nwhat,it\n',
    'a.csv, line 3: the names of the columns, not a row: delete this line',
  ),
  'im-anishraj/arnio#1708, a name twice in an object': (
    'a.jsonl',
    '{"q": "x", "a": "me", "a": "you"}\n',
    'a.jsonl, line 1: the key "a" occurs twice in one object',
  ),
  'im-anishraj/arnio#1708, in a list': (
    'a.json',
    '[{"q": "x", "a": "me"},\n{"q": "x", "a": {"b": 1, "b": 1}}]',
    'a.json, line 2, item 2: the key "b" occurs twice in one object',
  ),
  'Kaszanas/SC2_Datasets#72, commas between lines': (
    'a.jsonl',
    '{"q": "who", "a": "me"},\n{"q": "what", "a": "it"},\n',
    'line 1: a comma after the object, which lines of JSON do not have: delete it',
  ),
  'daaain/claude-code-log#139, half a pair': ('a.jsonl', '{"q": "\\udcb2", "a": "b"}', 'half of a surrogate pair'),
  'Unstructured-IO/unstructured#4443, UTF-16': (
    'a.csv',
    'q,a\nwho,me\n'.encode('utf-16'),
    'is UTF-16. Save it as UTF-8',
  ),
  'adaltas/node-csv#42, backslashes': ('a.csv', 'q,a\n"say \\"hi\\"",me\n', "line 2: not a ','-separated row"),
  'posit-dev/chatlas#180, a table by columns': (
    'a.json',
    '{"q": {"0": "x"}, "a": {"0": "y"}}',
    'neither text nor a num',
  ),
  'huggingface/datasets#372, the list inside an object': (
    'a.json',
    '{"version": "v2.0", "data": [{"q": "x", "a": "y"}]}',
    'field "q" is missing; the row has: version, data',
  ),
  **{
    f'biomarkersParkinson/paradigma#250, a pointer in place of {name}': (
      name,
      POINTER,
      f'{name}, line 1: the file is a Git LFS pointer, .* of 791,656 bytes, run `git lfs install` and `git lfs pull`',
    )
    for name in ('a.json', 'a.jsonl', 'a.csv', 'a.tsv', 'a.jsonl.gz')
  },
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(tmp_path, case):
  name, content, message = REFUSED[case]
  with pytest.raises(UserError, match=message):
    examples(tmp_path / name, content)


def test_a_row_that_has_a_name_twice_is_left_out_alone(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text('[{"q": 1, "q": 2},\n{"q": 3, "q": {"a": [4, 5]}},\n{"q": "who", "a": "me"}]')
  first, second, third = own_file_formats.reader_for([str(path)]).rows(str(path))
  assert [first.line, second.line, third.value] == [1, 2, ROW]
