"""The table of compiled models in docs/layouts.md."""

import json
from typing import Any

from switch_zoo.errors import UserError
from switch_zoo.spec.zoo import list_models
from switch_zoo.tpu.report import gibibytes

_HEAD = ('Model', 'Slice', 'Sequences', 'Microbatch', 'Arguments', 'Temporaries', 'Code', 'Sum', 'Limit', 'Compiled')


def read(path: str) -> list[dict[str, Any]]:
  """The reports of a file of `switch_zoo compile --record`.

  Raises:
    UserError: the file cannot be read, or a line is not a report
  """
  reports = []
  try:
    with open(path, encoding='utf-8') as file:
      lines = file.read().splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'{path} cannot be read: {error}.') from error
  for number, line in enumerate(lines, 1):
    try:
      report = json.loads(line)
      assert (
        'total' in report['memory'] and 'fits' in report and report['model'] and report['slice'] and report['libtpu']
      )
    except (ValueError, LookupError, TypeError, AssertionError) as error:
      raise UserError(f'{path}, line {number} is not a report of switch_zoo compile --record.') from error
    reports.append(report)
  return reports


def table(reports: list[dict[str, Any]]) -> str:
  """The reports as Markdown, the models in the order of the zoo, then what was not compiled.

  Args:
    reports: of `read`; of several for a model and a slice the last one counts
  """
  order = {name: number for number, name in enumerate(list_models())}
  latest = {(report['model'], report['slice']): report for report in reports}
  rows = [_row(latest[key]) for key in sorted(latest, key=lambda key: (order.get(key[0], len(order)), key[1]))]
  lines = [_HEAD, ('---', '---', *('---:',) * 7, '---'), *rows]
  missing = [name for name in order if not name.startswith('tiny_') and name not in {model for model, _ in latest}]
  versions = ', '.join(sorted({report['libtpu'] for report in reports}))
  refused = [latest[key] for key in sorted(latest) if latest[key].get('reason')]
  reasons = [f'The compiler on {r["model"]}, {r["slice"]}: "{r["reason"]}"' for r in refused]
  after = [f'libtpu {versions}.', *reasons, f'Not compiled: {", ".join(missing)}.' if missing else '']
  return '\n'.join([f'| {" | ".join(line)} |' for line in lines] + ['', ' '.join(filter(None, after))])


def _row(report: dict[str, Any]) -> tuple[str, ...]:
  memory, depths = report['memory'], report['extrapolated_from_layers']
  sizes = (memory.get(name) for name in ('arguments', 'temporaries', 'code', 'total', 'limit'))
  tokens = f'{report["microbatch"]:,} tokens' if report['microbatch'] else 'whole'
  how = f'{depths[0]} and {depths[1]} layers, extrapolated' if depths else 'whole'
  figures = ('' if size is None else gibibytes(size) for size in sizes)
  if report.get('reason'):
    how = '{} + {} layers'.format(*report['layers'])
  outcome = how if report['fits'] else f'{how}: **does not fit**'
  return report['model'], report['slice'], f'{report["batch"]:,}', tokens, *figures, outcome
