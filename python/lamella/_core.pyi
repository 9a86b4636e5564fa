# SPDX-License-Identifier: Apache-2.0
"""The native core of lamella: programs, their steps, and threads.

Generated from the compiled module by `make stub`; `make lint` compares.
"""

import collections.abc
import typing

import numpy.typing

__all__: list[str] = [
    "Callable",
    "ClassLossSpec",
    "CopySpec",
    "DequantizeSpec",
    "DrawSpec",
    "DropoutSpec",
    "DynamicQuantizeSpec",
    "ElementwiseSpec",
    "FillSpec",
    "GatherSpec",
    "IndexSpec",
    "IntegerProductSpec",
    "LayerNormSpec",
    "MatMulSpec",
    "Program",
    "ProgramBuilder",
    "QuantizeSpec",
    "ReduceSpec",
    "RmsNormSpec",
    "ScanSpec",
    "ScatterSpec",
    "SearchSpec",
    "Slot",
    "SoftmaxSpec",
    "SortSpec",
    "Spec",
    "Storage",
    "Structure",
    "Text",
    "UpdateScalarsSpec",
    "UpdateSpec",
    "Watch",
    "assign",
    "binary_names",
    "build_info",
    "cache_sizes",
    "compare_names",
    "damage_arena",
    "default_threads",
    "difference",
    "dtypes",
    "fail_allocation",
    "guard_bytes",
    "integer_names",
    "isa",
    "isas",
    "logical_names",
    "measure_handshake",
    "measure_limit",
    "mxcsr",
    "note_traces",
    "num_threads",
    "prepared_arrays",
    "random_state",
    "reduce_names",
    "same_value",
    "seed",
    "select_isa",
    "selection",
    "set_num_threads",
    "set_random_state",
    "set_sized_limit",
    "sized_programs",
    "state_of",
    "states_of",
    "touch_parameters",
    "unary_names",
]

class Storage:
    """
    The memory of a parameter, which frozen may lie in its packed form alone.
    """
    def __init__(self, array: numpy.typing.NDArray[typing.Any]) -> None:
        """
        A copy of the array's elements.
        """
    def array(
        self, dtype: str, shape: collections.abc.Sequence[int]
    ) -> numpy.typing.NDArray[typing.Any]:
        """
        A read-only array in this memory: right to read between show() and hide(), and as long as the storage is not frozen.
        """
    def freeze(self) -> None:
        """
        From now on gives the elements up while a packed form holds all of them and nobody needs them here; until they are assigned to.
        """
    def hide(self) -> None:
        """
        Ends what show() began.
        """
    def show(self) -> None:
        """
        Brings the elements back if they are not here, and keeps them until hide().
        """
    def unfreeze(self) -> None:
        """
        Brings the elements back for good.
        """
    def version(self) -> numpy.typing.NDArray[typing.Any]:
        """
        The int64 (1,) that counts changes of the elements.
        """
    @property
    def frozen(self) -> bool:
        """
        Whether it may give its elements up.
        """
    @property
    def here(self) -> bool:
        """
        Whether the elements lie here.
        """

