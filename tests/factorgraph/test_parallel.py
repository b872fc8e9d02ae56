"""Loops shared by threads: what their parts are given."""

import numpy as np
from numba import types
from numba.extending import intrinsic

from factorgraph.runtime.compiled import DISABLED
from factorgraph.runtime.parallel import shared


@intrinsic
def owner(typingctx, array):
    """The address of what counts the references to an array; 0 if the array is only borrowed."""

    def generate(context, builder, signature, args):
        counter = context.make_array(array)(context, builder, args[0]).meminfo
        return builder.ptrtoint(counter, context.get_value_type(types.intp))

    return types.intp(array), generate


@shared()
def parts(values, found, thread, threads):
    found[thread] = 0 if DISABLED else owner(values)  # pyright: ignore[reportCallIssue]
    values[thread] = thread + 1


def test_threads_do_not_count_references_to_what_they_share():
    """Each count would be a write to one place: two threads took as long as one."""
    values, found = np.zeros(3), np.full(3, -1)
    parts(values, found, 3)
    assert found.tolist() == [0, 0, 0] and values.tolist() == [1.0, 2.0, 3.0]
