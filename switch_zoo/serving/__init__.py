"""`switch_zoo serve`: an export behind TensorFlow Serving's REST form, on one machine.

`rest_json` reads and writes the JSON, `batching` joins requests, `app` answers them, `server` runs the app and stops
it, `saved_model` is the only one that knows TensorFlow.
"""