class Program:
    """
    Ordered steps over numbered buffers; immutable, callable by any thread.
    """
    def profile(
        self, inputs: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]], rounds: int
    ) -> list[float]:
        """
        The least time of each step in so many runs, in nanoseconds; runs as `run` does, and so changes the constants that the program updates.
        """
    def run(
        self,
        inputs: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]],
        outputs: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]] | None = None,
    ) -> tuple[numpy.typing.NDArray[typing.Any], ...]:
        """
        Runs once. Arrays must have exactly the program's types and shapes and be C-contiguous and aligned; outputs are made unless given.
        """
    def text(
        self,
        *,
        symbols: collections.abc.Sequence[collections.abc.Sequence[tuple[int, int]]],
        conditions: collections.abc.Iterable[tuple[str, int, int]] = (),
    ) -> Text:
        """
        The text of a program whose numbers were given by formulas. symbols: for each free extent the (input, axis) pairs where it shows; conditions: what has to hold between formulas.
        """
    @property
    def arena_bytes(self) -> int:
        """
        Scratch memory of one run.
        """
    @property
    def cost_ns(self) -> float:
        """
        Estimated time of a run on one thread, in nanoseconds.
        """
    @property
    def inputs(self) -> list[tuple[str, tuple[int, ...]]]:
        """
        (dtype name, shape) of each input.
        """
    @property
    def isa(self) -> str:
        """
        The instruction set it was built for.
        """
    @property
    def nbytes(self) -> int:
        """
        Its own memory, without packed weights and arenas.
        """
    @property
    def outputs(self) -> list[tuple[str, tuple[int, ...]]]:
        """
        (dtype name, shape) of each output.
        """
    @property
    def ranges(self) -> list[tuple[int, int]]:
        """
        (offset, bytes) of each range of the arena.
        """
    @property
    def steps(self) -> list[str]:
        """
        The kinds of its steps, in order.
        """
    @property
    def team(self) -> int:
        """
        The most threads that a run uses which closely follows another.
        """
    @property
    def ways(self) -> list[str]:
        """
        How each of them computes, where it has a choice; empty elsewhere.
        """

class Slot:
    """
    Where an array lies: a buffer, or a range of the arena, and a byte offset in it.
    """
    def __eq__(self, arg0: object) -> bool: ...
    def __hash__(self) -> int: ...
    def shifted(self, bytes: int) -> Slot:
        """
        The slot that many bytes further on.
        """
    @property
    def buffer(self) -> int:
        """
        0 is the arena; inputs, outputs, constants follow.
        """
    @property
    def offset(self) -> int:
        """
        Bytes from the start of the buffer or range.
        """
    @property
    def range(self) -> int | None:
        """
        Of the arena, else None.
        """

