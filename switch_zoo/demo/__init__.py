"""`switch_zoo demo`: from text to a queried Switch Transformer, on any machine and in minutes.

  budget        what the demo spends, in one place
  folder        the output folder: what it was begun with, and which phases are done
  expert_load   the load of the experts, as a picture and a table
  progress      a bar or lines while a model trains, and the curve of its records
  ask           a separate program that queries the SavedModel, with TensorFlow alone
  phases        the steps, each of which can be resumed
  summary       the figures at the end
  session       one run of the demo: the phases that are not done yet, then the summary

Each file imports only files above it. `budget` and `folder` are imported without TensorFlow, so that a wrong --out is
reported at once.
"""
