"""The automaton as a plain ONNX graph, every step written out: what a user could export and run anywhere.

Every cell is computed in every step, as ONNX has no cheap way to skip cells; the fire masks come in as numbers.
"""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import leukonca
from leukonca.models.presets import Architecture

IMAGE = 3
OPSET = 17


def graph(model: leukonca.NCAClassifier) -> onnx.ModelProto:
    """Inputs images [B, 3, G, G] and masks [steps, 1, G, G]; output logits [B, classes]; float32.

    Raises:
        SystemExit: a model that is not unrolled here.
    """
    a, weights = model.config.architecture, model.weights()
    if a.patch != 1 or a.pooling != "max":
        raise SystemExit("only cells of one pixel and the pooling `max` are unrolled")
    channels = a.channels
    constants = {
        # Both views in one convolution: output channels 2c and 2c + 1 belong to input channel c.
        "kernels": weights["kernels"].transpose(1, 0, 2, 3).reshape(2 * channels, 1, 3, 3),
        "kernel_bias": weights["kernel_bias"].T.reshape(-1),
        "hidden_weight": _for_interleaved(weights["hidden_weight"], channels)[:, :, None, None],
        "hidden_bias": weights["hidden_bias"],
        # The image's channels never change, so nothing is computed for them.
        "update_weight": weights["update_weight"][IMAGE:, :, None, None],
        "head_0": weights["head.0.weight"],
        "head_0_bias": weights["head.0.bias"],
        "head_2": weights["head.2.weight"],
        "head_2_bias": weights["head.2.bias"],
        "more_channels": np.array([0, 0, 0, 0, 0, channels - IMAGE, 0, 0], np.int64),
        "borders": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "flat": np.array([0, -1], np.int64),
        **{f"step_{step}": np.array(step, np.int64) for step in range(a.steps)},
    }
    nodes = [helper.make_node("Pad", ["images", "more_channels"], ["state_0"])]
    for step in range(a.steps):
        own, new = f"state_{step}", f"state_{step + 1}"

        def at(name: str, step: int = step) -> str:
            return f"{name}_{step}"

        nodes += [
            helper.make_node("Gather", ["masks", f"step_{step}"], [at("mask")], axis=0),
            helper.make_node("Pad", [own, "borders"], [at("padded")], mode="reflect"),
            helper.make_node(
                "Conv", [at("padded"), "kernels", "kernel_bias"], [at("views")], group=channels, kernel_shape=[3, 3]
            ),
            helper.make_node("Concat", [own, at("views")], [at("seen")], axis=1),
            helper.make_node("Conv", [at("seen"), "hidden_weight", "hidden_bias"], [at("z")], kernel_shape=[1, 1]),
            helper.make_node("Relu", [at("z")], [at("hidden")]),
            helper.make_node("Conv", [at("hidden"), "update_weight"], [at("change")], kernel_shape=[1, 1]),
            helper.make_node("Mul", [at("change"), at("mask")], [at("fired") if step else "rest_1"]),
            *([helper.make_node("Add", [at("rest"), at("fired")], [f"rest_{step + 1}"])] if step else []),
            helper.make_node("Concat", ["images", f"rest_{step + 1}"], [new], axis=1),
        ]
    nodes += [
        helper.make_node("GlobalMaxPool", [f"state_{a.steps}"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["features"]),
        helper.make_node("Gemm", ["features", "head_0", "head_0_bias"], ["head_z"], transB=1),
        helper.make_node("Relu", ["head_z"], ["head_hidden"]),
        helper.make_node("Gemm", ["head_hidden", "head_2", "head_2_bias"], ["logits"], transB=1),
    ]
    whole = helper.make_graph(
        nodes,
        "automaton",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", IMAGE, a.grid, a.grid]),
            helper.make_tensor_value_info("masks", TensorProto.FLOAT, [a.steps, 1, a.grid, a.grid]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(model.config.classes)])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    made = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def session(model: leukonca.NCAClassifier, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph(model).SerializeToString(), options, providers=["CPUExecutionProvider"])


def masks(a: Architecture, seed: int = 0) -> NDArray[np.float32]:
    """The fire masks of a run, [steps, 1, G, G]."""
    every = [leukonca.fire_mask(seed, step, a.grid, a.grid, a.fire_rate) for step in range(a.steps)]
    return np.stack(every)[:, None].astype(np.float32)


def _for_interleaved(hidden_weight: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Columns ordered itself, first view, second view -> itself, both views of channel 0, of channel 1, ..."""
    own, first, second = np.split(hidden_weight, 3, axis=1)
    return np.concatenate([own, np.stack([first, second], axis=2).reshape(len(own), 2 * channels)], axis=1)
