"""The document of the downstream tasks names all of them, and nothing else."""

import pathlib
import re

import seqio

import switch_zoo.tasks  # noqa: F401

DOCUMENT = pathlib.Path(__file__).parents[2] / 'docs' / 'downstream_tasks.md'
OTHERS = re.compile('zoo_(demo|c4|mc4|text|local_text|file|translate)')


def named_in_table():
  """`zoo_superglue_boolq`, `_cb` stands for two tasks."""
  names = set()
  for row in re.findall(r'^\| (`zoo_.*?) \|', DOCUMENT.read_text(), re.MULTILINE):
    first, *rest = re.findall('`(.*?)`', row)
    base = re.match('zoo_(superglue|glue|anli)|', first)[0]
    names |= {first, *(f'{base}{name}' if name.startswith('_') else name for name in rest)}
  return {name for name in names if not OTHERS.match(name)}


def test_every_task_is_in_the_table():
  registered = {name for name in seqio.TaskRegistry.names() if name.startswith('zoo_') and not OTHERS.match(name)}
  assert named_in_table() == registered
