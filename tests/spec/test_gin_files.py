"""Gin files as data. The files are written by the tests."""

import pathlib
import subprocess
import sys

import pytest

from switch_zoo.errors import UserError
from switch_zoo.spec import gin_files


@pytest.fixture
def read(tmp_path):
  """Writes files, reads the first, and returns what it binds."""

  def write_and_read(*parameters, **texts):
    for name, text in texts.items():
      (tmp_path / f'{name}.gin').write_text(text)
    result = gin_files.GinFiles([str(tmp_path)])
    result.read_file(f'{next(iter(texts))}.gin')
    for parameter in parameters:
      result.read_parameter(parameter)
    return result

  return write_and_read


def test_macros_are_replaced_inside_values(read):
  files = read(a='n = 3\nf.shape = [%n, {"k": %n}]')
  assert files.value('f.shape') == [3, {'k': 3}]


def test_a_macro_of_a_macro(read):
  assert read(a='n = 3\nm = %n\nf.x = %m').value('f.x') == 3


def test_a_later_binding_wins_and_parameters_come_last(read):
  assert read(a='n = 1\nn = 2').value('n') == 2
  assert read('n = 3', a='n = 1').value('n') == 3


def test_included_values_can_be_overridden(read):
  files = read(a='include "b.gin"\nn = 2', b='n = 1\nm = 5')
  assert (files.value('n'), files.value('m')) == (2, 5)
  assert [pathlib.Path(path).name for path in files.includes] == ['a.gin', 'b.gin']


def test_scopes_and_references(read):
  files = read(a='encoder/f.layers = [@x.A, @B()]')
  assert files.value('encoder/f.layers') == [gin_files.Reference('x.A', False), gin_files.Reference('B', True)]


def test_macros_that_name_each_other_end(read):
  assert isinstance(read(a='n = %m\nm = %n').value('n'), gin_files.Macro)


def test_the_default_of_what_nobody_binds(read):
  assert read(a='n = 1').value('nope', 'default') == 'default'


def test_imports_are_kept_with_their_place(read):
  ((module, place),) = read(a='n = 1\nimport some.module').imports.items()
  assert module == 'some.module' and place.endswith('a.gin, line 2')


def message(files):
  with pytest.raises(UserError) as error:
    files.check()
  return str(error.value)


def test_a_required_macro(read):
  text = message(read(a='N = %gin.REQUIRED'))
  assert 'N has no value' in text and 'a.gin, line 1' in text and '--gin_param="N = ..."' in text


def test_a_required_macro_that_a_parameter_gives(read):
  read('N = 3', a='N = %gin.REQUIRED\nf.x = %N').check()


def test_an_undefined_macro(read):
  text = message(read(a='steps = 3\nf.x = %stepps'))
  assert '%stepps' in text and 'Did you mean steps?' in text


def test_a_parameter_that_no_file_uses(read):
  text = message(read('BATCHSIZE = 3', a='BATCH_SIZE = 1\nf.x = %BATCH_SIZE'))
  assert 'BATCHSIZE' in text and 'Did you mean BATCH_SIZE?' in text


def test_a_missing_file(read):
  with pytest.raises(UserError, match=r'no gin file "modles/a.gin"'):
    read(a='include "modles/a.gin"')


def test_a_missing_file_names_close_ones():
  with pytest.raises(UserError, match=r'Did you mean models/tiny_switch_8.gin'):
    gin_files.read(['models/tiny_swich_8.gin'])


@pytest.mark.parametrize('text', ['n = = 3', 'n 3', 'n = [1,', 'n = hello'])
def test_what_is_not_gin_is_refused_with_its_line(read, text):
  with pytest.raises(UserError, match=r'a\.gin, line \d+ is not gin'):
    read(a=f'm = 1\n{text}\n')


def test_a_parameter_that_is_not_gin(read):
  with pytest.raises(UserError, match=r'--gin_param="n = hello" is not gin.*with quotes'):
    read('n = hello', a='m = 1')


def test_every_file_of_ours_is_read():
  folder = gin_files.configs_folder()
  names = gin_files.available([folder])
  assert len(names) > 10
  for name in names:
    gin_files.read([name])


def test_no_init_file_hides_the_gin_library():
  assert not list(gin_files.configs_folder().rglob('__init__.py'))


