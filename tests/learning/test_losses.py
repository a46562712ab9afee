"""Known answers of the loss and the metrics."""

import numpy as np

from xtcav_ml.learning import losses
from xtcav_ml.learning.backend import keras


def test_an_absent_number_costs_nothing_and_has_no_gradient(keras_ready):
    from xtcav_ml.learning import backend

    loss = losses.masked_squared_error(np.array([2.0, 5.0], np.float32))
    truth = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, 4.0]], np.float32)
    predicted = np.array([[3.0, 1e6], [5.0, 5.0], [3.0, 14.0]], np.float32)
    np.testing.assert_allclose(np.asarray(loss(truth, predicted)), [0.5, 0.0, 2.0])
    slope = backend.gradient(lambda given: loss(truth, given), predicted)
    np.testing.assert_allclose(slope, [[0.5, 0.0], [0.0, 0.0], [0.0, 0.4]])


def test_accuracy_counts_what_is_said(keras_ready):
    metric = losses.Accuracy(3)
    metric.update_state(np.array([[0], [2]]), np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3]]))
    metric.update_state(np.array([1]), np.array([[0.1, 0.6, 0.3]]))
    assert float(metric.result()) == np.float32(2 / 3)
    assert np.asarray(metric.confusion).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    metric.reset_state()
    assert float(metric.result()) == 0


def test_names_are_ours_with_one_head_and_with_two():
    assert losses.named({"loss": 1, "val_accuracy": 0.5, "accuracy": 0.25}) == {
        "train_accuracy": 0.25,
        "train_loss": 1.0,
        "val_accuracy": 0.5,
    }
    two = {"loss": 3, "output_loss": 1, "numbers_loss": 2, "output_accuracy": 0.5, "val_numbers_squared_error": 2}
    assert losses.named(two) == {"train_accuracy": 0.5, "train_loss": 3.0, "val_squared_error": 2.0}


def test_what_is_predicted_is_found_among_the_metrics_of_all_heads(keras_ready):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    network.compile(loss="sparse_categorical_crossentropy", metrics=[losses.Accuracy(2)])
    network.evaluate(np.array([[1.0, 0.0], [0.0, 3.0], [0.0, 1.0], [0.0, 2.0]]), np.zeros(4), verbose=0)
    table = {"no as no": 1.0, "no as t0": 3.0, "t0 as no": 0.0, "t0 as t0": 0.0}
    expected = {"val_predicted.no": 0.25, "val_predicted.t0": 0.75}
    expected |= {f"val_confusion.{name}": count for name, count in table.items()}
    assert losses.confusion_values(network, ["no", "t0"]) == expected
