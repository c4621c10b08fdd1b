"""Readers: what a good file becomes, and where a bad one of each kind is reported to be bad."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch_zoo.tasks import json_document
from switch_zoo.tasks.raw_files import MalformedRow, RawRow
from switch_zoo.tasks.readers import AlignedText, Delimited, JsonLines, JsonList, TextLines

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n'
CSV = Delimited(delimiter=',', quoted=True)


@pytest.fixture
def read(tmp_path):
  """Writes bytes to a file and reads it: rows as (line, value), malformed ones as 'line N: what'."""

  def read(reader, content, name='file'):
    path = tmp_path / name
    path.write_bytes(content)
    return [said(found, path) for found in reader.rows(str(path))]

  return read


def said(found, path):
  assert found.path == str(path)
  return str(found).replace(f'{path}, ', '') if isinstance(found, MalformedRow) else (found.line, found.value)


GOOD = {
  'JSON lines': (JsonLines(), b'{"a": "\xc3\xa9"}\n\n{"a": [1]}', [(1, {'a': 'é'}), (3, {'a': [1]})]),
  'CRLF and byte order mark': (JsonLines(), b'\xef\xbb\xbf{"a": 1}\r\n', [(1, {'a': 1})]),
  'TSV with a header': (Delimited(), b'a\tb\n1\t"2\n', [(2, {'a': '1', 'b': '"2'})]),
  'TSV with given columns': (Delimited(('a', 'b')), b'1\t2\n', [(1, {'a': '1', 'b': '2'})]),
  'further columns': (Delimited(('a',), more=True), b'1\t2\t3\n', [(1, {'a': '1'})]),
  'an empty cell': (Delimited(('a', 'b')), b'\t2\n', [(1, {'a': '', 'b': '2'})]),
  'CSV': (CSV, b'a,b\n"1, ""x""\ny",2\n3,4\n', [(2, {'a': '1, "x"\ny', 'b': '2'}), (4, {'a': '3', 'b': '4'})]),
  'lines that end with CR': (JsonLines(), b'{"a": 1}\r{"a": 2}\r', [(1, {'a': 1}), (2, {'a': 2})]),
  'a table with CR': (Delimited(), b'a\tb\r1\t2\r3\t4', [(2, {'a': '1', 'b': '2'}), (3, {'a': '3', 'b': '4'})]),
  'a CR inside a line': (TextLines(), b'a\rb\nc\r\n', [(1, {'text': 'a\rb'}), (2, {'text': 'c'})]),
  'a header after empty lines': (Delimited(), b'\n\na\n1\n', [(4, {'a': '1'})]),
  'text': (TextLines(), 'α\n\nβ'.encode(), [(1, {'text': 'α'}), (2, {'text': ''}), (3, {'text': 'β'})]),
  'a line separator of Unicode is no line end': (TextLines(), 'a\u2028b\n'.encode(), [(1, {'text': 'a\u2028b'})]),
  'JSON list': (JsonList(), b'[{"a": 1},\n {"a": "]"}]', [(1, {'a': 1}), (2, {'a': ']'})]),
  'JSON below a key': (
    JsonList(('x', 'data')),
    b'{"v": {"data": [0]}, "x": {"n": -1.5,\n"data": [\n{"a": 1}\n]}}',
    [(3, {'a': 1})],
  ),
  'an empty JSON list': (JsonList(), b' [ ] ', []),
}


@pytest.mark.parametrize('packed', [False, True], ids=['plain', 'gz'])
@pytest.mark.parametrize(('reader', 'content', 'expected'), GOOD.values(), ids=GOOD)
def test_good_files(read, reader, content, expected, packed):
  assert read(reader, gzip.compress(content) if packed else content) == expected


BAD = {
    'bad JSON': (JsonLines(), b'{"a": 1}\n{"a": }\n{"a": 2}\n', [
        (1, {'a': 1}), 'line 2: not JSON: Expecting value at column 7.', (3, {'a': 2})]),
    'JSON that is no object': (JsonLines(), b'[1]\n', ['line 1: a JSON list, not an object ({"field": value, ...}).']),
    'UTF-8 in JSON': (JsonLines(), b'{"a": "\xff"}\n{"a": 1}\n', [
        'line 1: not UTF-8: byte 0xff at byte 8 (invalid start byte). Save the file as UTF-8.', (2, {'a': 1})]),
    'UTF-8 in text': (TextLines(), b'a\n\xc3\nb\n', [
        (1, {'text': 'a'}), 'line 2: not UTF-8: byte 0xc3 at byte 1 (unexpected end of data). Save the file as UTF-8.',
        (3, {'text': 'b'})]),
    'UTF-8 in CSV': (CSV, b'a\n\xff\n1\n', ['line 2: the row contains bytes that are not UTF-8.', (3, {'a': '1'})]),
    'too few columns': (Delimited(), b'a\tb\n1\n2\t3\n', [
        'line 2: 1 columns instead of 2 (a, b); field "b" is missing.', (3, {'a': '2', 'b': '3'})]),
    'too many columns': (Delimited(), b'a\tb\n1\t2\t3\n', ['line 2: 3 columns instead of 2 (a, b).']),
    'too few columns in CSV': (CSV, b'a,b\n1\n', ['line 2: 1 columns instead of 2 (a, b); field "b" is missing.']),
    'a quote that is never closed': (CSV, b'a,b\n1,"2\n', ["line 2: not a ','-separated row: unexpected end of data."]),
    'and everything after it': (CSV, b'a,b\n1,"2\n3,4\n', [
        "line 2: not a ','-separated row: unexpected end of data (to line 3)."]),
    'an empty file': (JsonLines(), b'', ['line 1: the file is empty.']),
    'an empty table': (Delimited(), b'', ['line 1: the file is empty.']),
    'an empty CSV': (CSV, b'', ['line 1: the file is empty.']),
    'an empty gz': (TextLines(), gzip.compress(b''), ['line 1: the file is empty.']),
    'an empty document': (JsonList(), b'', ['line 1: the file is empty.']),
    'a pointer in place of a document': (JsonList(('data',)), POINTER, [
      'line 1: the file is a Git LFS pointer, not the file itself: the repository was cloned without Git LFS. To '
      'download the file of 12 bytes, run `git lfs install` and `git lfs pull` in that repository.',
    ]),
    'a document in UTF-16': (JsonList(('data',)), '{"data": []}'.encode('utf-16'), [
      'line 1: the file is UTF-16. Save it as UTF-8.',
    ]),
    'a document that is no list': (JsonList(), b'{}', ["line 1: not JSON: '[' expected, '{' found."]),
    'a document that stops': (JsonList(), b'[{"a": 1},\n{"a": ', [
        (1, {'a': 1}), 'line 2, item 2: not JSON: Expecting value.']),
    'a document without the key': (JsonList(('data',)), b'{"dat": []}', ['line 1: field "data" is missing.']),
    'a key that is no list': (JsonList(('data',)), b'{"data": 1}', ['line 1: field "data" is not a JSON list.']),
    'an item that is no object': (JsonList(), b'[1, {"a": 2}]', [
        'line 1, item 1: a JSON int, not an object.', (1, {'a': 2})]),
    'UTF-8 in a document': (JsonList(), b'[{"a": "\xff"}, {"a": 1}]', [
        'line 1, item 1: the row contains bytes that are not UTF-8.', (1, {'a': 1})]),
    'raw bytes of a surrogate': (JsonLines(), b'{"a": "\xed\xa0\xbd"}\n{"a": 1}\n', [
        'line 1: not UTF-8: byte 0xed at byte 8 (invalid continuation byte). Save the file as UTF-8.', (2, {'a': 1})]),
    'raw bytes of a surrogate in a document': (JsonList(), b'[{"a": "\xed\xa0\xbd"}, {"a": 1}]', [
        'line 1, item 1: the row contains bytes that are not UTF-8.', (1, {'a': 1})]),
    'half a surrogate pair in a document': (JsonList(), b'[{"a": "\\ud83d"}, {"a": 1}]', [
        'line 1, item 1: half of a surrogate pair (such as "\\ud83d" alone), which is not text.', (1, {'a': 1})]),
    'a long number': (JsonLines(), b'{"a": ' + b'1' * 5000 + b'}\n{"a": 1}\n', [
        'line 1: a number with thousands of digits. Write it as text ("...").', (2, {'a': 1})]),
    'a long number in a document': (JsonList(), b'[{"a": ' + b'1' * 5000 + b'}, {"a": 1}]', [
        'line 1, item 1: a number with thousands of digits. Write it as text ("...").', (1, {'a': 1})]),
    'deep lines': (JsonLines(), b'{"a": ' + b'[' * 100_000 + b']' * 100_000 + b'}\n{"a": 1}\n', [
        'line 1: JSON nested more than 100 deep.', (2, {'a': 1})]),
    'a deep line that is open': (JsonLines(), b'[' * 100_000, ['line 1: JSON nested more than 100 deep.']),
    'a deep document': (JsonList(), b'[{"a": ' + b'[' * 100_000 + b']' * 100_000 + b'}, {"a": 1}]', [
        'line 1, item 1: JSON nested more than 100 deep.', (1, {'a': 1})]),
    'depth that Python would parse': (JsonList(), b'[' + b'[' * 300 + b']' * 300 + b', {"a": 1}]', [
        'line 1, item 1: JSON nested more than 100 deep.', (1, {'a': 1})]),
    'an item that is not JSON': (JsonList(), b'[{"a": },\n{"a": "}]",\n "b"}, {"a": 1}]', [
        'line 1, item 1: not JSON: Expecting value.', "line 2, item 2: not JSON: Expecting ':' delimiter. (to line 3)",
        (3, {'a': 1})]),
    'text after a document': (JsonList(), b'[{"a": 1}]\n{"a": 2}', [
        (1, {'a': 1}), "line 2: text after the end of the list: '{\"a\": 2}'."]),
    'zeros after a document': (JsonList(), b'[]\x00\x00', ["line 1: text after the end of the list: '\\x00\\x00'."]),
    'UTF-16': (JsonLines(), '\ufeff{}'.encode('utf-16-le'), ['line 1: the file is UTF-16. Save it as UTF-8.']),
    'a quote that is closed too late': (CSV, b'a,b\n"1,2\n3,"4\n5,6\n', [
        "line 2: not a ','-separated row: ',' expected after '\"' (to line 3).", (4, {'a': '5', 'b': '6'})]),
    'a key twice': (JsonLines(), b'{"a": 1, "b": 2, "a": 1}\n{"a": 1}\n', [
        'line 1: the key "a" occurs twice in one object. Keep one of the two.', (2, {'a': 1})]),
    'a key twice, escaped and further in': (JsonLines(), b'{"a": [{"\\u0062": 1, "b": 2}]}\n{"a": {"a": 1}}\n', [
        'line 1: the key "b" occurs twice in one object. Keep one of the two.', (2, {'a': {'a': 1}})]),
    'a key twice, too long for a message': (JsonLines(), b'{"%s": 1, "%s": 2}\n' % ((b'\\ud800' * 900,) * 2), [
        'line 1: the key "' + '\\ud800' * 100 + '" occurs twice in one object. Keep one of the two.']),
    'a key twice in a document': (JsonList(), b'[{"a": {"b": 1,\n"b": 2}},\n {"a": 1}]', [
        'line 1, item 1: the key "b" occurs twice in one object. Keep one of the two. (to line 2)', (3, {'a': 1})]),
    'a key twice in an object that is not closed': (JsonList(), b'[{"a": 1, "b": {"c": 1, "c": 2}', [
        'line 1, item 1: not JSON: the key "c" occurs twice in one object. Keep one of the two.']),
    'half a surrogate pair': (JsonLines(), b'{"a": "\\uD83D\\ude00"}\n{"a": "\\uD83D"}\n', [
        (1, {'a': '\U0001f600'}),
        'line 2: half of a surrogate pair (such as "\\ud83d" alone), which is not text.']),
}  # fmt: skip


@pytest.mark.parametrize(('reader', 'content', 'expected'), BAD.values(), ids=BAD)
def test_bad_files_are_reported_with_their_place_and_reading_continues(read, reader, content, expected):
  assert read(reader, content) == expected


@pytest.mark.parametrize('reader', [JsonLines(), Delimited(('a',)), TextLines(), CSV, JsonList()], ids=repr)
def test_a_gz_that_is_truncated(read, reader):
  rows = '\n'.join(f'{{"a": {number}}}' for number in range(20_000)).encode()
  content = b'[' + rows.replace(b'\n', b',\n') + b']' if isinstance(reader, JsonList) else rows
  found = read(reader, gzip.compress(content)[:-30_000])
  assert len(found) > 1000
  assert not [one for one in found[:-1] if isinstance(one, str)]
  assert 'the gzip file is truncated or damaged here' in found[-1]
  assert int(found[-1].split()[1].strip(':,')) > len(found) - 5


def test_a_gz_that_is_damaged(read):
  content = bytearray(gzip.compress(b'{"a": 1}\n' * 1000))
  content[-6] ^= 1  # of the checksum
  assert 'truncated or damaged' in read(JsonLines(), bytes(content))[-1]


def test_a_gz_of_a_document_that_is_damaged_after_its_end(read):
  whole = gzip.compress(b'[{"a": 1}]')
  for reader in (JsonList(), JsonList(('data',))):
    content = whole if not reader.at else gzip.compress(b'{"data": [{"a": 1}], "more": "' + b'x' * 500_000 + b'"}')
    for wrong in (content[:-4] + b'abcd', content[:-8] + b'abcd' + content[-4:], content[:-1], content + b'more'):
      good, bad = read(reader, wrong)
      assert good == (1, {'a': 1}) and 'truncated or damaged' in bad
    assert read(reader, content + bytes(100)) == [(1, {'a': 1})]


def aligned(tmp_path, one, two):
  (tmp_path / 'x.de').write_bytes(one)
  (tmp_path / 'x.en').write_bytes(two)
  reader = AlignedText(lambda path: path.replace('.de', '.en'), ('de', 'en'))
  assert reader.needs(str(tmp_path / 'x.de')) == (str(tmp_path / 'x.de'), str(tmp_path / 'x.en'))
  found = list(reader.rows(str(tmp_path / 'x.de')))
  return [str(f).replace(f'{tmp_path}/', '') if isinstance(f, MalformedRow) else f.value for f in found]


def test_aligned_text(tmp_path):
  pairs = aligned(tmp_path, b'Hallo\nTag\n', b'Hello\nDay\n')
  assert pairs == [{'de': 'Hallo', 'en': 'Hello'}, {'de': 'Tag', 'en': 'Day'}]
  assert aligned(tmp_path, b'a\nb\n', b'c\n') == [
    {'de': 'a', 'en': 'c'},
    'x.de, line 2: x.en has only 1 lines; the two must have the same number of lines.',
  ]
  assert aligned(tmp_path, b'a\n', b'c\nd\n')[1:] == [
    'x.en, line 2: x.de has only 1 lines; the two must have the same number of lines.'
  ]
  assert aligned(tmp_path, b'a\n', b'\xff\n') == [
    'x.en, line 1: not UTF-8: byte 0xff at byte 1 (invalid start byte). Save the file as UTF-8.'
  ]


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(allow_nan=False)))))
def test_json_documents_of_any_size_of_chunk(tmp_path_factory, rows):
  """However little of the document is read at a time, its objects are those of `json.loads`."""
  path = tmp_path_factory.mktemp('json') / 'file'
  path.write_text(json.dumps({'other': [1, 'x'], 'data': rows}, indent=1, ensure_ascii=False), encoding='utf-8')
  chunk, json_document._CHUNK = json_document._CHUNK, 3
  try:
    found = list(JsonList(('data',)).rows(str(path)))
  finally:
    json_document._CHUNK = chunk
  assert [row.value for row in found] == rows
  assert [row.item for row in found] == list(range(1, len(rows) + 1))


def test_a_file_is_read_lazily(tmp_path):
  """The good beginning is read although the end is broken, also of a document."""
  for reader, content in (
    (JsonLines(), b'{"a": 1}\n' * 9 + b'{'),
    (JsonList(), b'[{"a": 1},' + b' ' * (1 << 20) + b'{'),
  ):
    (tmp_path / 'file').write_bytes(content)
    first = next(iter(reader.rows(str(tmp_path / 'file'))))
    assert isinstance(first, RawRow) and first.value == {'a': 1}
