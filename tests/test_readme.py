"""What the README says of files and of Python. CI runs its commands; its table of models is compared elsewhere."""
import pathlib
import re

import pytest
import tensorflow as tf

from switch_zoo import gin_files

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
README = (CHECKOUT / 'README.md').read_text()


def test_its_python_runs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  assert blocks
  with tf.init_scope():  # as a user has it: without the graph around every test
    for block in blocks:
      exec(block, {})


def test_its_table_of_runs_is_complete():
  names = {name for name in gin_files.available([gin_files.configs_folder()]) if name.startswith('runs/')}
  assert set(re.findall(r'^\| `(runs/\w+\.gin)` \|', README, re.MULTILINE)) == names


@pytest.mark.parametrize('link', re.findall(r'\]\((?!http)([^)]+)\)', README))
def test_its_links_lead_somewhere(link):
  assert (CHECKOUT / link).exists()


def test_the_commands_ci_runs_are_there():
  assert '<!-- run by CI -->\n```bash\n' in README
