"""What README.md and docs/ refer to exists: links, and files and folders of the repository."""

import pathlib
import re

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = [CHECKOUT / 'README.md', *sorted((CHECKOUT / 'docs').glob('**/*.md'))]
ROOTS = ('switch_zoo', 'tests', 'gin', 'docs', 'benchmarks', 'tasks')
PATH_IN_REPOSITORY = re.compile(rf'\b(?:{"|".join(ROOTS)})/[\w./]*\.(?:py|gin|md|json)\b')
# In docs/architecture.md every name of a file or a folder in backticks counts, also one below switch_zoo/.
PATH_IN_ARCHITECTURE = re.compile(r'`([\w./]*(?:/|\.py|\.gin|\.md))`')
PLACEHOLDER = re.compile(r'\b[A-Z]{4,}\b')


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
  links = re.findall(r'\]\((?!http)([^)#]+)', document.read_text(encoding='utf-8'))
  assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_paths_of_the_repository_exist(document):
  paths = PATH_IN_REPOSITORY.findall(document.read_text(encoding='utf-8'))
  assert [path for path in paths if not (CHECKOUT / path).exists() and not PLACEHOLDER.search(path)] == []


def test_every_path_that_the_architecture_names_exists():
  paths = PATH_IN_ARCHITECTURE.findall((CHECKOUT / 'docs' / 'architecture.md').read_text(encoding='utf-8'))
  missing = [path for path in paths if not any((root / path).exists() for root in (CHECKOUT, CHECKOUT / 'switch_zoo'))]
  assert len(set(paths)) > 40 and missing == []


def test_the_architecture_draws_the_floors_of_the_walls():
  """Every folder and module of the package is in the drawing, one floor of tests/test_walls.py on a line."""
  text = (CHECKOUT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
  lines = [line[4:].split('  ') for line in text.splitlines() if line.startswith('    ') and '---' not in line]
  names = [[re.sub(r'/$|\.py$', '', word.strip()) for word in words if re.search(r'/$|\.py$', word)] for words in lines]
  from test_walls import FLOORS

  drawn = [{'switch_zoo' if name == '__init__' else name for name in line} for line in names]
  assert drawn == [set(floor) for floor in reversed(FLOORS)]


def test_readme_links_every_document():
  text = (CHECKOUT / 'README.md').read_text(encoding='utf-8')
  names = [path.relative_to(CHECKOUT).as_posix() for path in DOCUMENTS[1:]]
  assert [name for name in names if f'({name})' not in text] == []


def test_the_index_links_every_document():
  index = CHECKOUT / 'docs' / 'README.md'
  names = [path.relative_to(index.parent).as_posix() for path in DOCUMENTS[1:] if path != index]
  links = re.findall(r'\]\(([^)#]+)', index.read_text(encoding='utf-8'))
  assert [name for name in names if name not in links] == []
