"""`switch_zoo serve`: an export behind TensorFlow Serving's REST API, on one machine.

  rest_json      reads requests and writes answers as JSON
  request_body   reads a request's body: not more than allowed, and to its end before answering
  batching       a queue that joins requests into batches, and the thread that runs the model
  app            HTTP: paths, status codes, limits
  protocol       HTTP on one connection: where a request ends, and how a connection does
  listening      stops new connections before the socket is closed
  server         runs the app on a socket, and stops it without losing a request
  saved_model    finds, checks and loads an export; only this file imports TensorFlow
  onnx_model     the same for an ONNX export

Each file imports only files above it. A request passes server, app, request_body, rest_json, batching and saved_model,
and its answer the same way back.
"""