class ProgramBuilder:
    """
    Collects steps and the arrays they work on, and builds a Program.
    """

    elementwise_registers: typing.ClassVar[int] = 32
    update_scalars_count: typing.ClassVar[int] = 9
    def __init__(
        self,
        *,
        inputs: collections.abc.Iterable[tuple[str, collections.abc.Iterable[int]]],
        outputs: collections.abc.Iterable[tuple[str, collections.abc.Iterable[int]]],
        formulas: collections.abc.Iterable[tuple[str, int, int]] = (),
        isa: str | None = None,
    ) -> None:
        """
        Inputs and outputs are (dtype name, shape) pairs. Sizes, strides and offsets may be Extents, whose formulas are read when the program is built.
        """
    @typing.overload
    def add(self, spec: ElementwiseSpec, *, x: collections.abc.Sequence[Slot], y: Slot) -> None: ...
    @typing.overload
    def add(
        self,
        spec: MatMulSpec,
        *,
        a: Slot,
        b: Slot,
        bias: Slot | None = None,
        residual: Slot | None = None,
        y: Slot,
    ) -> None: ...
    @typing.overload
    def add(self, spec: ReduceSpec, *, x: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: SoftmaxSpec, *, x: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(
        self,
        spec: LayerNormSpec,
        *,
        x: Slot,
        weight: Slot | None = None,
        bias: Slot | None = None,
        y: Slot,
    ) -> None: ...
    @typing.overload
    def add(self, spec: RmsNormSpec, *, x: Slot, weight: Slot | None = None, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: CopySpec, *, x: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: FillSpec, *, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: GatherSpec, *, x: Slot, indices: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: IndexSpec, *, indices: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(
        self, spec: ScatterSpec, *, x: Slot | None = None, indices: Slot, source: Slot, y: Slot
    ) -> None: ...
    @typing.overload
    def add(self, spec: ScanSpec, *, x: Slot, y: Slot, positions: Slot | None = None) -> None: ...
    @typing.overload
    def add(
        self,
        spec: SortSpec,
        *,
        x: Slot,
        values: Slot | None = None,
        positions: Slot | None = None,
        scratch: Slot | None = None,
    ) -> None: ...
    @typing.overload
    def add(self, spec: SearchSpec, *, sorted: Slot, x: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: DropoutSpec, *, x: Slot, y: Slot) -> None: ...
    @typing.overload
    def add(self, spec: DrawSpec, *, y: Slot) -> None: ...
    @typing.overload
    def add(
        self,
        spec: ClassLossSpec,
        *,
        x: Slot,
        target: Slot,
        weight: Slot | None = None,
        losses: Slot | None = None,
        slopes: Slot | None = None,
        weights: Slot | None = None,
    ) -> None: ...
    @typing.overload
    def add(
        self, spec: UpdateScalarsSpec, *, step: Slot, hyper: Slot, next: Slot, scalars: Slot
    ) -> None: ...
    @typing.overload
    def add(
        self,
        spec: UpdateSpec,
        *,
        x: collections.abc.Sequence[Slot],
        scalars: Slot,
        y: collections.abc.Sequence[Slot],
    ) -> None: ...
    @typing.overload
    def add(
        self, spec: QuantizeSpec, *, x: Slot, scale: Slot, zero: Slot | None = None, y: Slot
    ) -> None: ...
    @typing.overload
    def add(
        self, spec: DequantizeSpec, *, x: Slot, scale: Slot, zero: Slot | None = None, y: Slot
    ) -> None: ...
    @typing.overload
    def add(
        self, spec: DynamicQuantizeSpec, *, x: Slot, y: Slot, scale: Slot, zero: Slot
    ) -> None: ...
    @typing.overload
    def add(
        self,
        spec: IntegerProductSpec,
        *,
        x: Slot,
        w: Slot,
        x_zero: Slot | None = None,
        w_zero: Slot | None = None,
        scale: Slot | None = None,
        bias: Slot | None = None,
        y: Slot,
    ) -> None: ...
    def build(self) -> Program:
        """
        Ends the building and returns the Program.
        """
    def changes(self, constant: Slot) -> None:
        """
        Declares that runs write this constant: they hold its version meanwhile, and advance it unless they fail.
        """
    def constant(
        self,
        array: numpy.typing.NDArray[typing.Any],
        version: numpy.typing.NDArray[typing.Any] | None = None,
    ) -> Slot:
        """
        The slot of an array that every run reads where it is; it is kept alive. `version` is an int64 array of shape (1,), changed whenever the array's contents change.
        """
    def fold(
        self, steps: ProgramBuilder, sources: collections.abc.Iterable[Slot], kind: str
    ) -> Slot:
        """
        The slot of a value that the steps of another builder, without inputs and with one output, make of constants alone: computed ahead of the runs, once per version of the sources, the constants with versions that the steps read, in their order. Programs whose `kind`, all that the steps do, and sources are the same share it.
        """
    def hold(self, constant: Slot) -> None:
        """
        Declares that the steps that write constants read this one: runs hold its version.
        """
    def input(self, index: int) -> Slot:
        """
        The slot of an input.
        """
    def number(
        self,
        dtype: str,
        form: str,
        n: int,
        factors: collections.abc.Iterable[tuple[str, float]] = (),
    ) -> Slot:
        """
        The slot of a 0-d constant of the program's own: the 'value' of n, or its 'reciprocal', then 'times' or 'over' numbers, or times a 'value' or 'reciprocal' again; each time computed in double, then in its type.
        """
    def output(self, index: int) -> Slot:
        """
        The slot of an output.
        """
    def random_source(self, constant: Slot) -> None:
        """
        Makes an int64 constant (key, calls) the generator of this program's draws; each run that succeeds counts one call.
        """
    def range(self, nbytes: int) -> Slot:
        """
        A range of the arena, in use from the first step that touches it to the last.
        """
    @property
    def step_count(self) -> int:
        """
        Steps added so far.
        """

class Spec:
    """
    The numbers of one step, without its arrays.
    """
    def __eq__(self, arg0: object) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def scratch_bytes(self) -> int:
        """
        Bytes of arena that the step wants while it runs.
        """
    @property
    def work(self) -> float:
        """
        Multiply-adds; of steps that have none, elements.
        """

class ElementwiseSpec(Spec):
    """
    A fused chain. Registers are the operands, each with a dtype and strides in elements, then one per instruction (op, result dtype, argument registers, parameters); the last one is stored contiguously.
    """
    def __init__(
        self,
        *,
        shape: collections.abc.Sequence[int],
        dtypes: collections.abc.Sequence[str],
        strides: collections.abc.Sequence[collections.abc.Sequence[int]],
        code: collections.abc.Sequence[
            tuple[str, str, collections.abc.Sequence[int], collections.abc.Sequence[float]]
        ],
    ) -> None: ...

class MatMulSpec(Spec):
    """
    y = activation(a @ b + bias + residual). Strides count elements. A constant b is packed ahead.
    """
    def __init__(
        self,
        *,
        dtype: str,
        b_dtype: str,
        batch: collections.abc.Sequence[int],
        m: int,
        n: int,
        k: int,
        a_batch: collections.abc.Sequence[int],
        a_row: int,
        a_k: int,
        b_batch: collections.abc.Sequence[int],
        b_k: int,
        b_col: int,
        b_constant: bool,
        activation: str = "",
        activation_params: collections.abc.Sequence[float] = (),
    ) -> None: ...
    @property
    def way(self) -> str:
        """
        How the selected instruction set computes it: the form of b, the loop.
        """

class ReduceSpec(Spec):
    """
    A reduction of contiguous (outer, size, inner) to (outer, inner). columns: by the order of columns even if inner is 1.
    """
    def __init__(
        self,
        *,
        kind: str,
        dtype: str,
        outer: int,
        size: int,
        inner: int,
        columns: bool = False,
        correction: float = 1.0,
    ) -> None: ...

class SoftmaxSpec(Spec):
    """
    The softmax of each row, or its logarithm.
    """
    def __init__(self, *, dtype: str, rows: int, cols: int, log: bool) -> None: ...

class LayerNormSpec(Spec):
    """
    (x - mean) / sqrt(var + epsilon) * weight + bias for each row.
    """
    def __init__(self, *, dtype: str, rows: int, cols: int, epsilon: float) -> None: ...

class RmsNormSpec(Spec):
    """
    x / sqrt(mean(x^2) + epsilon) * weight for each row.
    """
    def __init__(self, *, dtype: str, rows: int, cols: int, epsilon: float) -> None: ...

class CopySpec(Spec):
    """
    A strided copy; strides count items.
    """
    def __init__(
        self,
        *,
        item_bytes: int,
        shape: collections.abc.Sequence[int],
        x_strides: collections.abc.Sequence[int],
        y_strides: collections.abc.Sequence[int],
    ) -> None: ...

class FillSpec(Spec):
    """
    The filling of an array with one value.
    """
    def __init__(self, *, dtype: str, count: int, value: float) -> None: ...

class GatherSpec(Spec):
    """
    y[o, j, k] = x[o, indices[o, j, k], k] for pieces of some bytes, negative indices counting from the end where asked; a run with an index outside [0, rows), or [-rows, rows), raises IndexError.
    """
    def __init__(
        self,
        *,
        piece_bytes: int,
        rows: int,
        count: int,
        outer: int = 1,
        inner: int = 1,
        outer_index: bool = False,
        from_end: bool = False,
    ) -> None: ...

class IndexSpec(Spec):
    """
    y = indices, negative ones counted from the end where asked; a run with an index outside [0, rows), or [-rows, rows), raises IndexError.
    """
    def __init__(self, *, rows: int, count: int, from_end: bool = False) -> None: ...

class ScatterSpec(Spec):
    """
    y = x, or 0, then y[o, indices[o, j, k], k] = reduce(.., source[o, j, k]) in increasing j; an index outside [0, rows), or `skipped`, writes nothing. y may be x.
    """
    def __init__(
        self,
        *,
        reduce: str,
        dtype: str,
        rows: int,
        count: int,
        width: int = 1,
        outer: int = 1,
        inner: int = 1,
        outer_index: bool = False,
        include_self: bool = True,
        skipped: int = -1,
    ) -> None: ...

class ScanSpec(Spec):
    """
    y[:, j] = kind of x[:, : j + 1], or from the end; y may be x, but for max and min.
    """
    def __init__(
        self, *, kind: str, dtype: str, outer: int, size: int, inner: int, reverse: bool = False
    ) -> None: ...

class SortSpec(Spec):
    """
    The first `wanted` of each row in a stable order, NaN above all, and their positions.
    """
    def __init__(
        self, *, dtype: str, rows: int, cols: int, wanted: int, descending: bool = False
    ) -> None: ...

class SearchSpec(Spec):
    """
    y = how many elements of a row that is in order stand before each of x.
    """
    def __init__(
        self,
        *,
        dtype: str,
        rows: int,
        cols: int,
        count: int,
        shared: bool = False,
        right: bool = False,
    ) -> None: ...

class DropoutSpec(Spec):
    """
    y = x * keep / (1 - p); each run draws a new mask.
    """
    def __init__(self, *, dtype: str, count: int, p: float, stream: int) -> None: ...

class DrawSpec(Spec):
    """
    y = random numbers, new ones in each run.
    """
    def __init__(self, *, name: str, dtype: str, count: int, stream: int) -> None: ...

class ClassLossSpec(Spec):
    """
    Where there are slots, the cross-entropy of each row and the class that target names, its slopes and the class's weight; a run with a target outside [0, cols) that is not the ignored one raises IndexError.
    """
    def __init__(
        self,
        *,
        dtype: str,
        rows: int,
        cols: int,
        log_probabilities: bool,
        ignored: int,
        smoothing: float,
    ) -> None: ...

class UpdateScalarsSpec(Spec):
    """
    The numbers of an optimiser's step, float64: next = step + 1 and the rule's scalars, from `count` hyper-parameters.
    """
    def __init__(self, *, rule: str, count: int) -> None: ...

class UpdateSpec(Spec):
    """
    An optimiser's update of one parameter: from the parameter, its gradient and state to the new parameter and state. Each result may be exactly any operand.
    """
    def __init__(self, *, rule: str, dtype: str, count: int) -> None: ...

class QuantizeSpec(Spec):
    """
    y = saturate(round(x / scale) + zero).
    """
    def __init__(
        self,
        *,
        dtype: str,
        to: str,
        outer: int,
        axis: int,
        inner: int,
        block: int = 1,
        outer_step: int = 0,
        axis_step: int = 0,
        inner_step: int = 0,
    ) -> None: ...

class DequantizeSpec(Spec):
    """
    y = (x - zero) * scale.
    """
    def __init__(
        self,
        *,
        of: str,
        dtype: str,
        outer: int,
        axis: int,
        inner: int,
        block: int = 1,
        outer_step: int = 0,
        axis_step: int = 0,
        inner_step: int = 0,
    ) -> None: ...

class DynamicQuantizeSpec(Spec):
    """
    x as uint8, with the scale and the zero point that its extremes give.
    """
    def __init__(self, *, count: int) -> None: ...

class IntegerProductSpec(Spec):
    """
    s = (x - x_zero) @ (w - w_zero) of bytes, exact; y = s, or activation(s * scale + bias). A constant w is packed ahead.
    """
    def __init__(
        self,
        *,
        x: str,
        w: str,
        batch: collections.abc.Sequence[int],
        m: int,
        n: int,
        k: int,
        x_batch: collections.abc.Sequence[int],
        x_row: int,
        x_k: int,
        w_batch: collections.abc.Sequence[int],
        w_k: int,
        w_col: int,
        w_constant: bool,
        x_zero_rows: bool = False,
        w_zero_columns: bool = False,
        scale_rows: bool = False,
        scale_columns: bool = False,
        activation: str = "",
        activation_params: collections.abc.Sequence[float] = (),
    ) -> None: ...

class Text:
    """
    A program for any size of its free extents; makes programs from formulas.
    """
    def at(self, extents: collections.abc.Sequence[int]) -> Program:
        """
        The program for these extents, each at least 2, in the order of the symbols. Raises ValueError where a condition does not hold or an array does not fit, MemoryError where memory does not reach.
        """
    @property
    def nbytes(self) -> int:
        """
        Its own memory.
        """
    @property
    def symbols(self) -> list[list[tuple[int, int]]]:
        """
        Where each extent shows: (input, axis) pairs.
        """

class Callable:
    """
    An object whose calls go straight to remembered programs.
    """
    def __init_subclass__(cls, **kwargs: typing.Any) -> None:
        """
        Lets instances be called without a detour.
        """
    def __new__(cls, *args: typing.Any, **kwargs: typing.Any) -> typing.Self:
        """
        Create and return a new object.  See help(type) for accurate signature.
        """
    def __call__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Call self as a function.
        """
    def __getstate__(self) -> typing.Any:
        """
        The attributes.
        """
    def _assign(self, name: str, value: typing.Any) -> None:
        """
        As object.__setattr__; moves its own structure unless the value is the one that was there.
        """
    def _dispatch(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        """
        Answers calls that nothing remembered fits.
        """
    def _follow(
        self, structures: tuple[Structure | Callable, ...], states: tuple[int, ...]
    ) -> bool:
        """
        What is remembered is right while all of them are in these states, and until it follows
        others. False, and nothing is right, where one of them is not.
        """
    def _forget(self) -> None:
        """
        Drops everything remembered.
        """
    def _is_settled(self) -> bool:
        """
        Whether all that it follows is in the states that it was in.
        """
    def _remember(
        self,
        args: tuple[typing.Any, ...],
        kwnames: tuple[str, ...],
        program: Program,
        returns: typing.Any,
        keep: typing.Any = None,
        turned: tuple[typing.Any, ...] = (),
        watch: Watch | None = None,
        text: Text | None = None,
    ) -> bool:
        """
        Answers calls with these arguments by the program from now on; False if they cannot be.
        turned: for each of them whether the program takes the array of which it is the transposed.
        watch: a Watch that has to hold, or None; text: None, or the Text that the program belongs
        to, which then answers any extents of two or more along its free axes.
        """
    def _touch(self) -> None:
        """
        Its own structure is another one now: see `Structure.touch`.
        """
    def _was_disturbed(self) -> bool:
        """
        Whether another thread has, since `_watch_others`.
        """
    def _watch_others(self) -> None:
        """
        Begins to look whether other threads move what it follows.
        """

class Structure:
    """
    What programs are made for and what may change: see `Callable._follow`.
    """
    def __new__(cls) -> typing.Self:
        """
        Create and return a new object.  See help(type) for accurate signature.
        """
    def touch(self) -> None:
        """
        It is another one now: calls that depend on it are looked at again.
        """

class Watch:
    """
    What was found in places, each (kind, holder, key), and arrays, each (array, copy or None,
    whether its elements are compared), as it is now.
    """
    def __new__(
        cls,
        places: tuple[tuple[str, typing.Any, typing.Any], ...],
        arrays: tuple[
            tuple[numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any] | None, bool],
            ...,
        ],
    ) -> typing.Self:
        """
        Create and return a new object.  See help(type) for accurate signature.
        """
    def by_size(self) -> list[int]:
        """
        The numbers of places where something is compared by its size alone.
        """
    def changed(self) -> list[int]:
        """
        The numbers of places, and behind them of arrays, that are otherwise.
        """
    def holds(self) -> bool:
        """
        Whether all is as it was; renews the copies that the program reads.
        """

def assign(
    target: numpy.typing.NDArray[typing.Any],
    version: numpy.typing.NDArray[typing.Any],
    value: numpy.typing.NDArray[typing.Any],
) -> None:
    """
    Copies `value` into `target`, an array of the same type and shape that may be read-only, and advances its version; waits for a program that is changing it.
    """

def binary_names() -> list[str]:
    """
    Binary kernels.
    """

def build_info() -> dict[str, str]:
    """
    Compiler, flags, thread back end and version.
    """

def cache_sizes(root: str | None = None) -> dict[str, int]:
    """
    Sizes in bytes of the data caches of one core; `root` replaces the kernel's folder.
    """

def compare_names() -> list[str]:
    """
    Comparisons.
    """

def damage_arena(offset: int) -> None:
    """
    Test hook: with guard bytes, the next run changes this byte of its arena.
    """

def default_threads(root: str = "") -> dict[str, typing.Any]:
    """
    The limits the default number of threads is the smallest of, and which one it was; omp_set_num_threads, what OpenMP has been lowered to for this thread, bounds any number. `root` is put before /proc and /sys.
    """

def difference(a: Program, b: Program) -> str | None:
    """
    The first step or number in which two programs differ, or None. Constants without version are compared by their contents.
    """

def dtypes() -> list[tuple[str, int, str]]:
    """
    The element types: name, bytes and class (floating, integer, truth or storage).
    """

def fail_allocation(n: int) -> None:
    """
    Test hook: the n-th allocation from now fails; 0 switches it off.
    """

def guard_bytes() -> int:
    """
    Width of the guard zones around planned arrays, 0 when they are off.
    """

def integer_names() -> dict[str, list[str]]:
    """
    Kernels on integers, by their family.
    """

def isa() -> str:
    """
    The instruction set of new programs.
    """

def isas() -> list[str]:
    """
    Instruction sets this machine runs, best last.
    """

def logical_names() -> list[str]:
    """
    Kernels on truth values.
    """

def measure_handshake(seconds: float) -> float:
    """
    Seconds that a cache line takes to another thread and back; 0 on one thread.
    """

def measure_limit(kind: str, bytes: int, threads: int, seconds: float) -> float:
    """
    Measures a limit of the machine with at most that many threads: multiply_add of floats and multiply_add_bytes in operations a second; read, write, copy and update of so many bytes in bytes a second, those read and those written.
    """

def mxcsr() -> int:
    """
    Test hook: the floating-point control register.
    """

def note_traces(depth: int) -> None:
    """
    How many traces the calling thread has under way: its calls then run in a trace.
    """

def num_threads() -> int:
    """
    How many threads a large program uses.
    """

def prepared_arrays() -> tuple[int, int]:
    """
    How many packed weights and folded values programs keep, and their bytes.
    """

def random_state() -> tuple[int, int]:
    """
    The generator's (key, number of runs that drew from it).
    """

def reduce_names() -> list[str]:
    """
    Kinds of reduction.
    """

def same_value(a: typing.Any, b: typing.Any) -> bool:
    """
    Whether two values are the same to a program: the rule of lamella.runtime.key.
    """

def seed(key: int) -> None:
    """
    Starts the random generator again.
    """

def select_isa(name: str) -> None:
    """
    Chooses the instruction set of programs built from now on.
    """

def set_num_threads(count: int) -> None:
    """
    Sets how many threads a large program uses, from 1 to 1024.
    """

def set_random_state(key: int, calls: int) -> None:
    """
    Continues from what random_state() returned.
    """

def set_sized_limit(nbytes: int) -> None:
    """
    The most bytes that programs made by texts may take together.
    """

def sized_programs() -> tuple[int, int]:
    """
    How many programs made by texts are kept, and their bytes.
    """

def state_of(structure: Structure | Callable) -> int:
    """
    The number of the state that a Structure, or that of a Callable, is in.
    """

def states_of(structures: tuple[Structure | Callable, ...]) -> tuple[int, ...]:
    """
    The numbers of the states that all of them are in.
    """

def touch_parameters() -> None:
    """
    To be called after version cells changed: programs look at theirs again.
    """

def unary_names() -> list[tuple[str, int]]:
    """
    Unary kernels and how many parameters each takes.
    """

selection: Structure
