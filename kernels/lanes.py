"""Four float32 at a time, across the channels of a pixel and one value more: what Numba's loops do not become."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


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
            lane = ir.IntType(32)
            spread = builder.insert_element(ir.Constant(four, ir.Undefined), weight, lane(0))
            spread = builder.shuffle_vector(spread, spread, ir.Constant(ir.VectorType(lane, 4), [0] * 4))
            product = builder.fmul(spread, builder.load(lanes_at(source_type, source, index), align=4))
            total = product if total is None else builder.fadd(total, product)
            index = builder.add(index, stride)
        place = lanes_at(target_type, target, context.cast(builder, to, to_type, types.intp))
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(target, to, source, start, step, weights), generate
