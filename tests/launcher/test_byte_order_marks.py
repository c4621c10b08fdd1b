"""Files that an editor saved with a byte order mark, as Windows' does."""

import gin
import mesh_tensorflow.transformer.utils as mesh_utils

from switch_zoo.commands import generate
from switch_zoo.launcher import answers
from switch_zoo.mesh import gin_setup
from switch_zoo.spec import gin_files

MARK = '\ufeff'


def test_gin_files(tmp_path):
  path = tmp_path / 'marked.gin'
  path.write_text(f"{MARK}# \u00e9\ninclude 'models/tiny_switch_8.gin'\n", encoding='utf-8')
  path.write_text(f'{MARK}{path.read_text(encoding="utf-8").removeprefix(MARK)}d_ff = 24\n', encoding='utf-8')
  bound = gin_files.read([str(path)])
  assert bound.bindings['d_ff'].value == 24
  gin_setup.configure(bound)
  assert gin.query_parameter('%d_ff') == 24


def test_files_of_inputs(tmp_path):
  path = tmp_path / 'inputs.txt'
  path.write_bytes(f'{MARK}one\r\ntwo\r\n'.encode())
  assert answers.without_mark(mesh_utils.get_inputs_from_file)(str(path)) == ['one', 'two']
  assert generate.read_lines(None, str(path)) == ['one', 'two']
