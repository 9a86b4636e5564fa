# SPDX-License-Identifier: Apache-2.0
"""What users of other libraries type out of habit, and the line that does it here.

One table: on which kind of object a name is looked for, why it is not there, and what to write
instead; one formatter, `unknown`. Its errors are AttributeErrors, so that hasattr, copy and pickle
find nothing. The cures run in tests/test_habits.py, with the names of `Habit`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from lamella.errors import UnsupportedError, message

__all__ = ["HABITS", "Habit", "HabitError", "home", "is_device", "settle", "unknown"]


class HabitError(UnsupportedError, AttributeError):
    """A name that means something elsewhere; the text says what does it here."""


class Habit(NamedTuple):
    """One row. kinds and names: lists in a text; cure: what to write, '' for nothing at all.

    Kinds: module, parameter (and buffer), tensor, optimizer, and the namespaces lamella, nn,
    functional, optim and onnx. In a cure `net`, `loss` and `optimizer` are what a training loop
    has, `x`, `y` a batch, `p` a parameter.
    """

    kinds: str
    names: str
    rule: str
    cure: str = ""


_STEP = "step = lm.TrainStep(net, loss, optimizer); step(x, y)"
_GRADIENTS = "value, found = lm.gradients(net, loss)(x, y, wrt=('x', 'parameters'))"

HABITS = (
    # Gradients and steps.
    Habit(
        "module parameter tensor",
        "backward",
        "forward, loss, backward and update are one call",
        _STEP,
    ),
    Habit(
        "module optimizer lamella",
        "zero_grad",
        "no gradient is kept between steps",
        _STEP,
    ),
    Habit(
        "module parameter tensor",
        "grad grad_fn is_leaf retain_grad retains_grad",
        "gradients are results, by name",
        _GRADIENTS,
    ),
    Habit(
        "lamella",
        "autograd backward grad value_and_grad vjp jacrev jacobian func GradientTape",
        "gradients by inputs and by parameters are results of a function",
        _GRADIENTS,
    ),
    Habit(
        "module parameter tensor",
        "register_hook register_full_backward_hook register_full_backward_pre_hook "
        "register_backward_hook register_post_accumulate_grad_hook",
        "gradients can be looked at, and changed, between backward and update",
        f"{_GRADIENTS}; optimizer.step(list(found['parameters'].values()))",
    ),
    Habit(
        "lamella",
        "no_grad inference_mode enable_grad set_grad_enabled is_grad_enabled stop_gradient",
        "a call of a net records nothing, and only a TrainStep computes gradients",
        "net.eval()(x)",
    ),
    Habit(
        "tensor",
        "requires_grad requires_grad_",
        "gradients are taken of parameters, all but those that say no",
        "net[0].requires_grad_(False)",
    ),
    Habit(
        "nn",
        "utils",
        "clipping is an option of the step",
        "lm.TrainStep(net, loss, optimizer, clip_norm=1.0)",
    ),
    Habit(
        "optimizer",
        "lr learning_rate",
        "options belong to groups of parameters",
        'optimizer.param_groups[0]["lr"] = 0.01',
    ),
    Habit(
        "optimizer",
        "register_step_post_hook register_step_pre_hook minimize apply_gradients update",
        "a step is a call",
        _STEP,
    ),
    # Modules.
    Habit(
        "module",
        "register_forward_hook register_forward_pre_hook",
        "forward runs once per signature, on symbols; call the layers whose outputs you want",
        "hidden = net[:1](x)",
    ),
    Habit("module", "compile", "a net compiles itself when it is called", "lm.compile(net, x)"),
    Habit(
        "module",
        "fit train_on_batch",
        "fit is a function",
        "lm.fit(net, x, y, loss=loss, optimizer=optimizer, epochs=1, batch_size=2)",
    ),
    Habit("module", "predict predict_on_batch", "a net is called", "net.eval()(x)"),
    Habit("module", "evaluate", "a loss is called", "value = loss(net.eval()(x), y)"),
    Habit("module", "save save_weights", "save is a function", 'lm.save(net, "net.safetensors")'),
    Habit(
        "module",
        "load load_weights from_pretrained",
        "a file holds arrays by name",
        'lm.save(net, "net.safetensors"); net.load_state_dict(lm.load("net.safetensors"))',
    ),
    Habit("module", "add", "layers are appended", "net.append(nn.ReLU())"),
    Habit("module", "trainable", "parameters say it", "net[0].requires_grad_(False)"),
    Habit("module", "weights get_weights", "state has names", "net.state_dict()"),
    Habit("module", "set_weights", "state has names", "net.load_state_dict(net.state_dict())"),
    # Devices and element types.
    Habit(
        "module parameter tensor",
        "cuda xpu ipu mps device is_cuda get_device pin_memory to_empty",
        "everything is on the CPU; leave it out",
    ),
    Habit(
        "lamella",
        "cuda device backends mps xpu accelerator set_default_device",
        "everything is on the CPU; leave it out",
    ),
    Habit(
        "module parameter",
        "half bfloat16",
        "nets compute in float32 or float64; dense layers can store their weights narrower",
        'net.narrow("bfloat16")',
    ),
    Habit("module", "type", "nets compute in float32 or float64", "net.float()"),
    Habit(
        "lamella",
        "amp autocast GradScaler",
        "nets compute in float32 or float64; leave it out",
    ),
    Habit("module", "dtype", "each parameter has its own", "net[0].weight.dtype"),
    Habit(
        "lamella",
        "float16 half float32 float float64 double int32 int64 int long uint8 bool dtype",
        "element types are NumPy's",
        "nn.Linear(4, 3, dtype=np.float32)",
    ),
    Habit(
        "lamella",
        "set_default_dtype get_default_dtype",
        "layers are float32 unless told otherwise",
        "nn.Linear(4, 3, dtype=np.float64)",
    ),
    # Arrays.
    Habit(
        "lamella",
        "Tensor",
        "arrays are NumPy's, in annotations too; within forward they are symbols",
        "isinstance(x, np.ndarray)",
    ),
    Habit(
        "lamella",
        "tensor as_tensor from_numpy asarray array FloatTensor LongTensor",
        "arrays are NumPy's",
        "np.asarray([1.0, 2.0], np.float32)",
    ),
    Habit(
        "lamella functional",
        "empty linspace empty_like",
        "arrays are NumPy's",
        "np.zeros((3, 4), np.float32)",
    ),
    Habit(
        "lamella",
        "randperm normal multinomial",
        "arrays are NumPy's",
        "np.random.default_rng(0).permutation(4)",
    ),
    Habit(
        "parameter",
        "item tolist astype contiguous cpu copy nbytes element_size itemsize strides stride",
        "outside forward its values are a NumPy array, seen read-only",
        "p.numpy()",
    ),
    Habit("parameter", "clone new_tensor", "arrays are NumPy's", "p.numpy().copy()"),
    Habit(
        "parameter",
        "*_",
        "a parameter changes by assignment",
        "p.data = p.numpy() * 0.5",
    ),
    Habit("tensor", "*_", "tensors do not change in place", "x = F.relu(x)"),
    Habit("functional", "*_", "functions write where out= says", "F.relu(x, out=x)"),
    Habit(
        "tensor",
        "data cpu tolist",
        "elements come when the program runs; keep computing with the tensor",
        "F.relu(x)",
    ),
    Habit("tensor", "t adjoint", "axes are exchanged by", "x.T"),
    Habit(
        "tensor",
        "half bfloat16 short astype",
        "element types are converted by to",
        'x.to("float64")',
    ),
    Habit(
        "tensor",
        "new_zeros new_ones new_full new_empty new_tensor",
        "constants are NumPy's arrays",
        "x + np.zeros((4, 4), np.float32)",
    ),
    Habit(
        "tensor",
        "take",
        "elements are picked by number from",
        "x.flatten()[np.array([0, 2])]",
    ),
    Habit("tensor", "einsum", "the equation comes first", 'F.einsum("ij,kj->ik", x, x)'),
    Habit("tensor", "isnan", "only NaN is not equal to itself", "x != x"),
    Habit("tensor", "ravel copy", "nothing changes in place", "x.flatten()"),
    Habit("tensor", "swapdims", "axes are exchanged by", "x.transpose(0, 1)"),
    Habit(
        "tensor",
        "nelement ndimension element_size stride storage is_floating_point",
        "shape and type are known",
        "x.shape, x.dtype",
    ),
    # Programs, processes, files.
    Habit(
        "lamella",
        "jit export fx vmap",
        "a net is a compiled program when it is called",
        "session = lm.compile(net, x); session(x)",
    ),
    Habit(
        "lamella",
        "utils data DataLoader Dataset TensorDataset",
        "batches are drawn by fit, from arrays or any iterable of (x, y)",
        "lm.fit(net, x, y, loss=loss, optimizer=optimizer, epochs=1, batch_size=2, shuffle=True)",
    ),
    Habit(
        "lamella nn",
        "distributed DataParallel parallel multiprocessing set_num_interop_threads",
        "one process shares large programs among its threads",
        "lm.set_num_threads(2)",
    ),
    Habit("module", "share_memory", "a fork shares all pages; leave it out"),
    Habit("lamella", "seed random Generator initial_seed", "one seed for all", "lm.manual_seed(0)"),
    Habit(
        "lamella",
        "use_deterministic_algorithms set_float32_matmul_precision",
        "the same call gives the same bits, in full precision; leave it out",
    ),
    Habit("lamella", "hub torchvision models", "models come as files", 'lm.onnx.load("net.onnx")'),
    Habit(
        "lamella",
        "torch",
        "from torch come state_dicts and ONNX files",
        'net.load_state_dict(net.state_dict()); lm.onnx.load("net.onnx")',
    ),
    Habit("onnx", "export", "it is called save", 'lm.onnx.save(net, "net.onnx", x)'),
    Habit("onnx", "InferenceSession load_model", "it is called load", 'lm.onnx.load("net.onnx")'),
    # Families that are planned.
    Habit(
        "nn",
        "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d MaxPool1d MaxPool2d AvgPool1d "
        "AvgPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d BatchNorm2d BatchNorm3d Dropout2d "
        "Upsample RNN LSTM GRU LSTMCell GRUCell",
        "convolution and recurrence are planned, not yet here",
    ),
    Habit(
        "functional",
        "conv1d conv2d conv3d max_pool1d max_pool2d avg_pool2d adaptive_avg_pool2d interpolate",
        "convolution and pooling are planned, not yet here",
    ),
    Habit(
        "nn functional",
        "MultiheadAttention Transformer TransformerEncoder TransformerEncoderLayer",
        "attention is a function",
        "F.scaled_dot_product_attention(x, x, x)",
    ),
)


_DEVICES = {"cpu", "cuda", "mps", "xpu", "ipu", "hpu", "mtia", "privateuseone", "meta"}


def is_device(op: str, value: Any) -> bool:
    """Whether the value names a device; one that is no CPU is refused for `op`."""
    text = str(value) if type(value).__name__ == "device" else value
    if not isinstance(text, str) or text.partition(":")[0] not in _DEVICES:
        return False
    if text.partition(":")[0] != "cpu":
        raise UnsupportedError(message(op, "only CPUs", {"device": text}, "'cpu'", "Leave it out."))
    return True


def _index() -> dict[tuple[str, str], Habit]:
    rows = {}
    for habit in HABITS:
        for kind in habit.kinds.split():
            for name in habit.names.split():
                assert (kind, name) not in rows, (kind, name)
                rows[kind, name] = habit
    return rows


_ROWS = _index()
# Public names by the namespace they live in, for those who look in another one.
_HOMES: dict[str, str] = {}


def settle(home: str, names: Iterable[str]) -> None:
    """Makes known that these names live in `lamella.<home>`."""
    for name in names:
        _HOMES.setdefault(name, home)


def home(name: str) -> str:
    """The room where a public name lives, '' if nobody has said."""
    return _HOMES.get(name, "")


def find(kind: str, name: str) -> Habit | None:
    """The row for a name that an object of this kind does not have."""
    if name.startswith("_"):
        return None
    found = _ROWS.get((kind, name))
    if found is None and name.endswith("_"):
        found = _ROWS.get((kind, "*_"))
    if found is None and kind not in ("module", "optimizer") and name in _HOMES:
        home = _HOMES[name]
        found = Habit(kind, name, f"it is in lamella.{home}", f"lm.{home}.{name}")
    return found


def unknown(owner: str, kind: str, name: str) -> AttributeError:
    """The error for a name that `owner`, an object of this kind, does not have."""
    text = f"{owner} has no attribute {name!r}"
    habit = find(kind, name)
    if habit is None:
        return AttributeError(text)
    error = HabitError(f"{text}: {habit.rule}" + (f"; write `{habit.cure}`" if habit.cure else ""))
    # Python would guess at a similar name otherwise: forward, for backward.
    error.name = name
    return error