def test_reading_needs_no_tensorflow():
  code = 'import sys; from switch_zoo.spec import gin_files; gin_files.read(["models/tiny_switch_8.gin"]); '
  code += 'print([m for m in ("tensorflow", "t5", "mesh_tensorflow") if m in sys.modules])'
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout == '[]\n'


def test_a_circle_of_macros_is_named(read):
  assert 'a.gin, line 1: n = %m = %n is a circle' in message(read(a='n = %m\nm = %n\nf.x = %n'))
  assert 'n = %n is a circle' in message(read(a='n = [1, %n]'))


def test_a_macro_that_is_used_twice_is_not_a_circle(read):
  read(a='n = 1\nm = [%n, %n]\nf.x = [%m, %n]').check()


@pytest.mark.parametrize('reverse', [False, True])
def test_a_chain_of_macros_that_gin_cannot_follow_is_refused(read, reverse):
  lines = [f'm{number} = %m{number + 1}' for number in range(1000)] + ['m1000 = 7', 'f.x = %m0']
  bound = read(a='\n'.join(lines[::-1] if reverse else lines))
  for work in (bound.check, lambda: bound.value('f.x')):
    with pytest.raises(UserError, match=r'a\.gin, line \d+: m\d+ belongs to a chain of more than 50 macros'):
      work()


def test_a_chain_that_gin_can_follow(read):
  lines = [f'm{number} = %m{number + 1}' for number in range(gin_files.MAX_CHAIN - 1)]
  bound = read(a='\n'.join(['f.x = [%m0]', *lines, f'm{gin_files.MAX_CHAIN - 1} = 7']))
  bound.check()
  assert bound.value('f.x') == [7]


def test_a_circle_of_includes_is_named(read, tmp_path):
  with pytest.raises(UserError) as error:
    read(a='n = 1\ninclude "b.gin"', b='include "a.gin"')
  assert f'{tmp_path}/b.gin, line 1: {tmp_path}/a.gin includes {tmp_path}/b.gin includes {tmp_path}/a.gin' in str(
    error.value
  )


def test_a_file_that_is_included_twice_is_not_a_circle(read):
  assert read(a='include "b.gin"\ninclude "b.gin"', b='n = 1').value('n') == 1


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (b'n = "caf\xe9"\n', 'a.gin is not a gin file: byte 8 is not UTF-8'),
    (b'n = 1\x00\n', 'a.gin'),
    (b'n = ' + b'[' * 5000 + b']' * 5000 + b'\n', 'a.gin'),
    (b'n = ' + b'9' * 5000 + b'\n', 'a.gin'),
    (b'n = (1,\n', 'a.gin'),
    (b'n = {[]: 1}\n', 'a.gin'),
    (b'\xff\xfe\x00', 'not UTF-8'),
  ],
  ids=['latin-1', 'zero byte', 'nested', 'many digits', 'not closed', 'no key', 'binary'],
)
def test_what_is_not_gin(tmp_path, content, words):
  (tmp_path / 'a.gin').write_bytes(content)
  with pytest.raises(UserError, match=words) as error:
    gin_files.GinFiles([str(tmp_path)]).read_file('a.gin')
  assert len(str(error.value)) < 1000 and '\n' not in str(error.value)


def test_macros_that_multiply_are_refused_in_a_moment(read):
  """Ten deep, with ten of each in the next: ten thousand million entries in four hundred bytes."""
  lists = [f'm{depth} = [{", ".join([f"%m{depth - 1}"] * 10)}]' for depth in range(1, 11)]
  files = read(a='\n'.join(['m0 = [1]', *lists, 'f.x = %m10']))
  assert len(files.value('m3')) == 10
  with pytest.raises(UserError, match='a.gin, line 12: f.x has more than 100,000 entries'):
    files.value('f.x')


@pytest.mark.parametrize('value', ['0x' + 'f' * 4000, '[1, -9223372036854775809]', "{'a': 9223372036854775808}"])
def test_a_whole_number_that_tensorflow_cannot_hold_is_refused(read, value):
  with pytest.raises(UserError, match=r'a.gin, line 2: f.x has a whole number of more than 64 bits'):
    read(a=f'm = 9223372036854775807\nf.x = {value}')


def test_a_long_value_is_cut_in_a_message(read):
  with pytest.raises(UserError) as error:
    read('m = ' + '[' * 20_000, a='m = 1')
  assert len(str(error.value)) < 600
