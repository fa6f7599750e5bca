"""What Numba's loops do not become: lanes across the channels of a pixel, and stores past the cache."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

STREAMED_BYTES = 32
"""What `stream` copies at a time, and what its target must be aligned to."""

_I32 = ir.IntType(32)


@intrinsic
def mix_lanes(typing_context, target, to, source, start, step, weights):  # type: ignore[no-untyped-def]
    """target[to : to + 4] = weights[0] * source[start : start + 4] + weights[1] * source[start + step : ...] + ...

    target, source: contiguous float32; weights: a tuple of float32. Added from the left, nothing fused. No index is
    checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        target_type, to_type, source_type, start_type, step_type, _ = signature.args
        target, to, source, start, step, weights = arguments
        four = ir.VectorType(ir.FloatType(), 4)

        def lanes_at(array_type: Any, array: Any, index: Any) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), four.as_pointer())

        index = context.cast(builder, start, start_type, types.intp)
        stride = context.cast(builder, step, step_type, types.intp)
        total = None
        for weight in cgutils.unpack_tuple(builder, weights):
            spread = builder.insert_element(ir.Constant(four, ir.Undefined), weight, _I32(0))
            spread = builder.shuffle_vector(spread, spread, ir.Constant(ir.VectorType(_I32, 4), [0] * 4))
            product = builder.fmul(spread, builder.load(lanes_at(source_type, source, index), align=4))
            total = product if total is None else builder.fadd(total, product)
            index = builder.add(index, stride)
        place = lanes_at(target_type, target, context.cast(builder, to, to_type, types.intp))
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(target, to, source, start, step, weights), generate


@intrinsic
def stream(typing_context, target, block, source):  # type: ignore[no-untyped-def]
    """Copy block `block`, of STREAMED_BYTES, from `source` to `target`, both contiguous, past the cache.

    A large array that is written once and read later pays for memory only once so: an ordinary store reads the line
    that it is about to overwrite. `target` must be aligned; no index is checked. Before another thread reads what was
    written, `finish_streaming`.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        target_type, block_type, source_type = signature.args
        target, block, source = arguments
        lanes = ir.VectorType(_I32, STREAMED_BYTES // 4)
        index = context.cast(builder, block, block_type, types.intp)

        def block_of(array_type: Any, array: Any) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            return builder.gep(builder.bitcast(data, lanes.as_pointer()), [index])

        value = builder.load(block_of(source_type, source), align=2)
        store = builder.store(value, block_of(target_type, target), align=STREAMED_BYTES)
        store.set_metadata("nontemporal", builder.module.add_metadata([_I32(1)]))
        return context.get_dummy_value()

    return types.void(target, block, source), generate


@intrinsic
def finish_streaming(typing_context):  # type: ignore[no-untyped-def]
    """Have all that `stream` wrote stand in memory before anything that is written later."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
