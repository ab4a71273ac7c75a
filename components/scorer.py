"""What runs inside the bundle: raw pixels in, label, name and probabilities out.

MLflow copies this file into the model directory and runs it there, so it imports nothing of the project.
"""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Scorer(PythonModel):
    """The exported network and the names of its classes."""

    # MLflow would otherwise ask, at every load, for type hints, and take them for the signature that MLmodel has.
    _skip_type_hint_validation = True

    def load_context(self, context: PythonModelContext) -> None:
        """Open the LiteRT file; the weights are mapped, not copied."""
        self.class_names: list[str] = json.loads(Path(context.artifacts["class_names.json"]).read_text("utf-8"))
        # XNNPACK splits one image's work over threads at a loss; servers get their parallelism from requests.
        self.interpreter = Interpreter(context.artifacts["network.tflite"], num_threads=1)
        self.lock = threading.Lock()  # an interpreter holds the tensors of one call at a time

    def probabilities(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return (n, classes) for raw images (n, height, width[, 3])."""
        with self.lock:
            pixels: dict[str, Any] = self.interpreter.get_input_details()[0]
            if tuple(pixels["shape"]) != images.shape:
                self.interpreter.resize_tensor_input(pixels["index"], images.shape)
                self.interpreter.allocate_tensors()
            self.interpreter.set_tensor(pixels["index"], images)
            self.interpreter.invoke()
            return self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ARG002
        """Return `label`, `name` and `probabilities` of every image (n, height, width[, 3]) uint8.

        Without type hints on purpose: MLmodel has the signature.
        """
        rows = self.probabilities(np.ascontiguousarray(model_input, np.uint8)).astype(float)
        return [
            {"label": int(label), "name": self.class_names[label], "probabilities": row.tolist()}
            for label, row in zip(rows.argmax(axis=1), rows, strict=True)
        ]


set_model(Scorer())
