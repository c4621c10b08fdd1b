"""Which physical core runs which part of the mesh: the inner axes of the mesh on neighbours.

The order is that of Mesh-TensorFlow's launcher on TPUs (`simd_mesh_impl.auto_logical_to_physical_tpu`): the chips are
a rectangle that is tiled, one tile for each place of the first mesh axis. The tiles follow a ring through the
rectangle, and within a tile the other axes are placed in the same way. The cores of a chip are neighbours in the last
axis. Released code knows only chips with two cores; here a chip has any number.
"""

import math
from collections.abc import Mapping, Sequence

Place = tuple[int, int, int, int]


def device_order(mesh_shape: Mapping[str, int], places: Sequence[Place]) -> list[int]:
  """For each logical core the index of its device in `places`.

  Args:
    mesh_shape: axis -> cores along it, the inner axis last
    places: (x, y, z, core on the chip) of each device, in any order
  Returns:
    the identity where the devices are not a whole grid with a power of 2 of chips along each axis
  """
  grid = [len({place[axis] for place in places}) for axis in range(4)]
  if math.prod(grid) != len(places) or any(size & (size - 1) for size in grid[:3]):
    return list(range(len(places)))
  x, y, z, cores = grid
  index = {_on_rectangle(place, y): number for number, place in enumerate(places)}
  sizes = [size for size in mesh_shape.values() if size > 1]
  return [index[place] for place in _placed(sizes or [1], z * y, x, cores)]


def _on_rectangle(place: Place, columns_y: int) -> tuple[int, int, int]:
  """(row, column, core) of a place: layers of chips are one after the other, every other one reversed."""
  x, y, z, core = place
  return z * columns_y + (columns_y - 1 - y if z % 2 else y), x, core


def _placed(sizes: Sequence[int], rows: int, columns: int, cores: int) -> list[tuple[int, int, int]]:
  """(row, column, core) for each place of a mesh of these sizes, in order, the last axis fastest."""
  tile_chips = math.prod(sizes[1:]) // cores
  if len(sizes) == 1 or tile_chips * cores != math.prod(sizes[1:]):
    return [(row, column, core) for row, column in _ring(rows, columns) for core in range(cores)]
  tile_rows, tile_columns = _tile(tile_chips, rows, columns, one_axis_left=len(sizes) == 2)
  inside = _placed(sizes[1:], tile_rows, tile_columns, cores)
  return [
    (tile_row * tile_rows + row, tile_column * tile_columns + column, core)
    for tile_row, tile_column in _ring(rows // tile_rows, columns // tile_columns)
    for row, column, core in inside
  ]


def _tile(chips: int, rows: int, columns: int, one_axis_left: bool) -> tuple[int, int]:
  """Rows and columns of a tile: a whole column or row of chips if that fits, else about a square."""
  if one_axis_left and chips == rows:
    return chips, 1
  if one_axis_left and chips == columns:
    return 1, chips
  tile_rows = max(min(1 << (chips.bit_length() - 1) // 2, rows), chips // columns)
  return tile_rows, chips // tile_rows


def _ring(rows: int, columns: int) -> list[tuple[int, int]]:
  """The places of a rectangle in an order in which neighbours touch, also the last and the first if rows are even."""
  if columns == 1 or rows == 1 or rows % 2:
    return [(row, column if row % 2 == 0 else columns - 1 - column) for row in range(rows) for column in range(columns)]
  snake = [
    (row, column)
    for row in range(rows)
    for column in (range(1, columns) if row % 2 == 0 else range(columns - 1, 0, -1))
  ]
  return [(0, 0), *snake, *((row, 0) for row in range(rows - 1, 0, -1))]
