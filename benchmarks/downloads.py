"""What installing downloads, and whether pip searches: fails when it downloads a package in more than one version.

  python benchmarks/downloads.py --log install.log                       reads what `pip install .` printed
  python benchmarks/downloads.py --python python3.13 --pip 24.2 -- .     resolves . in a fresh environment

pip tries versions one after the other when the newest does not fit the rest, and each try is a download. What is
counted are the lines "Downloading FILE", "Using cached FILE" (a file that an earlier run left) and "Processing FILE"
for a wheel or archive on this disk: one file each, whatever is in it. An index that offers a wheel's metadata on its
own answers with that file while pip searches and with the wheel at the end; both count as files, and a package whose
metadata came in two versions fails too. MB are 10^6 bytes, as pip states them, rounded. Files for the environments that
pip builds source archives in are not counted: they are resolved apart.

The second form installs nothing and needs no package, only an interpreter with venv; --pip names a release of pip, the
one that comes with the interpreter without it, `newest` the newest. With an index that offers no metadata it downloads
every file whole.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import NamedTuple

# Up to two spaces: pip indents the output of the environments that it builds in further.
LINE = re.compile(
  r' {0,2}(?:Downloading|Using cached|Processing) (?P<file>\S+)(?: \((?P<size>[\d.]+) (?P<unit>\w+)\))?'
)
ARCHIVE = re.compile(r'(?P<name>.+?)-(?P<version>\d[^-]*)(?:-.*\.whl(?:\.metadata)?|\.tar\.gz|\.zip)')
UNITS = {'bytes': 1, 'kB': 10**3, 'MB': 10**6, 'GB': 10**9}


class File(NamedTuple):
  """A file that pip downloaded.

  package: its name, in the form in which indexes compare names
  size: in bytes, as exact as pip states it; 0 where it does not
  """

  package: str
  version: str
  size: float


def files(lines: Iterable[str]) -> list[File]:
  """The files that pip's output says were downloaded, in its order."""
  matches = (LINE.match(line) for line in lines)
  return [file for match in matches if match and (file := _file(match))]


def searched(downloaded: Iterable[File]) -> dict[str, list[str]]:
  """The packages that came in more than one version, and these versions, in the order of pip's tries."""
  versions: dict[str, list[str]] = {}
  for file in downloaded:
    tried = versions.setdefault(file.package, [])
    if file.version not in tried:
      tried.append(file.version)
  return {package: tried for package, tried in versions.items() if len(tried) > 1}


def resolve(python: str, pip: str | None, requirements: list[str]) -> str:
  """What pip prints while it resolves requirements for an interpreter, in an environment that has nothing else.

  Raises:
    SystemExit: pip failed
  """
  with tempfile.TemporaryDirectory() as folder:
    subprocess.run([python, '-m', 'venv', folder], check=True)
    command = [os.path.join(folder, 'bin', 'python'), '-m', 'pip']
    if pip:
      release = ['--upgrade', 'pip'] if pip == 'newest' else [f'pip=={pip}']
      subprocess.run([*command, 'install', '--quiet', *release], check=True)
    # Of that, the installed setuptools (of the environment of older interpreters) is not to be taken.
    dry = ['install', '--dry-run', '--ignore-installed', '--progress-bar', 'off', *requirements]
    done = subprocess.run([*command, *dry], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
  if done.returncode:
    sys.exit(f'{done.stdout}\npip could not resolve {" ".join(requirements)} for {python}.')
  return done.stdout


def main() -> int:
  """Prints the figures. The exit code: 0, or 1 when pip searched or downloaded nothing."""
  values = _arguments()
  start = time.monotonic()
  log = (
    values.log.read_text(encoding='utf-8') if values.log else resolve(values.python, values.pip, values.requirements)
  )
  downloaded = files(log.splitlines())
  figures = {'files': len(downloaded), 'MB': round(sum(file.size for file in downloaded) / 1e6)}
  if not values.log:
    figures['seconds'] = round(time.monotonic() - start)
  versions = searched(downloaded)
  if values.out:
    values.out.write_text(json.dumps({**figures, 'searched': versions}, indent=2) + '\n')
  print('  '.join(f'{value:,} {name}' for name, value in figures.items()))
  for package, tried in versions.items():
    print(f'{package} was downloaded in {len(tried)} versions: {", ".join(tried)}. Bound it in setup.py.')
  if not downloaded:
    print('No download is in this log: run pip install without --quiet, in an empty environment.')
  return 1 if versions or not downloaded else 0


def _file(match: re.Match[str]) -> File | None:
  """The File of a line; None where it names something else, for instance the folder that is installed."""
  archive = ARCHIVE.fullmatch(os.path.basename(match['file']))
  if not archive:
    return None
  size = float(match['size']) * UNITS[match['unit']] if match['size'] else 0.0
  return File(re.sub(r'[-_.]+', '-', archive['name']).lower(), archive['version'], size)


def _arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--log', type=pathlib.Path, help='what pip install printed, without --quiet')
  parser.add_argument('--python', default=sys.executable, help='the interpreter to resolve for; this one without it')
  parser.add_argument('--pip', help='the release of pip')
  parser.add_argument('--out', type=pathlib.Path, help='a JSON file for the figures')
  parser.add_argument('requirements', nargs='*', default=['.'], help='what to install; the current folder without it')
  return parser.parse_args()


if __name__ == '__main__':
  sys.exit(main())
