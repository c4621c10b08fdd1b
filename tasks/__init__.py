"""Importing this package registers the zoo's seqio tasks. No data is read and no vocabulary is opened for that."""
import switch_zoo.tasks.demo  # noqa: F401
import switch_zoo.tasks.superglue  # noqa: F401
