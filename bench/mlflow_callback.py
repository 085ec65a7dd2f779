"""Logs a training to MLflow's local store by the callback of the guide, and reads the values back.

    pip install mlflow && python bench/mlflow_callback.py

Not in CI: MLflow is large.
"""

import tempfile
from pathlib import Path

import mlflow

import fastnn as fn


class MLflow(fn.Callback):
    """The callback of docs/guide/logging.md."""

    def on_epoch_end(self, training, values):
        mlflow.log_metrics(dict(values), step=training.epoch + 1)


def main():
    data, validation = fn.data.digits()
    model = fn.Sequential(fn.Flatten(), fn.Linear(64, 32), fn.ReLU(), fn.Linear(32, 10))
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{Path(folder) / 'mlflow.db'}")
        with mlflow.start_run() as run:
            history = fn.fit(model, data, validation=validation, callbacks=MLflow(), epochs=3, seed=0)
        client = mlflow.tracking.MlflowClient()
        for name, curve in history.items():
            logged = client.get_metric_history(run.info.run_id, name)
            assert [metric.step for metric in logged] == [1, 2, 3]
            assert [metric.value for metric in logged] == curve, name
            print(f"{name}: {curve} read back from MLflow")


if __name__ == "__main__":
    main()
